//! Questions to a schema that change nothing: for whoever looks after a deployment from outside of its services.

use std::time::{Duration, Instant};

use carelink_platform::{
    clock::Clock,
    location::{Location, Postgres},
};
use rusqlite::{Connection, OpenFlags};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};
use tokio::task::spawn_blocking;

use crate::{
    Migration, StoreError, Value,
    migrate::all,
    postgres::{connect, meaning, migrating, read},
    sqlite::{self, Moment, from_rusqlite},
};

/// What one question found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its rows.
    pub rows: Vec<Vec<Value>>,
    /// How long the answer took.
    pub took: Duration,
}

/// Asks one question after another, each by itself, on one connection that may only read. One that fails does not stop the others.
///
/// # Errors
/// Where there is no such database, or it does not answer.
pub async fn ask(at: &Location, schema: &'static str, questions: Vec<String>) -> Result<Vec<Result<Found, StoreError>>, StoreError> {
    match at {
        Location::File(path) => {
            let path = path.clone();
            let asked = spawn_blocking(move || {
                if !path.is_file() {
                    return Err(StoreError::Unavailable(format!("there is no file {}", path.display())));
                }
                let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                let connection = sqlite::connect(&path, flags, &Moment::new(&Clock::system()))?;
                connection.pragma_update(None, "query_only", true).map_err(|error| from_rusqlite(&error))?;
                Ok(questions.iter().map(|question| of_file(&connection, question)).collect())
            });
            asked.await.map_err(|error| StoreError::Engine(error.to_string()))?
        }
        Location::Postgres(at) => of_postgres(at, schema, &questions).await,
    }
}

/// The names of the indexes that migrations make on an engine, and do not drop again.
pub fn indexes(at: &Location, migrations: &[Migration]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for migration in all(migrations) {
        let text = if matches!(at, Location::File(_)) { migration.sqlite } else { migration.postgres };
        for line in text.lines().map(|line| line.split("--").next().unwrap_or_default()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let name = |word: Option<&&str>| word.map(|word| word.trim_matches([';', '"']).to_owned());
            match words.as_slice() {
                ["CREATE", "INDEX", rest @ ..] | ["CREATE", "UNIQUE", "INDEX", rest @ ..] => {
                    let rest: Vec<&str> =
                        rest.iter().copied().filter(|word| !["IF", "NOT", "EXISTS", "CONCURRENTLY"].contains(word)).collect();
                    names.extend(name(rest.first()));
                }
                ["DROP", "INDEX", rest @ ..] => {
                    let dropped = name(rest.iter().find(|word| !["IF", "EXISTS"].contains(word)));
                    names.retain(|name| Some(name) != dropped.as_ref());
                }
                _ => {}
            }
        }
    }
    names
}

fn of_file(connection: &Connection, question: &str) -> Result<Found, StoreError> {
    let began = Instant::now();
    let asked = || -> rusqlite::Result<Vec<Vec<Value>>> {
        let mut statement = connection.prepare(question)?;
        let columns = statement.column_count();
        let mut found = statement.query([])?;
        let mut rows = Vec::new();
        while let Some(row) = found.next()? {
            rows.push((0..columns).map(|at| Ok(sqlite::read(row.get_ref(at)?))).collect::<rusqlite::Result<_>>()?);
        }
        Ok(rows)
    };
    let rows = asked().map_err(|error| from_rusqlite(&error))?;
    Ok(Found { rows, took: began.elapsed() })
}

async fn of_postgres(at: &Postgres, schema: &'static str, questions: &[String]) -> Result<Vec<Result<Found, StoreError>>, StoreError> {
    let mut connection = connect(&migrating(at, schema)?).await?;
    let mut found = Vec::new();
    for question in questions {
        connection.execute("BEGIN READ ONLY").await.map_err(|error| meaning(&error).0)?;
        found.push(one(&mut connection, question).await);
        connection.execute("ROLLBACK").await.map_err(|error| meaning(&error).0)?;
    }
    let _ = connection.close().await; // nothing was changed
    Ok(found)
}

async fn one(connection: &mut PgConnection, question: &str) -> Result<Found, StoreError> {
    let began = Instant::now();
    let text = AssertSqlSafe(question.to_owned());
    let rows = sqlx::query(text).persistent(false).fetch_all(connection).await.map_err(|error| meaning(&error).0)?;
    let took = began.elapsed();
    let rows = rows.iter().map(|row| (0..row.len()).map(|at| read(row, at)).collect()).collect::<Result<_, _>>()?;
    Ok(Found { rows, took })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: &[Migration] = &[
        Migration {
            name: "0001_a",
            sqlite: "CREATE TABLE a (b INTEGER) STRICT;\nCREATE UNIQUE INDEX a_b ON a (b); -- CREATE INDEX no ON a\nCREATE INDEX IF NOT EXISTS a_c ON a (b);",
            postgres: "CREATE INDEX only_there ON a (b);",
        },
        Migration { name: "0002_b", sqlite: "DROP INDEX IF EXISTS a_c;", postgres: "" },
    ];

    #[test]
    fn the_indexes_that_there_must_be_are_read_from_the_migrations() {
        let file = Location::File("x".into());
        assert_eq!(indexes(&file, STEPS), ["outbox_by_destination", "a_b"]);
    }

    #[tokio::test]
    async fn a_question_changes_nothing_and_one_that_fails_stops_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sqlite3");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE a (b INTEGER); INSERT INTO a VALUES (7)").unwrap();
        let questions = ["SELECT b, 'x', NULL FROM a", "DELETE FROM a", "SELECT nothing", "SELECT count(*) FROM a"].map(str::to_owned);
        let found = ask(&Location::File(path), "a", questions.to_vec()).await.unwrap();
        assert_eq!(found[0].as_ref().unwrap().rows, [[Value::Int(7), Value::Text("x".into()), Value::Null]]);
        assert!(found[1].is_err() && found[2].is_err());
        assert_eq!(found[3].as_ref().unwrap().rows, [[Value::Int(1)]]);
        let nowhere = Location::File(dir.path().join("none"));
        assert!(ask(&nowhere, "a", Vec::new()).await.unwrap_err().to_string().contains("there is no file"));
    }
}

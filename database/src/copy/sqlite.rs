//! Whole schemas of the embedded engine. Reads beside a running process without holding it up; fills a file of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use carelink_platform::clock::Clock;
use rusqlite::{Connection, OpenFlags, params_from_iter};
use tokio::{sync::mpsc, task::spawn_blocking};

use super::{AHEAD, About, CHUNK, Chunk, Scope, Table, ordered, quoted};
use crate::{
    Migration, Row, Statement, StoreError, Value, migrate,
    sqlite::{self, Bound, Moment, from_rusqlite},
};

type Chunks = mpsc::Receiver<Result<Chunk, StoreError>>;

/// Takes a picture of a file.
pub(super) async fn picture(path: PathBuf, scope: Scope, clock: Clock) -> Result<(About, Chunks), StoreError> {
    let (send, chunks) = mpsc::channel(AHEAD);
    let begun = move || {
        if !path.is_file() {
            return Err(StoreError::Unavailable(format!("there is no file {}", path.display())));
        }
        let connection = sqlite::connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX, &Moment::new(&clock))?;
        connection.pragma_update(None, "query_only", true).map_err(|error| from_rusqlite(&error))?;
        connection.execute_batch("BEGIN").map_err(|error| from_rusqlite(&error))?;
        let about = about(&connection, scope, &clock).map_err(|error| from_rusqlite(&error))?;
        Ok((about, connection))
    };
    let (about, connection) = blocking(begun).await?;
    let tables = about.tables.clone();
    spawn_blocking(move || {
        for (at, table) in tables.iter().enumerate() {
            match read(&connection, table, |rows| send.blocking_send(Ok(Chunk { table: at, rows })).is_ok()) {
                Ok(true) => {}
                Ok(false) => return, // nobody reads on
                Err(error) => {
                    let _ = send.blocking_send(Err(from_rusqlite(&error))); // nobody reads on
                    return;
                }
            }
        }
    });
    Ok((about, chunks))
}

/// The migrations that made a file; none where there is none.
pub(super) async fn migrations(path: PathBuf, clock: Clock) -> Result<Vec<String>, StoreError> {
    blocking(move || {
        if !path.is_file() {
            return Ok(Vec::new());
        }
        let connection = sqlite::connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX, &Moment::new(&clock))?;
        let there = connection.table_exists(None, "migration").map_err(|error| from_rusqlite(&error))?;
        if there { names(&connection).map_err(|error| from_rusqlite(&error)) } else { Ok(Vec::new()) }
    })
    .await
}

fn names(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection.prepare("SELECT name FROM migration ORDER BY name")?.query_map([], |row| row.get(0))?.collect()
}

/// The tables into which migrations themselves put rows.
pub(super) async fn seeded(schema: &'static str, migrations: &'static [Migration], clock: Clock) -> Result<BTreeSet<String>, StoreError> {
    blocking(move || {
        let connection = sqlite::connect(Path::new(":memory:"), OpenFlags::SQLITE_OPEN_READ_WRITE, &Moment::new(&clock))?;
        migrate::run(&connection, schema, migrations)?;
        let everything = Scope { schema, without: &[] };
        let filled = |table: &Table| {
            connection.query_row(&format!("SELECT EXISTS (SELECT 1 FROM {})", quoted(&table.name)), [], |row| row.get::<_, bool>(0))
        };
        let found = tables(&connection, everything).and_then(|tables| {
            let mut seeded = BTreeSet::new();
            for table in tables {
                if filled(&table)? {
                    seeded.insert(table.name);
                }
            }
            Ok(seeded)
        });
        found.map_err(|error| from_rusqlite(&error))
    })
    .await
}

fn about(connection: &Connection, scope: Scope, clock: &Clock) -> rusqlite::Result<About> {
    let taken = clock.now(); // before the first look: what comes later is not in the picture
    let tables = tables(connection, scope)?;
    let migrations = names(connection)?;
    let mut rows = 0;
    for table in &tables {
        let counted: i64 = connection.query_row(&format!("SELECT count(*) FROM {}", quoted(&table.name)), [], |row| row.get(0))?;
        rows += counted.unsigned_abs();
    }
    Ok(About { tables, migrations, taken, rows })
}

fn tables(connection: &Connection, scope: Scope) -> rusqlite::Result<Vec<Table>> {
    let strings =
        |sql: &str, of: &str| -> rusqlite::Result<Vec<String>> { connection.prepare(sql)?.query_map([of], |row| row.get(0))?.collect() };
    let names = strings("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite^_%' ESCAPE '^' AND name <> ?1", "")?;
    let mut refers = BTreeMap::new();
    for name in names.into_iter().filter(|name| scope.has(name)) {
        let others = strings("SELECT \"table\" FROM pragma_foreign_key_list(?1)", &name)?;
        refers.insert(name, others);
    }
    let columns = |name: &str| strings("SELECT name FROM pragma_table_xinfo(?1) WHERE hidden = 0 ORDER BY cid", name);
    ordered(refers).into_iter().map(|name| Ok(Table { columns: columns(&name)?, name })).collect()
}

/// Hands rows on until they end or nobody takes them (false).
fn read(connection: &Connection, table: &Table, mut take: impl FnMut(Vec<Vec<Value>>) -> bool) -> rusqlite::Result<bool> {
    let columns: Vec<String> = table.columns.iter().map(|column| quoted(column)).collect();
    let mut statement = connection.prepare(&format!("SELECT {} FROM {}", columns.join(", "), quoted(&table.name)))?;
    let mut found = statement.query([])?;
    let mut rows = Vec::with_capacity(CHUNK);
    while let Some(row) = found.next()? {
        rows.push((0..columns.len()).map(|at| Ok(sqlite::read(row.get_ref(at)?))).collect::<rusqlite::Result<_>>()?);
        if rows.len() == CHUNK && !take(std::mem::replace(&mut rows, Vec::with_capacity(CHUNK))) {
            return Ok(false);
        }
    }
    Ok(rows.is_empty() || take(rows))
}

/// A file that is being filled.
#[derive(Debug)]
pub(super) struct Filling {
    path: PathBuf,
    connection: Option<Connection>,
}

impl Filling {
    /// Makes the file. Until it is finished it is worth nothing, so nothing is done twice to keep it.
    pub(super) async fn begin(
        path: PathBuf,
        scope: Scope,
        migrations: &'static [Migration],
        clock: Clock,
    ) -> Result<(Self, Vec<Table>), StoreError> {
        let begun = move || {
            sqlite::make_private(&path)?;
            let connection =
                sqlite::connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX, &Moment::new(&clock))?;
            migrate::run(&connection, scope.schema, migrations)?;
            let begin = "PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF; BEGIN IMMEDIATE";
            connection.execute_batch(begin).map_err(|error| from_rusqlite(&error))?;
            let tables = tables(&connection, scope).map_err(|error| from_rusqlite(&error))?;
            Ok((Self { path, connection: Some(connection) }, tables))
        };
        blocking(begun).await
    }

    async fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let connection = self.connection.take().ok_or_else(|| StoreError::Unavailable("an earlier step has failed".to_owned()))?;
        let (done, connection) = blocking(move || Ok((work(&connection), connection))).await?;
        self.connection = Some(connection);
        done
    }

    pub(super) async fn empty(&mut self, table: Table) -> Result<(), StoreError> {
        let sql = format!("DELETE FROM {}", quoted(&table.name));
        self.with(move |connection| connection.execute(&sql, []).map(|_| ()).map_err(|error| from_rusqlite(&error))).await
    }

    pub(super) async fn put(&mut self, table: Table, rows: Vec<Vec<Value>>) -> Result<(), StoreError> {
        let columns: Vec<String> = table.columns.iter().map(|column| quoted(column)).collect();
        let places: Vec<String> = (1..=columns.len()).map(|at| format!("?{at}")).collect();
        let sql = format!("INSERT INTO {} ({}) VALUES ({})", quoted(&table.name), columns.join(", "), places.join(", "));
        self.with(move |connection| {
            let mut statement = connection.prepare_cached(&sql).map_err(|error| from_rusqlite(&error))?;
            for row in &rows {
                statement.execute(params_from_iter(row.iter().map(Bound))).map_err(|error| from_rusqlite(&error))?;
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn run(&mut self, statement: &'static Statement, args: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        self.with(move |connection| sqlite::run(connection, statement, &args)).await
    }

    pub(super) async fn finish(mut self) -> Result<(), StoreError> {
        let path = self.path.clone();
        self.with(move |connection| {
            let sql = |error: rusqlite::Error| from_rusqlite(&error);
            let mut check = connection.prepare("PRAGMA foreign_key_check").map_err(sql)?;
            if let Some(row) = check.query([]).map_err(sql)?.next().map_err(sql)? {
                let table: String = row.get(0).map_err(sql)?;
                return Err(StoreError::Engine(format!("{table}: a row refers to one that is not there")));
            }
            drop(check);
            connection.execute_batch("COMMIT").map_err(sql)
        })
        .await?;
        drop(self.connection.take());
        let synced = move || std::fs::File::open(&path).and_then(|file| file.sync_all());
        blocking(move || synced().map_err(|error| StoreError::Unavailable(error.to_string()))).await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, StoreError> + Send + 'static) -> Result<T, StoreError> {
    spawn_blocking(work).await.map_err(|error| StoreError::Engine(error.to_string()))?
}

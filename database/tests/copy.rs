//! Whole schemas from one engine to the other and back.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // tests

use carelink_database::{
    DatabaseConfig, Location, Migration, Postgres, StoreError, Value,
    copy::{Picture, Scope, Table, Target, applied, in_use},
    migrate,
};
use carelink_platform::{clock::Clock, random::Random, secrets::SecretString};
use carelink_servers::TestDatabase;

const MIGRATIONS: &[Migration] = &[Migration {
    name: "0001_ward",
    sqlite: "CREATE TABLE patient (id BLOB NOT NULL PRIMARY KEY, name TEXT NOT NULL, active INTEGER NOT NULL, since INTEGER, picture BLOB) STRICT;
        CREATE TABLE bed (number INTEGER NOT NULL PRIMARY KEY, patient BLOB REFERENCES patient (id)) STRICT;
        CREATE TABLE counter (one INTEGER NOT NULL PRIMARY KEY, number INTEGER NOT NULL) STRICT;
        INSERT INTO counter VALUES (1, 0);",
    postgres: "CREATE TABLE patient (id uuid PRIMARY KEY, name text NOT NULL, active boolean NOT NULL, since timestamptz, picture bytea);
        CREATE TABLE bed (number bigint PRIMARY KEY, patient uuid REFERENCES patient (id));
        CREATE TABLE counter (one bigint PRIMARY KEY, number bigint NOT NULL);
        INSERT INTO counter VALUES (1, 0);",
}];
const SCOPE: Scope = Scope { schema: "auth", without: &[] };

fn owned(database: &TestDatabase) -> Postgres {
    Postgres { url: SecretString::from(database.url("carelink_auth_owner")), config: DatabaseConfig::default() }
}

/// Rows by table, each value as SQLite stores it, sorted.
async fn rows(at: &Location) -> Vec<(String, Vec<String>)> {
    let mut picture = Picture::take(at, SCOPE, &Clock::system()).await.unwrap();
    let mut all: Vec<(String, Vec<String>)> = picture.tables().iter().map(|table| (table.name.clone(), Vec::new())).collect();
    while let Some(chunk) = picture.next().await.unwrap() {
        all[chunk.table].1.extend(chunk.rows.iter().map(|row| format!("{:?}", row.iter().map(stored).collect::<Vec<_>>())));
    }
    all.iter_mut().for_each(|(_, rows)| rows.sort());
    all
}

fn stored(value: &Value) -> Value {
    match value {
        Value::Uuid(id) => Value::Bytes(id.as_bytes().to_vec()),
        Value::Time(at) => Value::Int(at.as_micros()),
        Value::Bool(yes) => Value::Int((*yes).into()),
        value => value.clone(),
    }
}

async fn carried(from: &Location, to: &Location) -> Result<(), StoreError> {
    let mut picture = Picture::take(from, SCOPE, &Clock::system()).await?;
    let mut target = Target::begin(to, SCOPE, MIGRATIONS, &Clock::system()).await?;
    assert_eq!(target.occupied().await?, [""; 0]);
    for table in picture.tables() {
        target.empty(&table.name).await?;
    }
    while let Some(chunk) = picture.next().await? {
        let table = picture.tables()[chunk.table].clone();
        target.put(&table, chunk.rows.iter().map(|row| row.iter().map(stored).collect()).collect()).await?;
    }
    target.finish().await
}

async fn full(path: &std::path::Path) -> Location {
    let at = Location::File(path.to_owned());
    let mut target = Target::begin(&at, SCOPE, MIGRATIONS, &Clock::system()).await.unwrap();
    let table = |name: &str, columns: &[&str]| Table { name: name.into(), columns: columns.iter().map(ToString::to_string).collect() };
    let id = |number: i64| Value::Bytes(u128::from(number.unsigned_abs()).to_be_bytes().to_vec());
    let patients = (0..600).map(|number| {
        let since = if number % 2 == 0 { Value::Null } else { Value::Int(1_795_518_000_123_457 - number) };
        vec![id(number), Value::Text(format!("né \"{number}\"\t\\N\n")), Value::Int(number % 2), since, Value::Bytes(vec![0, 255, 10, 92])]
    });
    target.put(&table("patient", &["id", "name", "active", "since", "picture"]), patients.collect()).await.unwrap();
    let beds = (0..600).map(|number| vec![Value::Int(number), if number % 3 == 0 { Value::Null } else { id(number) }]);
    target.put(&table("bed", &["number", "patient"]), beds.collect()).await.unwrap();
    target.empty("counter").await.unwrap();
    target.put(&table("counter", &["one", "number"]), vec![vec![Value::Int(1), Value::Int(41)]]).await.unwrap();
    let columns = ["id", "destination", "event_id", "body", "created_at"];
    let waiting = vec![Value::Int(17), Value::Text("audit".into()), id(9), Value::Bytes(vec![1]), Value::Int(1)];
    target.put(&table("outbox", &columns), vec![waiting]).await.unwrap();
    target.finish().await.unwrap();
    at
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_go_to_postgresql_and_back_and_are_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let database = carelink_servers::postgres().await.database().await;
    let sqlite = full(&dir.path().join("a.sqlite3")).await;
    let postgres = owned(&database);
    assert_eq!(applied(&Location::Postgres(postgres.clone()), "auth").await.unwrap(), [""; 0]);
    migrate::postgres(&postgres, "auth", MIGRATIONS, &Random::system()).await.unwrap();
    let postgres = Location::Postgres(postgres);
    assert_eq!(applied(&postgres, "auth").await.unwrap(), applied(&sqlite, "auth").await.unwrap());
    carried(&sqlite, &postgres).await.unwrap();
    assert_eq!(rows(&postgres).await, rows(&sqlite).await);
    let back = Location::File(dir.path().join("b.sqlite3"));
    carried(&postgres, &back).await.unwrap();
    assert_eq!(rows(&back).await, rows(&sqlite).await);
    let next = "INSERT INTO carelink_auth.outbox (destination, event_id, body, created_at)
        VALUES ('audit', gen_random_uuid(), '', now()) RETURNING id";
    assert!(database.sql(next).contains("18"), "numbers go on after those that came");
}

/// As a restore does, which has something to say of itself beside what waited when the backup was taken.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_without_a_number_gets_one_that_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let database = carelink_servers::postgres().await.database().await;
    let postgres = owned(&database);
    migrate::postgres(&postgres, "auth", MIGRATIONS, &Random::system()).await.unwrap();
    for at in [Location::Postgres(postgres), Location::File(dir.path().join("a.sqlite3"))] {
        let mut target = Target::begin(&at, SCOPE, MIGRATIONS, &Clock::system()).await.unwrap();
        let table = |columns: &[&str]| Table { name: "outbox".into(), columns: columns.iter().map(ToString::to_string).collect() };
        let rest =
            |event: u128| [Value::Text("audit".into()), Value::Bytes(event.to_be_bytes().to_vec()), Value::Bytes(vec![1]), Value::Int(1)];
        let numbered = [[Value::Int(1)].as_slice(), &rest(1)].concat();
        target.put(&table(&["id", "destination", "event_id", "body", "created_at"]), vec![numbered]).await.unwrap();
        for event in [2, 4] {
            let own = vec![rest(event).to_vec(), rest(event + 1).to_vec()];
            target.put(&table(&["destination", "event_id", "body", "created_at"]), own).await.unwrap();
        }
        target.finish().await.unwrap();
        let outbox = rows(&at).await.into_iter().find(|(name, _)| name == "outbox").unwrap();
        assert_eq!(outbox.1.len(), 5, "{outbox:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_used_or_holds_rows_is_told_and_a_failure_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let database = carelink_servers::postgres().await.database().await;
    let sqlite = full(&dir.path().join("a.sqlite3")).await;
    let at = owned(&database);
    migrate::postgres(&at, "auth", MIGRATIONS, &Random::system()).await.unwrap();
    let at = Location::Postgres(at);

    let mut given_up = Target::begin(&at, SCOPE, MIGRATIONS, &Clock::system()).await.unwrap();
    let bed = Table { name: "bed".into(), columns: vec!["number".into(), "patient".into()] };
    let unfit = given_up.put(&bed, vec![vec![Value::Int(1), Value::Text("who".into())]]).await.unwrap_err();
    assert_eq!(unfit.to_string(), "column bed.patient: holds something else");
    drop(given_up);
    let mut gone = Target::begin(&at, SCOPE, MIGRATIONS, &Clock::system()).await.unwrap();
    let nobody = vec![Value::Int(1), Value::Bytes(vec![0; 16])];
    assert!(gone.put(&bed, vec![nobody]).await.is_err(), "refers to nobody");
    drop(gone);

    carried(&sqlite, &at).await.unwrap();
    let mut target = Target::begin(&at, SCOPE, MIGRATIONS, &Clock::system()).await.unwrap();
    assert_eq!(target.occupied().await.unwrap(), ["patient", "bed"]);
    drop(target);
    let runtime = Postgres { url: SecretString::from(database.url("carelink_auth")), config: DatabaseConfig::default() };
    let refused = Target::begin(&Location::Postgres(runtime), SCOPE, MIGRATIONS, &Clock::system()).await.unwrap_err();
    assert!(refused.to_string().contains("needs its owner, carelink_auth_owner: set auth.migrate_url"), "{refused}");
    let superuser = Postgres { url: SecretString::from(database.superuser()), config: DatabaseConfig::default() };
    drop(Target::begin(&Location::Postgres(superuser), SCOPE, MIGRATIONS, &Clock::system()).await.unwrap());

    database.sql("INSERT INTO carelink_auth.lease VALUES ('relay', gen_random_uuid(), 1, now() + interval '30 seconds')");
    database.sql("INSERT INTO carelink_auth.lease VALUES ('far', gen_random_uuid(), 1, now() + interval '90 years')");
    assert_eq!(in_use(&at, "auth").await.unwrap(), ["lease relay"]);
}

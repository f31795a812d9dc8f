//! A database of the tests' own on either engine, and what they do to it.

use std::time::Duration;

use carelink_database::{DatabaseConfig, Db, DbOptions, Location, Migration, Postgres, Row, Statement, Tx, Value, migrate};
use carelink_platform::{
    clock::{Clock, ManualClock, Timestamp},
    random::Random,
    secrets::SecretString,
};
use carelink_servers::{Engine, Place, TestDatabase};

pub(crate) const SCHEMA: &[Migration] = &[Migration {
    name: "0001_things",
    sqlite: "CREATE TABLE thing (name TEXT NOT NULL PRIMARY KEY, value INTEGER NOT NULL, body BLOB) STRICT",
    postgres: "CREATE TABLE thing (name text NOT NULL PRIMARY KEY, value bigint NOT NULL, body bytea);
        GRANT SELECT, INSERT, UPDATE ON thing TO carelink_token",
}];
pub(crate) static INSERT: Statement = Statement::shared("insert", "INSERT INTO thing (name, value) VALUES ($1, $2);");
pub(crate) static ADD: Statement = Statement::shared("add", "UPDATE thing SET value = value + $2 WHERE name = $1 RETURNING value;");
pub(crate) static COUNT: Statement = Statement::shared("count", "SELECT count(*) AS n FROM thing;");

pub(crate) struct Bench {
    pub(crate) db: Db,
    pub(crate) place: Place,
    hand: ManualClock,
}

impl Bench {
    pub(crate) async fn on(engine: Engine) -> Self {
        let place = engine.place().await;
        let (clock, hand) = Clock::manual(Timestamp::from_secs(1_000_000));
        let at = match place.database() {
            Some(database) => migrated(database).await,
            None => place.directory().join("t.sqlite3").into(),
        };
        let db = Db::open(DbOptions { at, schema: "token", migrations: SCHEMA, clock }).await.unwrap();
        Self { db, place, hand }
    }

    /// The database as another process sees it.
    pub(crate) async fn again(&self) -> Db {
        match self.place.database() {
            Some(database) => open(at(database, "carelink_token"), SCHEMA).await.unwrap(),
            None => self.db.clone(),
        }
    }

    pub(crate) async fn count(&self) -> i64 {
        count(&self.db).await
    }

    /// Lets time pass for a lease; elsewhere only a file's clock can be turned.
    pub(crate) fn pass(&self, time: Duration) {
        self.hand.advance(time);
        if let Some(database) = self.place.database() {
            database.sql(&format!("UPDATE carelink_token.lease SET until = until - interval '{} s'", time.as_secs()));
        }
    }

    pub(crate) fn hand(&self) -> &ManualClock {
        &self.hand
    }
}

pub(crate) async fn count(db: &Db) -> i64 {
    db.query(&COUNT, vec![]).await.unwrap()[0].get("n").unwrap()
}

pub(crate) fn one<T: carelink_database::FromValue>(rows: &[Row], column: &str) -> T {
    rows[0].get(column).unwrap()
}

/// Where a role finds the schema.
pub(crate) fn at(database: &TestDatabase, role: &str) -> Location {
    postgres(database.url(role))
}

pub(crate) fn postgres(url: String) -> Location {
    configured(url, patient())
}

/// As long as is allowed: on a busy machine everything takes its time.
pub(crate) fn patient() -> DatabaseConfig {
    let most = Duration::from_millis(4_900);
    DatabaseConfig { acquire_timeout: most, statement_timeout: most, ..DatabaseConfig::default() }
}

pub(crate) fn configured(url: String, config: DatabaseConfig) -> Location {
    Location::Postgres(Postgres { url: SecretString::from(url), config })
}

pub(crate) async fn open(at: Location, migrations: &'static [Migration]) -> Result<Db, carelink_database::StoreError> {
    Db::open(DbOptions { at, schema: "token", migrations, clock: Clock::system() }).await
}

pub(crate) async fn migrate_as_owner(
    database: &TestDatabase,
    migrations: &[Migration],
) -> Result<Vec<&'static str>, carelink_database::StoreError> {
    let Location::Postgres(owner) = at(database, "carelink_token_owner") else { unreachable!() };
    migrate::postgres(&owner, "token", migrations, &Random::system()).await
}

/// A database with the schema of these tests.
pub(crate) async fn migrated(database: &TestDatabase) -> Location {
    migrate_as_owner(database, SCHEMA).await.unwrap();
    at(database, "carelink_token")
}

/// Inserts a thing within a transaction.
pub(crate) async fn insert(tx: &mut Tx, name: impl Into<Value>, value: i64) -> Result<(), carelink_database::StoreError> {
    tx.run(&INSERT, vec![name.into(), value.into()]).await.map(|_| ())
}

//! The trail on either engine, for tests.

use carelink_database::{DatabaseConfig, Db, Location, Postgres, migrate};
use carelink_platform::{
    clock::{Clock, Timestamp},
    random::Random,
    secrets::SecretString,
};
use carelink_servers::{Engine, Place};

use crate::store;

/// An empty trail's place, its schema made.
pub(crate) async fn place(engine: Engine) -> Place {
    let place = engine.place().await;
    if let Some(database) = place.database() {
        let owner = postgres(database.url("carelink_audit_owner"));
        migrate::postgres(&owner, store::SCHEMA, store::MIGRATIONS, &Random::system()).await.unwrap();
    }
    place
}

/// Where the service finds it.
pub(crate) fn location(place: &Place) -> Location {
    match place.database() {
        Some(database) => Location::Postgres(postgres(database.url("carelink_audit"))),
        None => Location::File(place.directory().join("audit.sqlite3")),
    }
}

/// Opens it once more, as another replica would.
pub(crate) async fn open(place: &Place) -> Db {
    let (clock, _) = Clock::manual(Timestamp::from_secs(1_000));
    store::open(location(place), clock).await.unwrap()
}

/// Runs SQL behind the service's back: as whoever may do everything.
pub(crate) fn tamper(place: &Place, sql: &str) -> Result<(), String> {
    match place.database() {
        Some(database) => database.sql_as("carelink_audit_owner", sql).map(|_| ()),
        None => {
            let connection = rusqlite::Connection::open(place.directory().join("audit.sqlite3")).unwrap();
            connection.execute_batch(sql).map_err(|error| error.to_string())
        }
    }
}

/// A database of PostgreSQL by its address.
pub(crate) fn postgres(url: String) -> Postgres {
    Postgres { url: SecretString::from(url), config: DatabaseConfig { max_connections: 4, ..DatabaseConfig::default() } }
}

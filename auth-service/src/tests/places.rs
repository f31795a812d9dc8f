//! Where the service keeps its users, on either engine.

use carelink_database::{DatabaseConfig, Location, Postgres, migrate};
use carelink_platform::{random::Random, secrets::SecretString};
use carelink_servers::{Engine, Place};

use crate::store;

/// An empty place, its schema made.
pub(super) async fn place(engine: Engine) -> Place {
    let place = engine.place().await;
    if let Some(database) = place.database() {
        let owner = postgres(database.url("carelink_auth_owner"));
        migrate::postgres(&owner, store::SCHEMA, store::MIGRATIONS, &Random::system()).await.unwrap();
    }
    place
}

/// Where the service finds it.
pub(super) fn location(place: &Place) -> Location {
    match place.database() {
        Some(database) => Location::Postgres(postgres(database.url("carelink_auth"))),
        None => Location::File(place.directory().join("auth.sqlite3")),
    }
}

fn postgres(url: String) -> Postgres {
    Postgres { url: SecretString::from(url), config: DatabaseConfig { max_connections: 4, ..DatabaseConfig::default() } }
}

/// Everything that is stored, as bytes to search through.
pub(super) fn everything(place: &Place) -> Vec<Vec<u8>> {
    match place.database() {
        Some(database) => {
            let tables = [
                "users",
                "legacy_user",
                "one_time_password",
                "known_key",
                "outbox",
                "guessing",
                "known_network",
                "one_time_link",
                "link_request",
            ];
            let dump =
                |table| format!("SET bytea_output = 'escape'; SELECT coalesce(string_agg(t::text, ' '), '') FROM carelink_auth.{table} t");
            tables.into_iter().map(|table| database.sql(&dump(table)).into_bytes()).collect()
        }
        None => {
            let files = std::fs::read_dir(place.directory()).unwrap();
            let files = files.map(|file| file.unwrap().path()).filter(|file| file.is_file()); // not the letters
            files.map(|file| std::fs::read(file).unwrap()).collect()
        }
    }
}

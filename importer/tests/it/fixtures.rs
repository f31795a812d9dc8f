//! Sources for the tests: copies of the fixtures, and databases written on the spot.

use std::path::{Path, PathBuf};

use importer::{Location, Options, Source, Wanted};
use rusqlite::Connection;
use tempfile::TempDir;

/// A source in a folder of its own, which is gone with it.
pub struct Made {
    pub folder: TempDir,
    pub path: PathBuf,
}

impl Made {
    /// An empty database, filled by `sql`.
    pub fn with(sql: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("source.sqlite3");
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        Self { folder, path }
    }

    /// A copy of a fixture.
    pub fn copy(name: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join(format!("{name}.sqlite3"));
        std::fs::copy(fixture(&format!("{name}.sqlite3")), &path).unwrap();
        Self { folder, path }
    }

    pub fn execute(&self, sql: &str) {
        Connection::open(&self.path).unwrap().execute_batch(sql).unwrap();
    }

    pub async fn source(&self) -> Source {
        Source::open(&Location::file(&self.path), &Wanted::default()).await.unwrap()
    }

    /// The sentence with which it is refused.
    pub async fn sentence(&self) -> String {
        refusal(&self.path).await
    }
}

/// The sentence with which a path is refused, with the folder's name left out.
pub async fn refusal(path: &Path) -> String {
    let error = Source::open(&Location::file(path), &Wanted::default()).await.unwrap_err().to_string();
    error.replace(&format!("{}/", path.parent().unwrap().display()), "")
}

pub fn fixture(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/predecessor").join(file)
}

/// What signed a fixture's tokens; sources made on the spot have none.
pub fn secret_key(source: &str) -> String {
    std::fs::read_to_string(fixture(&format!("{source}.secret_key"))).map_or_else(|_| "made up".into(), |key| key.trim_end().into())
}

/// Options as the command makes them.
pub fn options(source: &str) -> Options {
    Options {
        source: source.into(),
        secret_key: Some(secret_key(source).into()),
        algorithm: "HS256".into(),
        dry_run: false,
        superusers_as_admins: false,
        qualify: false,
    }
}

/// The tables of `django.contrib.auth` and SimpleJWT, as far as they are read.
pub const SCHEMA: &str = "
    CREATE TABLE auth_group (id integer NOT NULL PRIMARY KEY AUTOINCREMENT, name varchar(150) NOT NULL UNIQUE);
    CREATE TABLE auth_user (id integer NOT NULL PRIMARY KEY AUTOINCREMENT, password varchar(128), last_login datetime NULL,
        is_superuser bool NOT NULL DEFAULT 0, username varchar(150), last_name varchar(150) NOT NULL DEFAULT '', email varchar(254) NOT NULL DEFAULT '',
        is_staff bool NOT NULL DEFAULT 0, is_active bool NOT NULL DEFAULT 1, date_joined datetime NOT NULL DEFAULT '2025-01-01 00:00:00',
        first_name varchar(150) NOT NULL DEFAULT '');
    CREATE TABLE auth_user_groups (id integer NOT NULL PRIMARY KEY AUTOINCREMENT, user_id integer NOT NULL REFERENCES auth_user (id),
        group_id integer NOT NULL REFERENCES auth_group (id));
    CREATE INDEX auth_user_groups_user_id ON auth_user_groups (user_id);
    CREATE TABLE token_blacklist_outstandingtoken (token text NOT NULL, created_at datetime NULL, expires_at datetime NOT NULL,
        user_id integer NULL REFERENCES auth_user (id), jti varchar(255) NOT NULL UNIQUE, id integer NOT NULL PRIMARY KEY AUTOINCREMENT);
    CREATE TABLE token_blacklist_blacklistedtoken (blacklisted_at datetime NOT NULL,
        token_id bigint NOT NULL UNIQUE REFERENCES token_blacklist_outstandingtoken (id), id integer NOT NULL PRIMARY KEY AUTOINCREMENT);
    ";

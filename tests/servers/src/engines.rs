//! The same test on both engines: an empty place on either, and the list of tests that run on both.

use std::path::Path;

use tempfile::TempDir;

use crate::{TestDatabase, postgres};

/// Which engine a test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// A file.
    Sqlite,
    /// A database of a real server.
    Postgres,
}

/// Where a test may keep things: a directory, and on PostgreSQL an empty database. Gone with this value.
#[derive(Debug)]
pub struct Place {
    directory: TempDir,
    database: Option<TestDatabase>,
}

impl Engine {
    /// An empty place.
    pub async fn place(self) -> Place {
        let database = match self {
            Self::Sqlite => None,
            Self::Postgres => Some(postgres().await.database().await),
        };
        Place { directory: tempfile::tempdir().unwrap(), database }
    }
}

impl Place {
    /// The directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The database, on PostgreSQL.
    pub fn database(&self) -> Option<&TestDatabase> {
        self.database.as_ref()
    }

    /// Which engine it is on.
    pub fn engine(&self) -> Engine {
        if self.database.is_some() { Engine::Postgres } else { Engine::Sqlite }
    }
}

/// Runs functions that take an [`Engine`] on both: `on_both_engines!(s3_one_wins, s5_one_ends)` makes the tests `on_sqlite::s3_one_wins`,
/// `on_postgres::s3_one_wins`, .. One that is left out is dead code, which the lints find.
#[macro_export]
macro_rules! on_both_engines {
    ($($test:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test($crate::Engine::Sqlite).await;
            })*
        }

        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test($crate::Engine::Postgres).await;
            })*
        }
    };
}

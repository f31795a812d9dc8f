//! What token-service persists, one function per use case. Nothing is decided here.
//!
//! Locks in one order everywhere (S11): subjects by id, sessions by id, the revocation counter.
//! The outbox is only added to and holds up nobody.
//! What takes something away is seen through though whoever asked for it hangs up.

mod create_session;
mod end_sessions;
mod import_sessions;
mod keys;
mod list_sessions;
mod refresh;
mod rows;
mod sources;
mod subjects;
mod sweep;
mod watch;

use std::sync::Arc;

use carelink_database::{Db, DbOptions, Location, Migration, Statement, StoreError, Tx};
use carelink_platform::{clock::Clock, context::RequestContext, random::Random};
use futures::future::BoxFuture;
use tokio::sync::Notify;

pub use self::{
    create_session::{Created, NewSession, create_session},
    end_sessions::{Ended, Ending, SignedOut, end_sessions, end_sessions_of, sign_out},
    import_sessions::{ImportedToken, import_sessions},
    keys::{Purpose, SealedKey, insert_keys, load_keys},
    list_sessions::{Listed, Page, list_sessions},
    refresh::{Replayed, Rotation, find_session, record_replay, refresh},
    sources::{Registered, StoredSource, find_source, load_sources, register_source},
    subjects::{Applied, EndedEvent, apply_subjects},
    sweep::sweep,
    watch::{Entry, head, revocations_since, snapshot},
};

/// The schema, in order.
pub const MIGRATIONS: &[Migration] =
    &[Migration { name: "0001_sessions", sqlite: include_str!("../../migrations/sqlite/0001_sessions.sql"), postgres: "" }];
/// Whose database it is.
pub const SCHEMA: &str = "token";

/// Every statement, for the test that prepares all on every engine.
pub static STATEMENTS: &[&[&Statement]] = &[
    create_session::STATEMENTS,
    end_sessions::STATEMENTS,
    import_sessions::STATEMENTS,
    keys::STATEMENTS,
    list_sessions::STATEMENTS,
    refresh::STATEMENTS,
    sources::STATEMENTS,
    subjects::STATEMENTS,
    sweep::STATEMENTS,
    watch::STATEMENTS,
];

/// The database, and what wakes the stream of revocations.
#[derive(Clone, Debug)]
pub struct Store {
    /// The database.
    pub db: Db,
    /// Notified after every commit that wrote a revocation.
    pub revoked: Arc<Notify>,
    /// Event ids and jtis.
    pub random: Random,
}

impl Store {
    /// Opens the database and brings its schema up to date.
    ///
    /// # Errors
    /// Where it cannot be opened, or was written by a newer version.
    pub async fn open(at: Location, clock: Clock, random: Random) -> Result<Self, StoreError> {
        let db = Db::open(DbOptions { at, schema: SCHEMA, migrations: MIGRATIONS, clock }).await?;
        Ok(Self { db, revoked: Arc::new(Notify::new()), random })
    }

    /// A transaction that may revoke. It is seen through, and verifiers are told, though nobody waits for the answer any more.
    async fn revoking<T, F>(&self, name: &'static str, work: F) -> Result<T, StoreError>
    where
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, StoreError>> + Clone + Send + 'static,
        T: Send + 'static,
    {
        let (store, context) = (self.clone(), RequestContext::current());
        let work = async move {
            let done = store.db.transaction(name, work).await;
            store.revoked.notify_one(); // one look too many does no harm
            done
        };
        let seen_through = match context {
            Some(context) => tokio::spawn(context.scope(work)),
            None => tokio::spawn(work),
        };
        seen_through.await.unwrap_or_else(|_| Err(StoreError::Unavailable(format!("{name} was stopped"))))
    }
}

/// Declares statements whose texts are files beside.
macro_rules! statements {
    ($($name:ident = $file:literal;)*) => {
        $(static $name: carelink_database::Statement = carelink_database::Statement::shared($file, include_str!(concat!("sql/", $file, ".sql")));)*
        /// The statements of this file.
        pub(super) static STATEMENTS: &[&carelink_database::Statement] = &[$(&$name,)*];
    };
}
use statements;

/// Microseconds, as statements take durations.
fn micros(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

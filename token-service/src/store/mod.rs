//! What token-service persists, one function per use case. Nothing is decided here.
//!
//! Locks in one order everywhere (S11): subjects by id, sessions by id, the revocation counter.
//! The outbox is only added to and holds up nobody.
//! What takes something away is seen through though whoever asked for it hangs up.

mod activity;
mod create_session;
mod end_sessions;
mod first_sight;
mod import_sessions;
mod keys;
mod list_sessions;
mod pulse;
mod refresh;
mod reseal;
mod rows;
mod sources;
mod subjects;
mod sweep;
mod together;
mod watch;
mod withdraw_key;

use std::sync::Arc;

use carelink_database::{Db, DbOptions, Location, Migration, Statement, StoreError, Tx};
use carelink_platform::{
    clock::{Clock, Follower, Timestamp},
    context::RequestContext,
    random::Random,
};
use futures::future::BoxFuture;
use tokio::sync::Notify;

use self::together::Together;
pub use self::{
    activity::{Report, Used, report},
    create_session::{Created, NewSession, create_session},
    end_sessions::{Ended, Ending, SignedOut, end_sessions, end_sessions_of, sign_out},
    first_sight::{BegunEvent, first_sight, remember_holders},
    import_sessions::{ImportedToken, import_sessions},
    keys::{Change, KeyEvent, Keys, NewKey, Purpose, SealedKey, Tell, change_keys, load_keys},
    list_sessions::{Listed, Page, list_sessions},
    pulse::{Beat, beat},
    refresh::{Replayed, Rotation, find_session, record_replay, refresh},
    reseal::replace_sealed,
    sources::{Registered, StoredSource, find_source, load_sources, register_source},
    subjects::{Applied, EndedEvent, apply_subjects},
    sweep::{Swept, sweep},
    watch::{Entries, Entry, Head, head, revocations_since, snapshot},
    withdraw_key::{end_sessions_of_key, withdraw_key},
};

macro_rules! migration {
    ($name:literal) => {
        Migration {
            name: $name,
            sqlite: include_str!(concat!("../../migrations/sqlite/", $name, ".sql")),
            postgres: include_str!(concat!("../../migrations/postgres/", $name, ".sql")),
        }
    };
}

/// The schema, in order.
pub const MIGRATIONS: &[Migration] =
    &[migration!("0001_sessions"), migration!("0002_fleet"), migration!("0003_expand_activity"), migration!("0004_expand_legacy_signed")];
/// Whose database it is.
pub const SCHEMA: &str = "token";

/// Every statement, for the test that prepares all on every engine.
pub static STATEMENTS: &[&[&Statement]] = &[
    activity::STATEMENTS,
    create_session::STATEMENTS,
    end_sessions::STATEMENTS,
    first_sight::STATEMENTS,
    import_sessions::STATEMENTS,
    keys::STATEMENTS,
    list_sessions::STATEMENTS,
    pulse::STATEMENTS,
    refresh::STATEMENTS,
    reseal::STATEMENTS,
    sources::STATEMENTS,
    subjects::STATEMENTS,
    sweep::STATEMENTS,
    together::STATEMENTS,
    watch::STATEMENTS,
    withdraw_key::STATEMENTS,
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
    /// Tells the clock what the database's shows, where that is another one than the process's.
    follower: Option<Follower>,
    /// Refreshes that share statements, on PostgreSQL.
    together: Option<Together>,
}

impl Store {
    /// Opens the database and brings its schema up to date.
    ///
    /// # Errors
    /// Where it cannot be opened, or was written by a newer version.
    pub async fn open(at: Location, clock: Clock, random: Random) -> Result<Self, StoreError> {
        let elsewhere = matches!(at, Location::Postgres(_));
        let (clock, follower) = if elsewhere { Clock::following(&clock) } else { (clock, None) };
        let db = Db::open(DbOptions { at, schema: SCHEMA, migrations: MIGRATIONS, clock }).await?;
        let together = elsewhere.then(|| Together::start(db.clone()));
        Ok(Self { db, revoked: Arc::new(Notify::new()), random, follower, together })
    }

    /// The database's clock showed this a moment ago: deadlines are in its time (T4).
    pub(crate) fn heard(&self, now: Timestamp) {
        if let Some(follower) = &self.follower {
            follower.heard(now);
        }
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

/// Declares statements whose texts are files beside; `on both` where PostgreSQL has one of its own.
macro_rules! statements {
    (@text $file:literal) => {
        carelink_database::Statement::shared($file, include_str!(concat!("sql/", $file, ".sql")))
    };
    (@text $file:literal on both) => {
        carelink_database::Statement::per_engine(
            $file,
            include_str!(concat!("sql/", $file, ".sql")),
            include_str!(concat!("sql/", $file, ".postgres.sql")),
        )
    };
    ($($name:ident = $file:literal $(on $both:ident)?;)*) => {
        $(pub(super) static $name: carelink_database::Statement = $crate::store::statements!(@text $file $(on $both)?);)*
        /// The statements of this file.
        pub(super) static STATEMENTS: &[&carelink_database::Statement] = &[$(&$name,)*];
    };
}
use statements;

/// Microseconds, as statements take durations.
fn micros(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

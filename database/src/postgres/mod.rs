//! PostgreSQL 15 and newer, shared by any number of replicas: a pooled connection per transaction, one round trip for a statement.

mod connect;
mod error;
mod pool;
mod session;
mod value;

use std::sync::Arc;

use carelink_platform::{location::Postgres, telemetry};
use sqlx::{Connection as _, Executor as _, SqlSafeStr as _};
use tokio::{
    sync::watch,
    time::{Duration, timeout},
};

pub(crate) use self::{
    connect::{applied, connect, migrating, other_owner},
    error::meaning,
    session::{Given, Session},
    value::{Bound, read},
};
use self::{pool::Pool, session::Prepared};
use crate::{Migration, Row, Statement, StoreError};

/// A schema of PostgreSQL. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    pool: Pool,
    prepared: Prepared,
    committed: Arc<watch::Sender<u64>>,
    commits: metrics::Counter,
}

impl Engine {
    /// Connects, and checks that the schema is the one that `migrations` make.
    pub(crate) async fn open(at: &Postgres, schema: &'static str, migrations: &[Migration]) -> Result<Self, StoreError> {
        let options = connect::options(at, schema)?;
        connect::check(&options, schema, migrations).await?;
        let prepared = if at.config.pooler { Prepared::Each } else { Prepared::Kept };
        telemetry::metrics_handle();
        let commits = metrics::counter!("carelink_database_commits_total", "schema" => schema);
        let pool = Pool::new(schema, options, at.config.clone());
        Ok(Self { pool, prepared, committed: Arc::new(watch::Sender::new(0)), commits })
    }

    /// Changes whenever this process has committed something.
    pub(crate) fn commits(&self) -> watch::Receiver<u64> {
        self.committed.subscribe()
    }

    /// Told by whoever has committed.
    pub(crate) fn committed(&self) {
        self.commits.increment(1);
        self.committed.send_modify(|count| *count += 1);
    }

    /// Whether the server answers: it did just now, or does when it is asked past the pool and its queue.
    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        if self.pool.answered_just_now() {
            return Ok(());
        }
        let mut connection = self.pool.beside().await?;
        match timeout(Duration::from_secs(1), connection.ping()).await {
            Ok(Ok(())) => connection.close().await.map_err(|error| meaning(&error).0),
            Ok(Err(error)) => Err(meaning(&error).0),
            Err(_) => Err(StoreError::Unavailable("no answer within a second".to_owned())),
        }
    }

    /// A connection in a transaction.
    pub(crate) async fn begin(&self, trips: metrics::Counter) -> Result<Session, StoreError> {
        let mut session = Session::new(self.pool.acquire().await?, trips, self.prepared);
        session.begin().await?;
        Ok(session)
    }

    /// Writes with a statement by itself: one round trip where its text has one part.
    pub(crate) async fn run(&self, statement: &'static Statement, given: Given<'_>) -> Result<Vec<Row>, StoreError> {
        let mut session = self.session(statement).await?;
        let rows = self.alone(&mut session, statement, given).await?;
        session.end();
        self.committed();
        Ok(rows)
    }

    /// Reads, and once more where the connection turned out to be dead.
    pub(crate) async fn query(&self, statement: &'static Statement, given: Given<'_>) -> Result<Vec<Row>, StoreError> {
        let mut session = self.session(statement).await?;
        let mut outcome = self.alone(&mut session, statement, given).await;
        if outcome.is_err() && session.was_dead() {
            session = self.session(statement).await?;
            outcome = self.alone(&mut session, statement, given).await;
        }
        if outcome.is_ok() {
            session.end();
        }
        outcome
    }

    /// Prepares statements on a connection of its own, which is closed then: they carry no types.
    pub(crate) async fn check(&self, statements: &'static [&'static Statement]) -> Result<(), StoreError> {
        let mut connection = self.pool.beside().await?;
        for statement in statements {
            for part in statement.postgres() {
                let prepared = connection.prepare(part.sql.as_str().into_sql_str()).await;
                prepared.map_err(|error| StoreError::Engine(format!("{}: {error}", statement.name())))?;
            }
        }
        connection.close().await.map_err(|error| meaning(&error).0)
    }

    async fn session(&self, statement: &'static Statement) -> Result<Session, StoreError> {
        Ok(Session::new(self.pool.acquire().await?, statement.trips().clone(), self.prepared))
    }

    /// Outside a transaction where that is possible: one statement, and no pooler that could change the connection within it.
    async fn alone(&self, session: &mut Session, statement: &'static Statement, given: Given<'_>) -> Result<Vec<Row>, StoreError> {
        if self.prepared == Prepared::Kept && statement.postgres().len() == 1 {
            return session.run(statement, given).await;
        }
        session.begin().await?;
        let rows = session.run(statement, given).await?;
        session.commit().await?;
        Ok(rows)
    }
}

//! A transaction: what a use case runs its statements in.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use carelink_platform::clock::Timestamp;
use futures::future::BoxFuture;
use rusqlite::Connection;

use crate::{
    Row, Statement, StoreError, Value, args,
    postgres::{Given, Session},
    sqlite::{self, Moment},
};

static NOW: Statement = Statement::shared("now", "SELECT clock_timestamp() AS now;");

/// One transaction. Its first error is its end: nothing runs after it and nothing is kept, as PostgreSQL has it.
#[derive(Debug)]
pub struct Tx {
    engine: Engine,
    failed: Option<StoreError>,
}

#[derive(Debug)]
enum Engine {
    /// The connection of the writing thread, and its clock.
    Sqlite(Connection, Moment),
    Postgres(Box<Session>),
}

impl Tx {
    pub(crate) fn sqlite(connection: Connection, moment: Moment) -> Self {
        Self { engine: Engine::Sqlite(connection, moment), failed: None }
    }

    /// In the transaction that the session has begun.
    pub(crate) fn postgres(session: Session) -> Self {
        Self { engine: Engine::Postgres(Box::new(session)), failed: None }
    }

    /// Runs a statement and returns its rows.
    ///
    /// # Errors
    /// Those of the engine; the transaction is over then.
    pub async fn run(&mut self, statement: &'static Statement, args: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        self.given(statement, Given::Values(&args)).await
    }

    /// Runs a statement once for each list of arguments and returns all rows; in one round trip where PostgreSQL's text takes arrays
    /// (`unnest(cast($1 AS uuid[]), ..)`). There the order of rows is what the text makes it.
    ///
    /// # Errors
    /// Those of the engine; the transaction is over then.
    pub async fn run_each(&mut self, statement: &'static Statement, each: Vec<Vec<Value>>) -> Result<Vec<Row>, StoreError> {
        if each.is_empty() {
            return Ok(Vec::new());
        }
        if matches!(self.engine, Engine::Postgres(_)) && statement.takes_arrays() {
            return self.given(statement, Given::Rows(&each)).await;
        }
        let mut rows = Vec::new();
        for args in each {
            rows.extend(self.run(statement, args).await?);
        }
        Ok(rows)
    }

    /// The database's clock, read when the lock was had (T1).
    ///
    /// # Errors
    /// Those of the engine; the transaction is over then.
    pub async fn now(&mut self) -> Result<Timestamp, StoreError> {
        if let Engine::Sqlite(_, moment) = &self.engine {
            return Ok(moment.now());
        }
        let rows = self.run(&NOW, args![]).await?;
        rows.first().map_or(Ok(Timestamp::ZERO), |row| row.get("now"))
    }

    async fn given(&mut self, statement: &'static Statement, given: Given<'_>) -> Result<Vec<Row>, StoreError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let rows = match (&mut self.engine, given) {
            (Engine::Sqlite(connection, _), Given::Values(args)) => sqlite::run(connection, statement, args),
            (Engine::Sqlite(..), Given::Rows(_)) => Err(StoreError::Engine("SQLite has no arrays".to_owned())),
            (Engine::Postgres(session), given) => session.run(statement, given).await,
        };
        if let Err(error) = &rows {
            self.failed = Some(error.clone());
        }
        rows
    }

    /// Why nothing runs here any more.
    pub(crate) fn failed(&self) -> Option<&StoreError> {
        self.failed.as_ref()
    }

    /// Commits, on PostgreSQL.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        let Engine::Postgres(mut session) = self.engine else { return Ok(()) };
        session.commit().await?;
        session.end();
        Ok(())
    }

    /// Undoes everything, on PostgreSQL.
    pub(crate) async fn roll_back(self) {
        let Engine::Postgres(mut session) = self.engine else { return };
        if session.roll_back().await.is_ok() {
            session.end();
        }
    }

    /// Runs a transaction control statement, on SQLite.
    pub(crate) fn control(&self, sql: &str) -> Result<(), StoreError> {
        match &self.engine {
            Engine::Sqlite(connection, _) => sqlite::control(connection, sql),
            Engine::Postgres(_) => Ok(()),
        }
    }

    /// Runs one use case in a savepoint of SQLite; its failure undoes what it did and nothing else.
    pub(crate) fn item<T, E: From<StoreError>>(
        &mut self,
        work: impl for<'t> FnOnce(&'t mut Self) -> BoxFuture<'t, Result<T, E>>,
    ) -> Result<T, E> {
        self.failed = None;
        if let Engine::Sqlite(_, moment) = &self.engine {
            moment.look();
        }
        self.control("SAVEPOINT item")?;
        let mut outcome =
            poll_once(work(self)).unwrap_or_else(|| Err(StoreError::Engine("a transaction awaited something else".to_owned()).into()));
        if let (Ok(_), Some(error)) = (&outcome, &self.failed) {
            outcome = Err(error.clone().into());
        }
        if self.lost().is_some() {
            return outcome;
        }
        match outcome {
            Ok(value) => self.control("RELEASE item").map(|()| value).map_err(E::from),
            Err(error) => {
                self.undo();
                Err(error)
            }
        }
    }

    /// Undoes the item of SQLite that failed or panicked.
    pub(crate) fn undo(&mut self) {
        if self.lost().is_none() && (self.control("ROLLBACK TO item").is_err() || self.control("RELEASE item").is_err()) {
            let _ = self.control("ROLLBACK"); // the whole batch is told
        }
    }

    /// Why SQLite has rolled the whole transaction back by itself (disk full, I/O error), if it has.
    pub(crate) fn lost(&self) -> Option<StoreError> {
        let Engine::Sqlite(connection, _) = &self.engine else { return None };
        connection.is_autocommit().then(|| self.failed.clone().unwrap_or(StoreError::Full))
    }

    /// Prepares statements without running them, on SQLite.
    pub(crate) fn prepare(&self, statements: &[&Statement]) -> Result<(), StoreError> {
        let Engine::Sqlite(connection, _) = &self.engine else { return Ok(()) };
        statements.iter().try_for_each(|statement| sqlite::prepare(connection, statement))
    }
}

/// On SQLite every await within a transaction is answered at once; None where something else was awaited.
fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

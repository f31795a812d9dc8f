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
    Row, Statement, StoreError, Value,
    sqlite::{self, Moment},
};

/// One transaction. Its first error is its end: nothing runs after it and nothing is kept, as PostgreSQL has it.
#[derive(Debug)]
pub struct Tx {
    connection: Connection,
    moment: Moment,
    failed: Option<StoreError>,
}

impl Tx {
    pub(crate) fn new(connection: Connection, moment: Moment) -> Self {
        Self { connection, moment, failed: None }
    }

    /// Runs a statement and returns its rows.
    ///
    /// # Errors
    /// Those of the engine; the transaction is over then.
    #[allow(clippy::unused_async)] // awaits on PostgreSQL
    pub async fn run(&mut self, statement: &'static Statement, args: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let rows = sqlite::run(&self.connection, statement, &args);
        if let Err(error) = &rows {
            self.failed = Some(error.clone());
        }
        rows
    }

    /// Runs a statement once for each list of arguments and returns all rows; one round trip on PostgreSQL.
    ///
    /// # Errors
    /// Those of the engine; the transaction is over then.
    pub async fn run_each(&mut self, statement: &'static Statement, each: Vec<Vec<Value>>) -> Result<Vec<Row>, StoreError> {
        let mut rows = Vec::new();
        for args in each {
            rows.extend(self.run(statement, args).await?);
        }
        Ok(rows)
    }

    /// The database's clock, read when the lock was had (T1).
    #[allow(clippy::unused_async)] // asks the server on PostgreSQL
    pub async fn now(&mut self) -> Result<Timestamp, StoreError> {
        Ok(self.moment.now())
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Runs one use case in a savepoint; its failure undoes what it did and nothing else.
    pub(crate) fn item<T, E: From<StoreError>>(
        &mut self,
        work: impl for<'t> FnOnce(&'t mut Self) -> BoxFuture<'t, Result<T, E>>,
    ) -> Result<T, E> {
        self.failed = None;
        self.moment.look();
        sqlite::control(&self.connection, "SAVEPOINT item")?;
        let mut outcome =
            poll_once(work(self)).unwrap_or_else(|| Err(StoreError::Engine("a transaction awaited something else".to_owned()).into()));
        if let (Ok(_), Some(error)) = (&outcome, &self.failed) {
            outcome = Err(error.clone().into());
        }
        if self.lost().is_some() {
            return outcome;
        }
        match outcome {
            Ok(value) => sqlite::control(&self.connection, "RELEASE item").map(|()| value).map_err(E::from),
            Err(error) => {
                self.undo();
                Err(error)
            }
        }
    }

    /// Undoes the item that failed or panicked.
    pub(crate) fn undo(&mut self) {
        if self.lost().is_none()
            && (sqlite::control(&self.connection, "ROLLBACK TO item").is_err()
                || sqlite::control(&self.connection, "RELEASE item").is_err())
        {
            let _ = sqlite::control(&self.connection, "ROLLBACK"); // the whole batch is told
        }
    }

    /// Why the engine has rolled the whole transaction back by itself (disk full, I/O error), if it has.
    pub(crate) fn lost(&self) -> Option<StoreError> {
        self.connection.is_autocommit().then(|| self.failed.clone().unwrap_or(StoreError::Full))
    }
}

/// On SQLite every await within a transaction is answered at once; None where something else was awaited.
fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

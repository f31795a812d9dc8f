//! A database: a handle that services hold, its one writer and its readers behind it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use carelink_platform::{
    clock::Clock,
    context::{RequestContext, TraceContext},
    telemetry::{self, SpanKind},
};
use futures::future::BoxFuture;
use tokio::sync::{oneshot, watch};
use tracing::Instrument;

use crate::{
    Location, Migration, Row, Statement, StoreError, Tx, Value, migrate,
    sqlite::{self, Moment, Readers, Writer},
};

static CHECKPOINT: Statement = Statement::shared("checkpoint", "PRAGMA wal_checkpoint(TRUNCATE);");

/// How a database is opened.
#[derive(Debug)]
pub struct DbOptions {
    /// Where it is.
    pub at: Location,
    /// Whose it is: `auth`, `token`, `audit`; labels metrics and messages.
    pub schema: &'static str,
    /// In order; in a file, those that are not there yet are applied.
    pub migrations: &'static [Migration],
    /// The clock behind `clock_timestamp()`.
    pub clock: Clock,
}

/// A database. Cheap to clone; the last clone closes it.
#[derive(Clone, Debug)]
pub struct Db {
    schema: &'static str,
    clock: Clock,
    writer: Arc<Writer>,
    readers: Arc<Readers>,
    applied: Arc<[&'static str]>,
}

impl Db {
    /// Opens the database. A file is made where there is none, and its schema brought up to date; PostgreSQL's schema is only checked.
    ///
    /// # Errors
    /// Where it cannot be opened or written, or was written by a newer version.
    #[allow(clippy::unused_async)] // asks the server on PostgreSQL
    pub async fn open(options: DbOptions) -> Result<Self, StoreError> {
        let path = match &options.at {
            Location::File(path) => path.clone(),
            Location::Postgres(_) => return Err(StoreError::Engine("PostgreSQL is not built yet".to_owned())),
        };
        Self::open_file(options, path.clone()).map_err(|error| match error {
            StoreError::Engine(message) => StoreError::Engine(format!("{}: {message}", path.display())),
            error => error,
        })
    }

    fn open_file(options: DbOptions, path: PathBuf) -> Result<Self, StoreError> {
        let DbOptions { schema, migrations, clock, .. } = options;
        let moment = Moment::new(&clock);
        let connection = sqlite::open(&path, &moment)?;
        let applied = migrate::run(&connection, schema, migrations)?.into();
        sqlite::release_leases(&connection)?;
        let readers = Readers::start(&path, schema, &clock)?;
        let writer = Writer::start(Tx::new(connection, moment), schema)?;
        Ok(Self { schema, clock, writer: Arc::new(writer), readers: Arc::new(readers), applied })
    }

    /// Whose it is.
    pub fn schema(&self) -> &'static str {
        self.schema
    }

    /// The clock behind `clock_timestamp()`.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The migrations that opening applied; for the trail.
    pub fn applied(&self) -> &[&'static str] {
        &self.applied
    }

    /// Changes whenever something has been committed.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.writer.commits()
    }

    /// Reads. One round trip.
    ///
    /// # Errors
    /// Those of the engine.
    pub async fn query(&self, statement: &'static Statement, args: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        let (reply, answer) = oneshot::channel();
        let work = async {
            self.readers
                .submit(Box::new(move |connection| {
                    let _ = reply.send(sqlite::run(connection, statement, &args)); // nobody waits any more
                }))
                .await?;
            answer.await.map_err(|_| StoreError::Unavailable("a reader has stopped".to_owned()))?
        };
        self.traced(statement.name(), work).await
    }

    /// Writes with one statement (or text). One round trip, durable when it returns.
    ///
    /// # Errors
    /// Those of the engine; nothing was written then.
    pub async fn run(&self, statement: &'static Statement, args: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        self.transaction(statement.name(), move |tx| Box::pin(async move { tx.run(statement, args).await })).await
    }

    /// Runs a use case in a transaction, durable when it returns. Within it nothing but `tx` may be awaited.
    ///
    /// # Errors
    /// The use case's own, and those of the engine; nothing was written then.
    pub async fn transaction<T, E, F>(&self, name: &'static str, work: F) -> Result<T, E>
    where
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Clone + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let context = RequestContext::current();
        let job = Box::new(move |tx: Result<&mut Tx, StoreError>| -> sqlite::Settle {
            let outcome = tx.map_err(E::from).and_then(|tx| {
                catch_unwind(AssertUnwindSafe(|| RequestContext::sync_scope(context, || tx.item(work)))).unwrap_or_else(|_| {
                    tx.undo();
                    Err(StoreError::Engine(format!("{name} panicked")).into())
                })
            });
            Box::new(move |committed| {
                let outcome = match (outcome, committed) {
                    (Ok(_), Err(error)) => Err(error.into()),
                    (outcome, _) => outcome,
                };
                let _ = reply.send(outcome); // nobody waits any more: it happened all the same
            })
        });
        let work = async {
            self.writer.submit(job).await?;
            answer.await.map_err(|_| StoreError::Unavailable("the writer has stopped".to_owned()))?
        };
        self.traced(name, work).await
    }

    /// Moves what the log holds into the file itself, so that a copy of the file alone is whole. For the end of a process; where it
    /// fails nothing is lost, the log goes on holding it.
    pub async fn checkpoint(&self) {
        if let Err(error) = self.query(&CHECKPOINT, Vec::new()).await {
            tracing::warn!(%error, schema = self.schema, "the log stays beside the database");
        }
    }

    /// Prepares statements, so that a test finds one that the engine does not understand.
    ///
    /// # Errors
    /// The first that cannot be prepared.
    pub async fn check(&self, statements: &'static [&'static Statement]) -> Result<(), StoreError> {
        self.transaction("check", move |tx| {
            Box::pin(async move {
                for statement in statements {
                    sqlite::prepare(tx.connection(), statement)?;
                }
                Ok(())
            })
        })
        .await
    }

    async fn traced<T>(&self, name: &'static str, work: impl Future<Output = T>) -> T {
        let Some(trace) = TraceContext::current().filter(|trace| trace.sampled) else { return work.await };
        let (span, _) = telemetry::span(SpanKind::Client, name, trace);
        work.instrument(span).await
    }

    /// Waits for the next commit, at most so long.
    pub(crate) async fn wait_for_commit(commits: &mut watch::Receiver<u64>, at_most: Duration) {
        let _ = tokio::time::timeout(at_most, commits.changed()).await; // either is a reason to look
    }
}

//! A database: a handle that services hold; behind it one writer and some readers of a file, or a pool of connections to PostgreSQL.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
    time::Duration,
};

use carelink_platform::{
    clock::Clock,
    context::{RequestContext, TraceContext},
    telemetry::{self, SpanKind},
};
use futures::{FutureExt as _, future::BoxFuture};
use tokio::sync::{oneshot, watch};
use tracing::Instrument;

use crate::{
    Location, Migration, Row, Statement, StoreError, Tx, Value, migrate,
    postgres::{self, Given},
    sqlite::{self, Moment, Readers, Writer},
    statement,
};

static CHECKPOINT: Statement = Statement::shared("checkpoint", "PRAGMA wal_checkpoint(TRUNCATE);");

/// How long a transaction that raced waits before it is run again. What it raced with must get past it, or they meet again.
const AFTER_RACES: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(300)];

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
    engine: Engine,
    applied: Arc<[&'static str]>,
}

#[derive(Clone, Debug)]
enum Engine {
    Sqlite(Arc<Writer>, Arc<Readers>),
    Postgres(postgres::Engine),
}

impl Db {
    /// Opens the database. A file is made where there is none, and its schema brought up to date; PostgreSQL's schema is only checked.
    ///
    /// # Errors
    /// Where it cannot be opened or written, or its schema is not this version's.
    pub async fn open(options: DbOptions) -> Result<Self, StoreError> {
        let DbOptions { at, schema, migrations, clock } = options;
        match at {
            Location::File(path) => Self::open_file(&path, schema, migrations, clock).map_err(|error| match error {
                StoreError::Engine(message) => StoreError::Engine(format!("{}: {message}", path.display())),
                error => error,
            }),
            Location::Postgres(at) => {
                let engine = Engine::Postgres(Box::pin(postgres::Engine::open(&at, schema, migrations)).await?);
                Ok(Self { schema, clock, engine, applied: Arc::default() })
            }
        }
    }

    fn open_file(path: &Path, schema: &'static str, migrations: &[Migration], clock: Clock) -> Result<Self, StoreError> {
        let moment = Moment::new(&clock);
        let connection = sqlite::open(path, &moment)?;
        let applied = migrate::run(&connection, schema, migrations)?.into();
        #[cfg(feature = "simulation")]
        if let Some(switch) = crate::simulation::at(path) {
            switch.admits_write()?;
            let readers = Readers::here(path, &clock, switch.clone())?;
            let writer = Writer::here(Tx::sqlite(connection, moment), schema, switch);
            return Ok(Self { schema, clock, engine: Engine::Sqlite(Arc::new(writer), Arc::new(readers)), applied });
        }
        sqlite::release_leases(&connection)?;
        let readers = Readers::start(path, schema, &clock)?;
        let writer = Writer::start(Tx::sqlite(connection, moment), schema)?;
        Ok(Self { schema, clock, engine: Engine::Sqlite(Arc::new(writer), Arc::new(readers)), applied })
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

    /// Changes whenever this process has committed something.
    pub fn commits(&self) -> watch::Receiver<u64> {
        match &self.engine {
            Engine::Sqlite(writer, _) => writer.commits(),
            Engine::Postgres(engine) => engine.commits(),
        }
    }

    /// Whether other processes may write to it: then not every commit is told by [`Self::commits`].
    pub fn is_shared(&self) -> bool {
        match &self.engine {
            Engine::Sqlite(_, readers) => readers.is_shared(),
            Engine::Postgres(_) => true,
        }
    }

    /// Whether it answers, for readiness: asked past every queue, within about two seconds.
    ///
    /// # Errors
    /// Where it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        match &self.engine {
            Engine::Sqlite(..) => Ok(()),
            Engine::Postgres(engine) => Box::pin(engine.ping()).await,
        }
    }

    /// Reads. One round trip.
    ///
    /// # Errors
    /// Those of the engine.
    pub async fn query(&self, statement: &'static Statement, args: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        let work = async {
            let readers = match &self.engine {
                Engine::Sqlite(_, readers) => readers,
                Engine::Postgres(engine) => return Box::pin(engine.query(statement, Given::Values(&args))).await,
            };
            let (reply, answer) = oneshot::channel();
            statement.trips().increment(1);
            let job = Box::new(move |connection: &_| {
                let _ = reply.send(sqlite::run(connection, statement, &args)); // nobody waits any more
            });
            readers.submit(job).await?;
            answer.await.map_err(|_| StoreError::Unavailable("a reader has stopped".to_owned()))?
        };
        self.traced(statement.name(), work).await
    }

    /// Writes with one statement (or text), durable when it returns. One round trip where the text is one statement.
    ///
    /// # Errors
    /// Those of the engine; nothing was written then.
    pub async fn run(&self, statement: &'static Statement, args: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        match &self.engine {
            Engine::Sqlite(writer, _) => {
                let work = queued(writer, statement.name(), statement.trips().clone(), move |tx| {
                    Box::pin(async move { tx.run(statement, args).await })
                });
                self.traced(statement.name(), work).await
            }
            Engine::Postgres(engine) => self.traced(statement.name(), Box::pin(engine.run(statement, Given::Values(&args)))).await,
        }
    }

    /// Writes with one statement for many rows, durable when it returns; see [`Tx::run_each`]. All of it or nothing.
    ///
    /// # Errors
    /// Those of the engine; nothing was written then.
    pub async fn run_each(&self, statement: &'static Statement, each: Vec<Vec<Value>>) -> Result<Vec<Row>, StoreError> {
        match &self.engine {
            Engine::Postgres(engine) if statement.takes_arrays() && !each.is_empty() => {
                self.traced(statement.name(), Box::pin(engine.run(statement, Given::Rows(&each)))).await
            }
            _ => self.transaction(statement.name(), move |tx| Box::pin(async move { tx.run_each(statement, each).await })).await,
        }
    }

    /// Runs a use case in a transaction, durable when it returns. Within it nothing but `tx` may be awaited. On PostgreSQL it is run
    /// again where it raced with another.
    ///
    /// # Errors
    /// The use case's own, and those of the engine; nothing was written then.
    pub async fn transaction<T, E, F>(&self, name: &'static str, work: F) -> Result<T, E>
    where
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Clone + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        match &self.engine {
            Engine::Sqlite(writer, _) => self.traced(name, queued(writer, name, statement::trips(name), work)).await,
            Engine::Postgres(engine) => self.traced(name, Box::pin(shared(engine, name, work))).await,
        }
    }

    /// Moves what the log holds into the file itself, so that a copy of the file alone is whole. For the end of a process; where it
    /// fails nothing is lost, the log goes on holding it.
    pub async fn checkpoint(&self) {
        if self.is_shared() {
            return; // the server's own business
        }
        if let Err(error) = self.query(&CHECKPOINT, Vec::new()).await {
            tracing::warn!(%error, schema = self.schema, "the log stays beside the database");
        }
    }

    /// Prepares statements, so that a test finds one that the engine does not understand.
    ///
    /// # Errors
    /// The first that cannot be prepared.
    pub async fn check(&self, statements: &'static [&'static Statement]) -> Result<(), StoreError> {
        match &self.engine {
            Engine::Sqlite(..) => self.transaction("check", move |tx| Box::pin(async move { tx.prepare(statements) })).await,
            Engine::Postgres(engine) => Box::pin(engine.check(statements)).await,
        }
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

/// An item of the writing thread of a file.
async fn queued<T, E, F>(writer: &Writer, name: &'static str, trips: metrics::Counter, work: F) -> Result<T, E>
where
    F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    let context = RequestContext::current();
    let job = Box::new(move |tx: Result<&mut Tx, StoreError>| -> sqlite::Settle {
        let outcome = tx.map_err(E::from).and_then(|tx| {
            catch_unwind(AssertUnwindSafe(|| RequestContext::sync_scope(context, || tx.item(work)))).unwrap_or_else(|_| {
                tx.undo();
                Err(panicked(name).into())
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
    trips.increment(1);
    writer.submit(job).await?;
    answer.await.map_err(|_| StoreError::Unavailable("the writer has stopped".to_owned()))?
}

/// A transaction on PostgreSQL. One that raced with another is run again, whole, once the other has had a moment to go on.
async fn shared<T, E, F>(engine: &postgres::Engine, name: &'static str, work: F) -> Result<T, E>
where
    F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Clone + Send + 'static,
    E: From<StoreError>,
{
    let trips = statement::trips(name);
    let mut pauses = AFTER_RACES.into_iter();
    loop {
        let work = work.clone();
        let mut tx = Tx::postgres(engine.begin(trips.clone()).await?);
        let Ok(outcome) = AssertUnwindSafe(async { work(&mut tx).await }).catch_unwind().await else {
            tx.roll_back().await;
            return Err(panicked(name).into());
        };
        let failed = tx.failed().cloned();
        let raced = match (outcome, failed) {
            (Ok(value), None) => match tx.commit().await {
                Ok(()) => {
                    engine.committed();
                    return Ok(value);
                }
                Err(error @ StoreError::Raced(_)) => E::from(error),
                Err(error) => return Err(error.into()),
            },
            (outcome, failed) => {
                tx.roll_back().await;
                let raced = matches!(failed, Some(StoreError::Raced(_)));
                let error = match (outcome, failed) {
                    (Err(error), _) => error,
                    (Ok(_), failed) => failed.unwrap_or_else(|| panicked(name)).into(),
                };
                if !raced {
                    return Err(error);
                }
                error
            }
        };
        match pauses.next() {
            Some(pause) => tokio::time::sleep(pause).await,
            None => return Err(raced),
        }
    }
}

fn panicked(name: &str) -> StoreError {
    StoreError::Engine(format!("{name} panicked"))
}

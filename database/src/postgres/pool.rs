//! Connections to PostgreSQL: a few, handed from one operation to the next, with a bounded queue in front.
//!
//! A connection comes back only from an operation that ended well. One whose operation was dropped, failed or panicked is first
//! rolled back behind the scenes, or closed where it does not answer: nobody ever gets a connection inside a transaction of
//! somebody else. When the server stalls, those who wait are told within `acquire_timeout`, and once it is known to be down
//! everybody but one who tries is told at once.

use std::{
    fmt, mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use carelink_platform::location::DatabaseConfig;
use futures::TryStreamExt as _;
use sqlx::{
    Connection as _, Executor as _, PgConnection,
    postgres::{PgArguments, PgConnectOptions, PgRow},
};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, error::Elapsed, sleep, timeout, timeout_at},
};

use super::error::{Left, is_away, may_pass, meaning};
use crate::StoreError;

/// How many may wait for each connection that there is.
const QUEUE_PER_CONNECTION: usize = 64;
/// Between two attempts to connect to a server that is starting.
const AGAIN: Duration = Duration::from_millis(50);
/// How often idle connections are looked after, and how long each may take to answer.
const LOOK: Duration = Duration::from_secs(1);
/// An answer that is so young, in milliseconds, still tells that the server lives.
const RECENT: u64 = 2_500;
/// Idle connections beyond the first are closed after that.
const IDLE: Duration = Duration::from_secs(300);
/// What a statement may take beyond the server's own limit before its connection is given up.
const SLACK: Duration = Duration::from_millis(750);

/// The connections of one database. Cheap to clone; the last clone closes them.
#[derive(Clone, Debug)]
pub(super) struct Pool(Arc<Inner>);

struct Inner {
    schema: &'static str,
    opened: Instant,
    options: PgConnectOptions,
    config: DatabaseConfig,
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    idle: Mutex<Vec<Idle>>,
    /// Raised by a connection that failed: those from before are looked at before they are used.
    alarms: AtomicU64,
    down: AtomicBool,
    probe: Arc<Semaphore>,
    /// When the server last answered, in milliseconds since this was opened.
    answered: AtomicU64,
}

/// Without the options: they hold the password.
impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({})", self.schema)
    }
}

#[derive(Debug)]
struct Idle {
    connection: PgConnection,
    alarms: u64,
    since: Instant,
}

/// A connection in use.
#[derive(Debug)]
pub(super) struct Pooled {
    connection: Option<PgConnection>,
    alarms: u64,
    /// Whether it was there before, and may have died unnoticed.
    pub(super) reused: bool,
    in_transaction: bool,
    pool: Arc<Inner>,
    permits: Vec<OwnedSemaphorePermit>,
}

impl Pool {
    pub(super) fn new(schema: &'static str, options: PgConnectOptions, config: DatabaseConfig) -> Self {
        let inner = Arc::new(Inner {
            schema,
            opened: Instant::now(),
            options,
            permits: Arc::new(Semaphore::new(config.max_connections as usize)),
            config,
            waiting: AtomicUsize::new(0),
            idle: Mutex::default(),
            alarms: AtomicU64::new(0),
            down: AtomicBool::new(false),
            probe: Arc::new(Semaphore::new(1)),
            answered: AtomicU64::new(0),
        });
        tokio::spawn(look_after(Arc::downgrade(&inner)));
        Self(inner)
    }

    /// A connection outside any transaction.
    pub(super) async fn acquire(&self) -> Result<Pooled, StoreError> {
        let pool = &self.0;
        let end = Instant::now() + pool.config.acquire_timeout;
        let mut permits = Vec::with_capacity(1);
        if pool.down.load(Ordering::Relaxed) {
            let probing = Arc::clone(&pool.probe).try_acquire_owned();
            permits.push(probing.map_err(|_| pool.refused("down", "it did not answer a moment ago"))?);
        }
        permits.push(match Arc::clone(&pool.permits).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => pool.wait(end).await?,
        });
        let mut pooled = Pooled { connection: None, alarms: 0, reused: false, in_transaction: false, pool: Arc::clone(pool), permits };
        if !pooled.take_idle().await {
            Box::pin(pooled.connect(end)).await?; // seldom, and large
        }
        Ok(pooled)
    }

    /// Whether the server answered somebody just now. An idle connection is asked every second.
    pub(super) fn answered_just_now(&self) -> bool {
        let ago = self.0.now().saturating_sub(self.0.answered.load(Ordering::Relaxed));
        !self.0.down.load(Ordering::Relaxed) && ago < RECENT
    }

    /// A connection beside the pool, for whoever must not wait in its queue.
    pub(super) async fn beside(&self) -> Result<PgConnection, StoreError> {
        match timeout(LOOK, PgConnection::connect_with(&self.0.options)).await {
            Ok(connected) => connected.map_err(|error| meaning(&error).0),
            Err(_) => Err(StoreError::Unavailable("no connection within a second".to_owned())),
        }
    }
}

impl Inner {
    async fn wait(&self, end: Instant) -> Result<OwnedSemaphorePermit, StoreError> {
        let most = self.config.max_connections as usize * QUEUE_PER_CONNECTION;
        let waiting = Waiting::enter(&self.waiting);
        if waiting.before >= most {
            return Err(self.refused("queue", "too many are waiting for a connection"));
        }
        match timeout_at(end, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(self.refused("wait", "no connection came free in time")),
        }
    }

    fn refused(&self, why: &'static str, message: &str) -> StoreError {
        metrics::counter!("carelink_database_refused_total", "schema" => self.schema, "why" => why).increment(1);
        StoreError::Unavailable(message.to_owned())
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn alarm(&self) {
        self.alarms.fetch_add(1, Ordering::Relaxed);
    }

    fn is_down(&self, why: &dyn fmt::Display) {
        self.alarm();
        if !self.down.swap(true, Ordering::Relaxed) {
            tracing::error!(schema = self.schema, %why, "PostgreSQL does not answer");
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn is_up(&self) {
        self.answered.store(self.now(), Ordering::Relaxed);
        if self.down.load(Ordering::Relaxed) && self.down.swap(false, Ordering::Relaxed) {
            tracing::info!(schema = self.schema, "PostgreSQL answers again");
        }
    }

    fn limit(&self) -> Duration {
        self.config.statement_timeout + SLACK
    }
}

struct Waiting<'a> {
    count: &'a AtomicUsize,
    before: usize,
}

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize) -> Self {
        Self { count, before: count.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pooled {
    /// Takes one that is there. Those from before an alarm are asked first.
    async fn take_idle(&mut self) -> bool {
        loop {
            let Some(Idle { mut connection, alarms, .. }) = self.pool.idle().pop() else { return false };
            self.alarms = self.pool.alarms.load(Ordering::Relaxed);
            if alarms == self.alarms || matches!(timeout(LOOK, connection.ping()).await, Ok(Ok(()))) {
                self.connection = Some(connection);
                self.reused = true;
                return true;
            }
        }
    }

    /// Opens one, or takes one that is given back meanwhile.
    async fn connect(&mut self, end: Instant) -> Result<(), StoreError> {
        loop {
            if self.take_idle().await {
                return Ok(());
            }
            self.alarms = self.pool.alarms.load(Ordering::Relaxed);
            let error = match timeout_at(end, PgConnection::connect_with(&self.pool.options)).await {
                Ok(Ok(connection)) => {
                    self.connection = Some(connection);
                    return Ok(());
                }
                Ok(Err(error)) if may_pass(&error) && Instant::now() + AGAIN < end => {
                    sleep(AGAIN).await;
                    continue;
                }
                Ok(Err(error)) => {
                    if is_away(&error) {
                        self.pool.is_down(&error);
                    }
                    meaning(&error).0
                }
                Err(_) => {
                    self.pool.is_down(&"no connection in time");
                    StoreError::Unavailable("no connection in time".to_owned())
                }
            };
            return Err(match error {
                StoreError::Unavailable(message) => self.pool.refused("connect", &message),
                error => error,
            });
        }
    }

    /// Runs a statement that has no arguments and no rows.
    pub(super) async fn execute(&mut self, sql: &'static str) -> Result<(), StoreError> {
        let limit = self.pool.limit();
        let outcome = timeout(limit, self.connection()?.execute(sql)).await;
        self.settle(outcome).map(|_| ())
    }

    /// Runs a statement; `kept`: it stays prepared.
    pub(super) async fn fetch(&mut self, sql: &'static str, arguments: PgArguments, kept: bool) -> Result<Vec<PgRow>, StoreError> {
        let limit = self.pool.limit();
        let rows = self.connection()?.fetch(sqlx::query_with(sql, arguments).persistent(kept)).try_collect();
        let outcome = timeout(limit, rows).await;
        self.settle(outcome)
    }

    fn connection(&mut self) -> Result<&mut PgConnection, StoreError> {
        self.connection.as_mut().ok_or_else(|| StoreError::Unavailable("the connection is gone".to_owned()))
    }

    /// What an answer means. A connection that is lost, or did not answer as long as a statement may take, is closed.
    fn settle<T>(&mut self, outcome: Result<Result<T, sqlx::Error>, Elapsed>) -> Result<T, StoreError> {
        match outcome {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                let (meaning, left) = meaning(&error);
                if left == Left::Lost {
                    self.connection = None;
                    self.pool.alarm();
                }
                Err(meaning)
            }
            Err(_) => {
                self.connection = None;
                self.pool.is_down(&"a statement was not answered");
                Err(StoreError::Unavailable("a statement was not answered in time".to_owned()))
            }
        }
    }

    /// Whether the connection was found to be dead.
    pub(super) fn is_lost(&self) -> bool {
        self.connection.is_none()
    }

    /// Notes that a transaction is begun or has ended.
    pub(super) fn set_in_transaction(&mut self, is: bool) {
        self.in_transaction = is;
    }

    /// Gives it back: whatever was asked has been answered, and no transaction is open.
    pub(super) fn release(mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.is_up();
            self.pool.put(connection, self.alarms);
        }
    }
}

impl Inner {
    fn put(&self, connection: PgConnection, alarms: u64) {
        self.idle().push(Idle { connection, alarms, since: Instant::now() });
    }
}

/// What was not given back is in a state that only the server knows: it is asked, behind the scenes.
impl Drop for Pooled {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        let Ok(runtime) = Handle::try_current() else { return }; // closes it
        let (pool, permits) = (Arc::clone(&self.pool), mem::take(&mut self.permits));
        let (alarms, in_transaction) = (self.alarms, self.in_transaction);
        runtime.spawn(async move {
            let tidy = async { if in_transaction { connection.execute("ROLLBACK").await.map(|_| ()) } else { connection.ping().await } };
            match timeout(pool.limit(), tidy).await {
                Ok(Ok(())) => {
                    pool.is_up();
                    pool.put(connection, alarms);
                }
                Ok(Err(_)) => pool.alarm(),
                Err(_) => pool.is_down(&"a statement was not answered"),
            }
            drop(permits);
        });
    }
}

/// Asks idle connections whether they live, so that a restart of the server is noticed before somebody needs one.
async fn look_after(pool: Weak<Inner>) {
    loop {
        sleep(LOOK).await;
        let Some(pool) = pool.upgrade() else { return };
        let began = Instant::now();
        let many = pool.idle().len();
        #[allow(clippy::cast_precision_loss)] // a gauge
        metrics::gauge!("carelink_database_idle_connections", "schema" => pool.schema).set(many as f64);
        for _ in 0..many {
            let Ok(permit) = Arc::clone(&pool.permits).try_acquire_owned() else { break };
            let oldest = {
                let mut idle = pool.idle();
                let rested = |found: &Idle| began.saturating_duration_since(found.since) >= LOOK;
                let at = idle.iter().position(rested);
                at.map(|at| (idle.remove(at), idle.len()))
            };
            let Some((Idle { mut connection, since, .. }, others)) = oldest else { break };
            let alarms = pool.alarms.load(Ordering::Relaxed);
            if others > 0 && since.elapsed() > IDLE {
                let _ = timeout(LOOK, connection.close()).await; // it is gone either way
            } else {
                match timeout(LOOK, connection.ping()).await {
                    Ok(Ok(())) => {
                        pool.is_up();
                        pool.idle().insert(0, Idle { connection, alarms, since });
                    }
                    Ok(Err(_)) => pool.alarm(),
                    Err(_) => pool.is_down(&"an idle connection does not answer"),
                }
            }
            drop(permit);
        }
    }
}

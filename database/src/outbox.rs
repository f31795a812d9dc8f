//! Facts that must not be lost: written in the transaction of the change, delivered until acknowledged (A1).
//! Events of the trail go through [`crate::trail`], which knows how to make and deliver them.

use std::time::Duration;

use carelink_platform::{clock::Timestamp, errors::Failure, lifecycle::Shutdown, random::Random};
use futures::future::BoxFuture;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::{
    Db, Row, Statement, StoreError, Tx, Value, args,
    backlog::{Backlog, COUNTED_EVERY},
    lease::{Epoch, Lease, RENEW},
};

static PUT: Statement = Statement::shared("outbox_put", include_str!("sql/outbox_put.sql"));
static TAKE: Statement =
    Statement::per_engine("outbox_take", include_str!("sql/outbox_take.sql"), include_str!("sql/outbox_take.postgres.sql"));
static PUT_ALL: Statement =
    Statement::per_engine("outbox_put_all", include_str!("sql/outbox_put.sql"), include_str!("sql/outbox_put_all.postgres.sql"));
static DELETE: Statement =
    Statement::per_engine("outbox_delete", include_str!("sql/outbox_delete.sql"), include_str!("sql/outbox_delete.postgres.sql"));
static BACKLOG: Statement = Statement::shared("outbox_backlog", include_str!("sql/outbox_backlog.sql"));

/// The statements of this module, for the test that prepares all.
pub static STATEMENTS: &[&Statement] = &[&PUT, &PUT_ALL, &TAKE, &DELETE, &BACKLOG];

/// How many rows travel together; written out in PostgreSQL's text.
const BATCH: usize = 500;
/// How long a relay waits for company before it delivers a row or two: one relay transaction serves many changes.
const LINGER: Duration = Duration::from_millis(50);
/// How often a relay looks though nothing was committed, and counts what waits.
const LOOK: Duration = COUNTED_EVERY;
/// Counting a long backlog takes a while: it is done the more seldom, so that it takes a twentieth of the time at most.
const COUNTING_SHARE: u32 = 20;
/// How often whoever relays looks for what other processes have committed.
const POLL: Duration = Duration::from_millis(200);
/// How often whoever does not relay asks for the lease.
const STAND_BY: Duration = RENEW;
/// Between full batches where others use the same server: live traffic goes before what waits (A6).
const BREATH: Duration = Duration::from_millis(20);

/// A fact on its way.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Where to: `audit`, `subjects`.
    pub destination: &'static str,
    /// What makes delivery idempotent.
    pub event_id: Uuid,
    /// Completes the body, where the writer could not know it before.
    pub subject: Option<Uuid>,
    /// The session, likewise.
    pub session: Option<Uuid>,
    /// The session's counter, likewise.
    pub counter: Option<u64>,
    /// The fact.
    pub body: Vec<u8>,
}

/// A row that waits.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Its place in the outbox.
    pub id: i64,
    /// What makes delivery idempotent.
    pub event_id: Uuid,
    /// See [`Outgoing::subject`].
    pub subject: Option<Uuid>,
    /// See [`Outgoing::session`].
    pub session: Option<Uuid>,
    /// See [`Outgoing::counter`].
    pub counter: Option<u64>,
    /// The fact.
    pub body: Vec<u8>,
    /// When it was written.
    pub created_at: Timestamp,
}

/// Writes a fact in the transaction of the change. Returns its place.
///
/// # Errors
/// Those of the database.
pub async fn put(tx: &mut Tx, out: Outgoing) -> Result<i64, StoreError> {
    let rows = tx.run(&PUT, row(out)).await?;
    rows.first().map_or(Ok(0), |row| row.get("id"))
}

/// Writes facts in the transaction of the change, in one round trip. Returns their places, in the order given.
///
/// # Errors
/// Those of the database.
pub async fn put_all(tx: &mut Tx, all: Vec<Outgoing>) -> Result<Vec<i64>, StoreError> {
    places(&tx.run_each(&PUT_ALL, all.into_iter().map(row).collect()).await?)
}

/// Writes facts that come with no other change. Returns their places, in the order given.
///
/// # Errors
/// Those of the database.
pub async fn put_alone(db: &Db, all: Vec<Outgoing>) -> Result<Vec<i64>, StoreError> {
    places(&db.run_each(&PUT_ALL, all.into_iter().map(row).collect()).await?)
}

fn row(out: Outgoing) -> Vec<Value> {
    args![out.destination, out.event_id, out.subject, out.session, out.counter, out.body]
}

fn places(rows: &[Row]) -> Result<Vec<i64>, StoreError> {
    rows.iter().map(|row| row.get("id")).collect()
}

/// Deletes rows that were acknowledged, through the writer's queue.
///
/// # Errors
/// Those of the database.
pub async fn delete(db: &Db, ids: &[i64]) -> Result<(), StoreError> {
    db.run(&DELETE, args![json_list(ids)]).await.map(|_| ())
}

fn json_list(ids: &[i64]) -> String {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    format!("[{}]", ids.join(","))
}

/// How many rows wait for a destination, and since when the oldest does.
///
/// # Errors
/// Those of the database.
pub async fn backlog(db: &Db, destination: &'static str) -> Result<(u64, Option<Timestamp>), StoreError> {
    let rows = db.query(&BACKLOG, args![destination]).await?;
    rows.first().map_or(Ok((0, None)), |row| Ok((row.get("waiting")?, row.get("oldest")?)))
}

type Deliver = dyn Fn(Vec<Waiting>) -> BoxFuture<'static, Result<(), Failure>> + Send + Sync;

/// Delivers the rows of one destination, in order, under a lease.
pub struct Relay {
    db: Db,
    destination: &'static str,
    lease: Lease,
    random: Random,
    patience: Duration,
    backlog: Backlog,
    deliver: Box<Deliver>,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Relay({} -> {})", self.db.schema(), self.destination)
    }
}

impl Relay {
    /// A relay; `deliver` must be idempotent by event id and return only when everything is durable over there.
    pub fn new(
        db: Db,
        destination: &'static str,
        random: Random,
        deliver: impl Fn(Vec<Waiting>) -> BoxFuture<'static, Result<(), Failure>> + Send + Sync + 'static,
    ) -> Self {
        let lease = Lease::new(destination, &random);
        Self { db, destination, lease, random, patience: Duration::ZERO, backlog: Backlog::default(), deliver: Box::new(deliver) }
    }

    /// Leaves rows alone until they are so old: whoever wrote them delivers them first, and deletes what was acknowledged.
    #[must_use]
    pub fn after(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Tells `backlog` how much waits (A6).
    #[must_use]
    pub fn watched_by(self, backlog: Backlog) -> Self {
        Self { backlog, ..self }
    }

    /// Delivers until the stop is requested, and then once more what is there.
    pub async fn run(self, shutdown: Shutdown) {
        let mut commits = self.db.commits();
        let mut held: Option<(Epoch, Instant)> = None;
        let (mut failures, mut count_at) = (0_u32, Instant::now());
        loop {
            let last = shutdown.is_requested();
            commits.mark_unchanged();
            if Instant::now() >= count_at {
                let began = Instant::now();
                self.count().await;
                count_at = Instant::now() + LOOK.max(began.elapsed() * COUNTING_SHARE);
            }
            let more = match self.step(&mut held).await {
                Ok(more) => {
                    failures = 0;
                    more
                }
                Err(failure) => {
                    failures = failures.saturating_add(1);
                    if failures == 1 {
                        tracing::warn!(schema = self.db.schema(), destination = self.destination, %failure, "delivery failed; trying again");
                    }
                    false
                }
            };
            if last && !more {
                return self.let_go(held).await;
            }
            let wait = async {
                match (failures, self.db.is_shared()) {
                    (0, false) if more => {}
                    (0, true) if more => sleep(BREATH).await,
                    (0, true) if held.is_none() => sleep(STAND_BY).await,
                    (0, shared) => {
                        Db::wait_for_commit(&mut commits, if shared { POLL } else { LOOK }).await;
                        sleep(LINGER).await;
                    }
                    _ => sleep(self.backoff(failures)).await,
                }
            };
            tokio::select! { () = wait => {}, () = shutdown.requested() => {} }
        }
    }

    /// The claim, renewed in time.
    async fn hold(&self, held: &mut Option<(Epoch, Instant)>) -> Result<Option<Epoch>, StoreError> {
        match *held {
            Some((epoch, since)) if since.elapsed() < RENEW => Ok(Some(epoch)),
            _ => {
                let now = Instant::now();
                *held = self.lease.acquire(&self.db).await?.map(|epoch| (epoch, now));
                Ok(held.map(|(epoch, _)| epoch))
            }
        }
    }

    /// So that whoever is next need not wait for the lease to run out.
    async fn let_go(&self, held: Option<(Epoch, Instant)>) {
        if held.is_some() && self.db.is_shared() {
            let _ = self.lease.release(&self.db).await; // it runs out by itself
        }
    }

    /// One batch. Says whether more waits.
    async fn step(&self, held: &mut Option<(Epoch, Instant)>) -> Result<bool, Failure> {
        // Where others may be at work, whoever does not hold the lease reads nothing.
        if self.db.is_shared() && self.hold(held).await?.is_none() {
            return Ok(false);
        }
        let rows =
            self.db.query(&TAKE, args![self.destination, BATCH, i64::try_from(self.patience.as_micros()).unwrap_or(i64::MAX)]).await?;
        if rows.is_empty() {
            return Ok(false);
        }
        let waiting = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let Some(epoch) = self.hold(held).await? else { return Ok(false) };
        let ids: Vec<i64> = waiting.iter().map(|row| row.id).collect();
        let full = ids.len() == BATCH;
        (self.deliver)(waiting).await?;
        let lease = self.lease.clone();
        let kept = self
            .db
            .transaction("outbox_acknowledged", move |tx| {
                Box::pin(async move {
                    if !lease.holds(tx, epoch).await? {
                        return Ok::<_, StoreError>(false); // somebody else delivers now: twice is harmless
                    }
                    tx.run(&DELETE, args![json_list(&ids)]).await.map(|_| true)
                })
            })
            .await?;
        if !kept {
            *held = None;
        }
        Ok(kept && full)
    }

    async fn count(&self) {
        let Ok((waiting, oldest)) = backlog(&self.db, self.destination).await else { return };
        self.backlog.observe(waiting);
        let age = oldest.map_or(Duration::ZERO, |oldest| self.db.clock().now().since(oldest));
        #[allow(clippy::cast_precision_loss)] // a gauge
        metrics::gauge!("carelink_outbox_backlog", "schema" => self.db.schema(), "destination" => self.destination).set(waiting as f64);
        metrics::gauge!("carelink_outbox_oldest_seconds", "schema" => self.db.schema(), "destination" => self.destination)
            .set(age.as_secs_f64());
    }

    /// 100 ms doubling to 5 s, half of it by chance.
    fn backoff(&self, failures: u32) -> Duration {
        let full = Duration::from_millis(100).saturating_mul(1 << failures.min(6)).min(Duration::from_secs(5));
        let share = f64::from(self.random.bytes::<1>()[0]) / 510.0;
        full.mul_f64(0.5 + share)
    }
}

fn read(row: &Row) -> Result<Waiting, StoreError> {
    Ok(Waiting {
        id: row.get("id")?,
        event_id: row.get("event_id")?,
        subject: row.get("subject")?,
        session: row.get("session")?,
        counter: row.get("counter")?,
        body: row.get("body")?,
        created_at: row.get("created_at")?,
    })
}

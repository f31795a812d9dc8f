//! Refreshes that come at once share a statement and a commit on PostgreSQL, as everything does in the embedded engine's writer.
//!
//! While statements are under way, what comes waits and becomes the next one: no timer, no wait when idle. One that is held up (a row that
//! somebody else has locked, a server that stalls) holds up no other for long.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use carelink_database::{Db, Statement, StoreError, Value};
use carelink_platform::context::RequestContext;
use futures::future::join_all;
use tokio::{
    pin, select,
    sync::{Semaphore, mpsc, oneshot},
    time::sleep,
};
use uuid::Uuid;

use super::refresh::{REFRESH, found};
use crate::domain::{presented::Presented, refresh::Found};

static REFRESH_MANY: Statement =
    Statement::per_engine("refresh_many", include_str!("sql/refresh.sql"), include_str!("sql/refresh_many.postgres.sql"));

/// The statements of this file.
pub(super) static STATEMENTS: &[&Statement] = &[&REFRESH_MANY];

/// How many statements are under way before others wait.
const UNDER_WAY: usize = 2;
/// How long one counts as under way.
const PATIENCE: Duration = Duration::from_millis(20);
/// How many refreshes share a statement.
const BATCH: usize = 64;
/// How many wait; whoever comes then waits outside.
const QUEUE: usize = 4_096;

type Answer = Result<Option<Found>, StoreError>;

struct Job {
    presented: Presented,
    args: Vec<Value>,
    context: Option<RequestContext>,
    reply: oneshot::Sender<Answer>,
}

/// The queue of refreshes; whoever takes from it ends when this is dropped. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Together(mpsc::Sender<Job>);

impl Together {
    pub(super) fn start(db: Db) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE);
        tokio::spawn(take(db, jobs));
        Self(queue)
    }

    /// Refreshes, by the arguments of the statement for one. It happens though whoever asked for it hangs up.
    pub(super) async fn refresh(&self, presented: Presented, args: Vec<Value>) -> Answer {
        let (reply, answer) = oneshot::channel();
        let stopped = || StoreError::Unavailable("refreshes have stopped".to_owned());
        self.0.send(Job { presented, args, context: RequestContext::current(), reply }).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

async fn take(db: Db, mut jobs: mpsc::Receiver<Job>) {
    let places = Arc::new(Semaphore::new(UNDER_WAY));
    while let Some(first) = jobs.recv().await {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let mut batch = vec![first];
        while batch.len() < BATCH
            && let Ok(job) = jobs.try_recv()
        {
            batch.push(job);
        }
        let db = db.clone();
        tokio::spawn(async move {
            let settled = settle(&db, batch);
            pin!(settled);
            select! {
                () = &mut settled => {}
                () = sleep(PATIENCE) => {
                    drop(place);
                    settled.await;
                }
            }
        });
    }
}

/// Answers a batch: one statement for the first of each session; whoever presents the very same token hears of the same row, whoever presents
/// another one of it comes alone.
async fn settle(db: &Db, batch: Vec<Job>) {
    let mut sessions: BTreeMap<Uuid, Vec<Job>> = BTreeMap::new();
    let mut alone = Vec::new();
    for job in batch {
        let same = sessions.entry(job.presented.session).or_default();
        if same.first().is_none_or(|first| first.presented == job.presented) { same.push(job) } else { alone.push(job) }
    }
    if sessions.len() == 1 {
        let only = sessions.pop_first().map(|(_, jobs)| jobs).unwrap_or_default();
        settle_one(db, only).await;
    } else {
        let each = sessions.values().filter_map(|jobs| jobs.first()).map(|job| job.args.clone()).collect();
        match db.run_each(&REFRESH_MANY, each).await {
            Ok(rows) => {
                for row in rows {
                    let told = row.get("moved").and_then(|moved| found(&row, moved));
                    let session = row.get("id").ok().and_then(|id| sessions.remove(&id));
                    tell(session.unwrap_or_default(), told.map(Some));
                }
                // Rows that somebody else holds, and those that are not there.
                join_all(sessions.into_values().map(|jobs| settle_one(db, jobs))).await;
            }
            Err(error) => sessions.into_values().for_each(|jobs| tell(jobs, Err(error.clone()))),
        }
    }
    join_all(alone.into_iter().map(|job| settle_one(db, vec![job]))).await;
}

/// Jobs that present the same token, by the statement for one.
async fn settle_one(db: &Db, mut jobs: Vec<Job>) {
    let Some(first) = jobs.first_mut() else { return };
    let run = db.run(&REFRESH, std::mem::take(&mut first.args));
    let rows = match first.context.take() {
        Some(context) => context.scope(run).await,
        None => run.await,
    };
    let told = rows.and_then(|rows| rows.first().map(|row| found(row, row.get("moved")?)).transpose());
    tell(jobs, told);
}

/// The first one moved it, if it was moved.
fn tell(jobs: Vec<Job>, mut told: Answer) {
    for job in jobs {
        let _ = job.reply.send(told.clone()); // nobody waits any more
        if let Ok(Some(found)) = &mut told {
            found.moved = false;
        }
    }
}

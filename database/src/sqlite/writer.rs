//! The one thread that writes. What queued up while the last commit was in flight becomes the next transaction,
//! and one fsync answers all of it: no timer, no wait when idle.

use std::thread;

use tokio::sync::{mpsc, watch};

use super::control;
use crate::{StoreError, Tx};

/// How many items share a transaction at most.
const BATCH: usize = 256;
/// How many items wait at most; whoever comes then waits outside.
const QUEUE: usize = 4_096;

/// Runs an item, or takes note that there is no transaction, and returns what answers its caller once the commit is decided.
pub(crate) type Job = Box<dyn FnOnce(Result<&mut Tx, StoreError>) -> Settle + Send>;
/// Answers an item's caller.
pub(crate) type Settle = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// The queue to the writing thread, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Job>,
    commits: watch::Receiver<u64>,
}

impl Writer {
    pub(crate) fn start(tx: Tx, schema: &'static str) -> Result<Self, StoreError> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let (committed, commits) = watch::channel(0);
        thread::Builder::new()
            .name(format!("{schema}-writer"))
            .spawn(move || write(tx, jobs, &committed, schema))
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        Ok(Self { queue, commits })
    }

    pub(crate) async fn submit(&self, job: Job) -> Result<(), StoreError> {
        self.queue.send(job).await.map_err(|_| StoreError::Unavailable("the writer has stopped".to_owned()))
    }

    pub(crate) fn commits(&self) -> watch::Receiver<u64> {
        self.commits.clone()
    }
}

#[allow(clippy::needless_pass_by_value)] // the thread owns them
fn write(mut tx: Tx, mut jobs: mpsc::Receiver<Job>, committed: &watch::Sender<u64>, schema: &'static str) {
    let commits = metrics::counter!("carelink_database_commits_total", "schema" => schema);
    let items = metrics::counter!("carelink_database_items_total", "schema" => schema);
    while let Some(first) = jobs.blocking_recv() {
        let mut answers = Vec::new();
        let mut outcome = control(tx.connection(), "BEGIN IMMEDIATE");
        let mut next = Some(first);
        while let Some(job) = next {
            answers.push(job(outcome.clone().map(|()| &mut tx)));
            if outcome.is_ok() {
                outcome = tx.lost().map_or(Ok(()), Err);
            }
            next = if outcome.is_ok() && answers.len() < BATCH { jobs.try_recv().ok() } else { None };
        }
        let outcome = outcome.and_then(|()| control(tx.connection(), "COMMIT"));
        if let Err(error) = &outcome {
            tracing::error!(%error, schema, items = answers.len(), "nothing of this transaction was stored");
            if tx.lost().is_none() {
                let _ = control(tx.connection(), "ROLLBACK"); // the next BEGIN will tell
            }
        }
        commits.increment(1);
        items.increment(answers.len() as u64);
        if outcome.is_ok() {
            committed.send_modify(|count| *count += 1);
        }
        for answer in answers {
            answer(outcome.clone());
        }
    }
}

//! The one thread that writes. What queued up while the last commit was in flight becomes the next transaction,
//! and one fsync answers all of it: no timer, no wait when idle.

use std::thread;

use tokio::sync::{mpsc, watch};

use crate::{StoreError, Tx};

/// How many items share a transaction at most.
const BATCH: usize = 256;
/// How many items wait at most; whoever comes then waits outside.
const QUEUE: usize = 4_096;

/// Runs an item, or takes note that there is no transaction, and returns what answers its caller once the commit is decided.
pub(crate) type Job = Box<dyn FnOnce(Result<&mut Tx, StoreError>) -> Settle + Send>;
/// Answers an item's caller.
pub(crate) type Settle = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// The way to whoever writes: the queue to the writing thread, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Writer {
    way: Way,
    commits: watch::Receiver<u64>,
}

#[derive(Debug)]
enum Way {
    Thread(mpsc::Sender<Job>),
    #[cfg(feature = "simulation")]
    Here(std::sync::Arc<here::Here>),
}

impl Writer {
    pub(crate) fn start(tx: Tx, schema: &'static str) -> Result<Self, StoreError> {
        let (queue, mut jobs) = mpsc::channel(QUEUE);
        let (mut writing, commits) = Writing::new(tx, schema);
        thread::Builder::new()
            .name(format!("{schema}-writer"))
            .spawn(move || {
                while let Some(first) = jobs.blocking_recv() {
                    writing.commit(first, || jobs.try_recv().ok());
                }
            })
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        Ok(Self { way: Way::Thread(queue), commits })
    }

    /// Without a thread.
    #[cfg(feature = "simulation")]
    pub(crate) fn here(tx: Tx, schema: &'static str, switch: crate::simulation::Switch) -> Self {
        let (writing, commits) = Writing::new(tx, schema);
        Self { way: Way::Here(std::sync::Arc::new(here::Here::new(writing, switch))), commits }
    }

    pub(crate) async fn submit(&self, job: Job) -> Result<(), StoreError> {
        match &self.way {
            Way::Thread(queue) => queue.send(job).await.map_err(|_| StoreError::Unavailable("the writer has stopped".to_owned())),
            #[cfg(feature = "simulation")]
            Way::Here(here) => std::sync::Arc::clone(here).run(job).await,
        }
    }

    pub(crate) fn commits(&self) -> watch::Receiver<u64> {
        self.commits.clone()
    }
}

struct Writing {
    tx: Tx,
    schema: &'static str,
    committed: watch::Sender<u64>,
    commits: metrics::Counter,
    items: metrics::Counter,
}

impl Writing {
    fn new(tx: Tx, schema: &'static str) -> (Self, watch::Receiver<u64>) {
        let (committed, heard) = watch::channel(0);
        let commits = metrics::counter!("carelink_database_commits_total", "schema" => schema);
        let items = metrics::counter!("carelink_database_items_total", "schema" => schema);
        (Self { tx, schema, committed, commits, items }, heard)
    }

    /// One transaction, of what has queued up.
    fn commit(&mut self, first: Job, mut more: impl FnMut() -> Option<Job>) {
        let mut answers = Vec::new();
        let mut outcome = self.tx.control("BEGIN IMMEDIATE");
        let mut next = Some(first);
        while let Some(job) = next {
            answers.push(job(outcome.clone().map(|()| &mut self.tx)));
            if outcome.is_ok() {
                outcome = self.tx.lost().map_or(Ok(()), Err);
            }
            next = if outcome.is_ok() && answers.len() < BATCH { more() } else { None };
        }
        let outcome = outcome.and_then(|()| self.tx.control("COMMIT"));
        if let Err(error) = &outcome {
            tracing::error!(%error, schema = self.schema, items = answers.len(), "nothing of this transaction was stored");
            if self.tx.lost().is_none() {
                let _ = self.tx.control("ROLLBACK"); // the next BEGIN will tell
            }
        }
        self.commits.increment(1);
        self.items.increment(answers.len() as u64);
        if outcome.is_ok() {
            self.committed.send_modify(|count| *count += 1);
        }
        for answer in answers {
            answer(outcome.clone());
        }
    }
}

/// Writing within the caller's poll (see `simulation.rs`).
#[cfg(feature = "simulation")]
mod here {
    use std::{
        fmt,
        sync::{Arc, Mutex, PoisonError},
    };

    use super::{Job, Writing};
    use crate::{StoreError, simulation::Switch};

    pub(super) struct Here {
        writing: Mutex<Writing>,
        switch: Switch,
    }

    impl fmt::Debug for Here {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Here")
        }
    }

    impl Here {
        pub(super) fn new(writing: Writing, switch: Switch) -> Self {
            Self { writing: Mutex::new(writing), switch }
        }

        pub(super) async fn run(self: Arc<Self>, job: Job) -> Result<(), StoreError> {
            self.switch.admits_write()?;
            if self.switch.is_stalled() {
                // What was sent is done in the end, whoever has stopped waiting.
                tokio::spawn(async move {
                    self.switch.goes_on().await;
                    self.commit(job);
                });
            } else {
                self.commit(job);
            }
            Ok(())
        }

        fn commit(&self, job: Job) {
            self.writing.lock().unwrap_or_else(PoisonError::into_inner).commit(job, || None);
        }
    }
}

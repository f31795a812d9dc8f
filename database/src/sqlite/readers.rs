//! A few threads that read, each with a connection of its own; a long listing does not hold up the others.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use carelink_platform::clock::Clock;
use rusqlite::Connection;
use tokio::sync::mpsc;

use super::{Moment, open_reader};
use crate::StoreError;

const READERS: usize = 3;
const QUEUE: usize = 4_096;

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// The queue to the reading threads, which end when this is dropped.
#[derive(Debug)]
pub(crate) struct Readers(Way);

#[derive(Debug)]
enum Way {
    Threads(mpsc::Sender<Job>),
    #[cfg(feature = "simulation")]
    Here(Arc<Mutex<Connection>>, Moment, crate::simulation::Switch),
}

impl Readers {
    pub(crate) fn start(path: &Path, schema: &'static str, clock: &Clock) -> Result<Self, StoreError> {
        let (queue, jobs) = mpsc::channel::<Job>(QUEUE);
        let jobs = Arc::new(Mutex::new(jobs));
        for number in 0..READERS {
            let moment = Moment::new(clock);
            let (connection, jobs) = (open_reader(path, &moment)?, Arc::clone(&jobs));
            thread::Builder::new()
                .name(format!("{schema}-reader-{number}"))
                .spawn(move || {
                    while let Some(job) = next(&jobs) {
                        moment.look();
                        job(&connection);
                    }
                })
                .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        }
        Ok(Self(Way::Threads(queue)))
    }

    /// Without a thread (see `simulation.rs`).
    #[cfg(feature = "simulation")]
    pub(crate) fn here(path: &Path, clock: &Clock, switch: crate::simulation::Switch) -> Result<Self, StoreError> {
        let moment = Moment::new(clock);
        Ok(Self(Way::Here(Arc::new(Mutex::new(open_reader(path, &moment)?)), moment, switch)))
    }

    pub(crate) async fn submit(&self, job: Job) -> Result<(), StoreError> {
        match &self.0 {
            Way::Threads(queue) => queue.send(job).await.map_err(|_| StoreError::Unavailable("the readers have stopped".to_owned())),
            #[cfg(feature = "simulation")]
            Way::Here(connection, moment, switch) => {
                switch.admits_read()?;
                switch.goes_on().await;
                moment.look();
                job(&connection.lock().unwrap_or_else(PoisonError::into_inner));
                Ok(())
            }
        }
    }

    /// Whether others read and write the same file.
    pub(crate) fn is_shared(&self) -> bool {
        !matches!(self.0, Way::Threads(_))
    }
}

fn next(jobs: &Mutex<mpsc::Receiver<Job>>) -> Option<Job> {
    jobs.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv()
}

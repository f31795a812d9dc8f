//! People who go on refreshing, each in their own time, while a test does something to the fleet under them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::{Journal, Nurse, Said};
use crate::wait::PATIENCE;

/// People at work.
#[derive(Debug)]
pub struct Load {
    journal: Journal,
    stop: Arc<AtomicBool>,
    jobs: Vec<JoinHandle<(Nurse, Option<String>)>>,
}

/// What a stretch of time was like for those at work.
#[derive(Clone, Copy, Debug)]
pub struct Trouble {
    /// Tries that were answered with a successor.
    pub answered: usize,
    /// Tries that were not answered: the connection broke, 5xx, 429.
    pub failed: usize,
    /// From the beginning to the end of the last one that was not answered.
    pub recovered: Duration,
    /// The longest that a try took, answered or not.
    pub longest: Duration,
}

impl Load {
    /// They go to work, and pause for so long after each refresh.
    pub fn of(nurses: Vec<Nurse>, journal: &Journal, pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let work = |nurse: Nurse| {
            let stop = stop.clone();
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    if let Err(refused) = nurse.refresh().await {
                        let why = format!("{}: {} {}", nurse.name, refused.status, refused.text());
                        return (nurse, Some(why));
                    }
                    sleep(pause).await;
                }
                (nurse, None)
            })
        };
        Self { journal: journal.clone(), jobs: nurses.into_iter().map(work).collect(), stop }
    }

    /// Waits until so many more refreshes have been answered.
    pub async fn goes_on(&self, more: usize) {
        let goal = self.journal.counts().0 + more;
        let end = Instant::now() + PATIENCE * 4;
        while self.journal.counts().0 < goal {
            assert!(Instant::now() < end, "no refresh is answered any more; of those at work {} stopped", self.stopped());
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// How many stopped because they were signed out.
    pub fn stopped(&self) -> usize {
        self.jobs.iter().filter(|job| job.is_finished()).count()
    }

    /// They go home; gives them, and what those were told who were signed out.
    pub async fn stop(self) -> (Vec<Nurse>, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let (mut nurses, mut signed_out) = (Vec::new(), Vec::new());
        for job in self.jobs {
            let (nurse, why) = job.await.unwrap();
            nurses.push(nurse);
            signed_out.extend(why);
        }
        (nurses, signed_out)
    }
}

impl Journal {
    /// What the time since `began` was like.
    pub fn trouble(&self, began: Instant) -> Trouble {
        let entries: Vec<_> = self.entries().into_iter().filter(|entry| entry.at + entry.took >= began).collect();
        let failed = || entries.iter().filter(|entry| matches!(entry.said, Said::Nothing(_)));
        Trouble {
            answered: entries.len() - failed().count(),
            failed: failed().count(),
            recovered: failed().map(|entry| (entry.at + entry.took).saturating_duration_since(began)).max().unwrap_or_default(),
            longest: entries.iter().map(|entry| entry.took).max().unwrap_or_default(),
        }
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { answered, failed, recovered, longest } = self;
        write!(
            f,
            "{answered} answered, {failed} failed, the last {:.1} s after it, the longest {:.1} s",
            recovered.as_secs_f64(),
            longest.as_secs_f64()
        )
    }
}

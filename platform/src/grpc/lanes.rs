//! Load is shed before queues grow: a server works on so many requests at once, a few more wait shortly, the rest are told to try again.
//!
//! Each [`Lane`] has places of its own, so that a flood of sign-ins stops neither a sign-out nor a verifier's question.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Lane;
use crate::errors::{Failure, Reason};

/// How long a request waits for a place.
const PATIENCE: Duration = Duration::from_millis(500);
/// When whoever was turned away may try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How many requests a lane works on at once, and how many may wait.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// At once.
    pub places: usize,
    /// Waiting.
    pub waiting: usize,
}

/// The room of each lane.
#[derive(Clone, Copy, Debug)]
pub struct Rooms {
    /// Of [`Lane::First`].
    pub first: Room,
    /// Of [`Lane::Usual`].
    pub usual: Room,
    /// Of [`Lane::Patient`].
    pub patient: Room,
    /// Of [`Lane::Guests`].
    pub guests: Room,
}

impl Default for Rooms {
    fn default() -> Self {
        let room = |places, waiting| Room { places, waiting };
        Self { first: room(512, 2_048), usual: room(512, 512), patient: room(1_024, 0), guests: room(64, 256) }
    }
}

/// The lanes of a server.
#[derive(Clone, Debug)]
pub(crate) struct Lanes {
    first: Arc<Queue>,
    usual: Arc<Queue>,
    patient: Arc<Queue>,
    guests: Arc<Queue>,
}

#[derive(Debug)]
struct Queue {
    name: &'static str,
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    most: usize,
}

impl Lanes {
    pub(crate) fn new(rooms: Rooms) -> Self {
        let queue = |name, room: Room| {
            Arc::new(Queue { name, places: Arc::new(Semaphore::new(room.places)), waiting: AtomicUsize::new(0), most: room.waiting })
        };
        Self {
            first: queue("first", rooms.first),
            usual: queue("usual", rooms.usual),
            patient: queue("patient", rooms.patient),
            guests: queue("guests", rooms.guests),
        }
    }

    /// A place, to be held until the answer begins, for a request that has so much time left.
    pub(crate) async fn enter(&self, lane: Lane, left: Option<Duration>) -> Result<OwnedSemaphorePermit, Failure> {
        let queue = match lane {
            Lane::First => &self.first,
            Lane::Usual => &self.usual,
            Lane::Patient => &self.patient,
            Lane::Guests => &self.guests,
        };
        queue.enter(left.map_or(PATIENCE, |left| left.min(PATIENCE))).await
    }
}

/// One that waits; gone with the request, whatever becomes of it.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Queue {
    async fn enter(&self, patience: Duration) -> Result<OwnedSemaphorePermit, Failure> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place);
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if before >= self.most {
            return Err(self.shed());
        }
        match tokio::time::timeout(patience, Arc::clone(&self.places).acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(self.shed()),
        }
    }

    fn shed(&self) -> Failure {
        metrics::counter!("carelink_rpc_shed_total", "lane" => self.name).increment(1);
        Failure::new(Reason::Overloaded).retry_after(RETRY_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn narrow() -> Rooms {
        let one = Room { places: 1, waiting: 1 };
        Rooms { first: one, usual: one, patient: Room { places: 1, waiting: 0 }, guests: one }
    }

    #[tokio::test]
    async fn a_full_lane_turns_away_and_leaves_the_others_alone() {
        let lanes = Lanes::new(narrow());
        let held = lanes.enter(Lane::Patient, None).await.unwrap();
        let refused = lanes.enter(Lane::Patient, None).await.unwrap_err();
        assert_eq!((refused.reason(), refused.retry()), (Reason::Overloaded, Some(RETRY_AFTER)));
        drop(lanes.enter(Lane::First, None).await.unwrap());
        drop(lanes.enter(Lane::Usual, None).await.unwrap());
        drop(held);
        drop(lanes.enter(Lane::Patient, None).await.unwrap());
    }

    #[tokio::test]
    async fn a_few_wait_and_get_the_place_that_becomes_free() {
        let lanes = Lanes::new(narrow());
        let held = lanes.enter(Lane::Usual, None).await.unwrap();
        let mut waiting = tokio::spawn({
            let lanes = lanes.clone();
            async move { lanes.enter(Lane::Usual, None).await.is_ok() }
        });
        while lanes.usual.waiting.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        assert!(lanes.enter(Lane::Usual, None).await.is_err(), "one more than may wait");
        assert!(!waiting.is_finished());
        drop(held);
        assert!((&mut waiting).await.unwrap());
    }
}

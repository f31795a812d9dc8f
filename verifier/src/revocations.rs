//! Which sessions' access tokens are refused, up to which generation (V1).
//!
//! The set only ever grows by what it is told and shrinks by what its `until` ends; it is bounded, and full it says so
//! instead of dropping anything (V3).

use std::{
    collections::{HashMap, hash_map::Entry as Slot},
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use thiserror::Error;
use uuid::Uuid;

use crate::time::DatabaseTime;

const SHARDS: usize = 64;

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The highest generation refused; `u64::MAX`: the session has ended.
    generation: u64,
    /// When no token it names can be alive any more.
    until: DatabaseTime,
}

/// There is no room for one more session.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("no room for one more session")]
pub(crate) struct Full;

/// The set.
pub(crate) struct Revocations {
    shards: [RwLock<HashMap<Uuid, Entry>>; SHARDS],
    sessions: AtomicUsize,
    capacity: usize,
}

impl Revocations {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { shards: std::array::from_fn(|_| RwLock::default()), sessions: AtomicUsize::new(0), capacity }
    }

    /// Whether a token of this session and generation is refused.
    pub(crate) fn refuse(&self, session: Uuid, generation: u64) -> bool {
        let Some(shard) = self.shards.get(index(session)) else { return true };
        let held = shard.read().unwrap_or_else(PoisonError::into_inner);
        held.get(&session).is_some_and(|entry| generation <= entry.generation)
    }

    /// Adds one; what is held of the same session is only ever widened.
    pub(crate) fn add(&self, session: Uuid, generation: u64, until: DatabaseTime) -> Result<(), Full> {
        let shard = self.shards.get(index(session)).ok_or(Full)?;
        let mut held = shard.write().unwrap_or_else(PoisonError::into_inner);
        match held.entry(session) {
            Slot::Occupied(mut slot) => {
                let entry = slot.get_mut();
                entry.generation = entry.generation.max(generation);
                entry.until = entry.until.max(until);
            }
            Slot::Vacant(slot) => {
                if self.sessions.load(Ordering::Relaxed) >= self.capacity {
                    return Err(Full);
                }
                slot.insert(Entry { generation, until });
                self.sessions.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Drops what is over from one shard; `turn` counts up, so that all have theirs.
    pub(crate) fn sweep(&self, turn: usize, now: DatabaseTime) {
        let Some(shard) = self.shards.get(turn % SHARDS) else { return };
        let mut held = shard.write().unwrap_or_else(PoisonError::into_inner);
        let before = held.len();
        held.retain(|_, entry| now < entry.until);
        self.sessions.fetch_sub(before - held.len(), Ordering::Relaxed);
        if held.len() < held.capacity() / 4 {
            held.shrink_to_fit();
        }
    }

    /// How many sessions are in it.
    pub(crate) fn len(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }
}

fn index(session: Uuid) -> usize {
    let [.., last] = *session.as_bytes();
    usize::from(last) % SHARDS
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const UNTIL: DatabaseTime = DatabaseTime(100);

    fn sweep_all(set: &Revocations, now: DatabaseTime) {
        (0..SHARDS).for_each(|turn| set.sweep(turn, now));
    }

    #[test]
    fn v1_an_entry_refuses_its_session_up_to_its_generation_and_an_ended_ones_all() {
        let set = Revocations::new(10);
        let (demoted, ended, other) = (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3));
        set.add(demoted, 4, UNTIL).unwrap();
        set.add(ended, u64::MAX, UNTIL).unwrap();
        assert!(set.refuse(demoted, 0) && set.refuse(demoted, 4) && !set.refuse(demoted, 5));
        assert!(set.refuse(ended, 0) && set.refuse(ended, u64::MAX));
        assert!(!set.refuse(other, 0));
    }

    #[test]
    fn v2_union_only_widens() {
        let set = Revocations::new(10);
        let session = Uuid::from_u128(1);
        set.add(session, 7, DatabaseTime(200)).unwrap();
        set.add(session, 3, UNTIL).unwrap();
        sweep_all(&set, DatabaseTime(150));
        assert!(set.refuse(session, 7));
        assert_eq!(set.len(), 1);
    }

    #[test]
    fn v1_entries_leave_when_no_token_they_name_can_live() {
        let set = Revocations::new(10_000);
        for number in 0..1_000 {
            set.add(Uuid::from_u128(number), 0, DatabaseTime(if number < 400 { 100 } else { 101 })).unwrap();
        }
        sweep_all(&set, DatabaseTime(99));
        assert_eq!(set.len(), 1_000);
        sweep_all(&set, DatabaseTime(100));
        assert_eq!(set.len(), 600);
        assert!(!set.refuse(Uuid::from_u128(0), 0) && set.refuse(Uuid::from_u128(400), 0));
    }

    #[test]
    fn v3_a_full_set_says_so_and_drops_nothing() {
        let set = Revocations::new(2);
        set.add(Uuid::from_u128(1), 0, UNTIL).unwrap();
        set.add(Uuid::from_u128(2), 0, UNTIL).unwrap();
        assert_eq!(set.add(Uuid::from_u128(3), 0, UNTIL), Err(Full));
        set.add(Uuid::from_u128(1), 9, UNTIL).unwrap();
        assert!(set.refuse(Uuid::from_u128(1), 9) && set.refuse(Uuid::from_u128(2), 0));
    }

    proptest! {
        #[test]
        fn v1_the_set_agrees_with_a_plain_map(steps in prop::collection::vec((0..8_u128, 0..6_u64, 0..10_i64, any::<bool>()), 0..60)) {
            let set = Revocations::new(100);
            let mut model: BTreeMap<u128, (u64, i64)> = BTreeMap::new();
            for (session, generation, time, adds) in steps {
                if adds {
                    set.add(Uuid::from_u128(session), generation, DatabaseTime(time)).unwrap();
                    let held = model.entry(session).or_insert((generation, time));
                    *held = (held.0.max(generation), held.1.max(time));
                } else {
                    sweep_all(&set, DatabaseTime(time));
                    model.retain(|_, (_, until)| time < *until);
                }
                prop_assert_eq!(set.len(), model.len());
                for (session, generation) in (0..8).flat_map(|session| (0..7).map(move |generation| (session, generation))) {
                    let expected = model.get(&session).is_some_and(|(highest, _)| generation <= *highest);
                    prop_assert_eq!(set.refuse(Uuid::from_u128(session), generation), expected);
                }
            }
        }
    }
}

//! Where the limits keep their state: bounded whatever is thrown at it.
//!
//! A key is a hash, never a name or an address. When the store is full, keys it does not know share a few common slots until others
//! have refilled: those already known keep their own, and memory does not grow.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use governor::{
    nanos::Nanos,
    state::{StateStore, keyed::ShrinkableKeyedStateStore},
};

const SHARDS: usize = 32;
/// What unknown keys share while the store is full.
const COMMON_SLOTS: u64 = 1024;

/// When each key's next request would arrive if it kept to its rate (GCRA's state).
#[derive(Debug)]
pub(super) struct Store {
    shards: [Mutex<Shard>; SHARDS],
    keys: AtomicUsize,
    capacity: usize,
}

type Shard = HashMap<u64, Nanos, BuildHasherDefault<AlreadyHashed>>;

impl Store {
    pub(super) fn new(capacity: usize) -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), keys: AtomicUsize::new(0), capacity }
    }

    fn shard(&self, key: u64) -> Option<&Mutex<Shard>> {
        let shards = u64::try_from(SHARDS).unwrap_or(1);
        self.shards.get(usize::try_from((key >> 32) % shards).unwrap_or(0))
    }

    fn measure<T, E>(&self, key: u64, may_add: bool, f: impl Fn(Option<Nanos>) -> Result<(T, Nanos), E>) -> Option<Result<T, E>> {
        let mut shard = self.shard(key)?.lock().unwrap_or_else(PoisonError::into_inner);
        let known = shard.get(&key).copied();
        if known.is_none() && !may_add {
            return None;
        }
        Some(f(known).map(|(outcome, next)| {
            if shard.insert(key, next).is_none() {
                self.keys.fetch_add(1, Ordering::Relaxed);
            }
            outcome
        }))
    }
}

impl StateStore for Store {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let may_add = self.keys.load(Ordering::Relaxed) < self.capacity;
        if let Some(outcome) = self.measure(*key, may_add, &f) {
            return outcome;
        }
        self.measure(*key % COMMON_SLOTS, true, &f).unwrap_or_else(|| f(None).map(|(outcome, _)| outcome))
    }
}

impl ShrinkableKeyedStateStore<u64> for Store {
    fn retain_recent(&self, drop_below: Nanos) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let before = shard.len();
            shard.retain(|_, next| *next > drop_below);
            self.keys.fetch_sub(before - shard.len(), Ordering::Relaxed);
            if shard.capacity() > 4 * shard.len() {
                shard.shrink_to_fit();
            }
        }
    }

    fn len(&self) -> usize {
        self.keys.load(Ordering::Relaxed)
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The keys are hashes already.
#[derive(Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

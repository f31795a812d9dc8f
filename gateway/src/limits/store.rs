//! Where this process remembers budgets: bounded whatever is thrown at it.
//!
//! A key is a hash, never a name or an address. When the store is full, keys it does not know share a few common slots until others
//! have refilled: those already known keep their own, and memory does not grow.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::gcra::Nanos;

const SHARDS: usize = 32;
/// What unknown keys share while the store is full.
const COMMON_SLOTS: u64 = 1024;

/// When each key's budget will be free again.
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

    fn shard(&self, key: u64) -> Option<MutexGuard<'_, Shard>> {
        let shards = u64::try_from(SHARDS).unwrap_or(1);
        let shard = self.shards.get(usize::try_from((key >> 32) % shards).unwrap_or(0))?;
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn has_room(&self) -> bool {
        self.keys.load(Ordering::Relaxed) < self.capacity
    }

    /// What is remembered of a key itself, not of what it would share: zero where that is nothing.
    pub(super) fn of(&self, key: u64) -> Nanos {
        self.shard(key).and_then(|shard| shard.get(&key).copied()).unwrap_or(0)
    }

    /// Shows `change` what is remembered of a key, and remembers what it makes of that; nobody comes between. Where it makes an error,
    /// nothing changes.
    pub(super) fn change<T, E>(&self, key: u64, change: impl FnOnce(Nanos) -> Result<(Nanos, T), E>) -> Result<T, E> {
        match self.shard(key) {
            Some(shard) if self.has_room() || shard.contains_key(&key) => self.change_in(shard, key, change),
            other => {
                drop(other);
                let key = key % COMMON_SLOTS;
                match self.shard(key) {
                    Some(shard) => self.change_in(shard, key, change),
                    None => change(0).map(|(_, done)| done),
                }
            }
        }
    }

    fn change_in<T, E>(
        &self,
        mut shard: MutexGuard<'_, Shard>,
        key: u64,
        change: impl FnOnce(Nanos) -> Result<(Nanos, T), E>,
    ) -> Result<T, E> {
        let (next, done) = change(shard.get(&key).copied().unwrap_or(0))?;
        if shard.insert(key, next).is_none() {
            self.keys.fetch_add(1, Ordering::Relaxed);
        }
        Ok(done)
    }

    /// Remembers that a key's budget is not free before that moment, where there is room for the key.
    pub(super) fn learn(&self, key: u64, free_at: Nanos) {
        let Some(mut shard) = self.shard(key) else { return };
        if let Some(known) = shard.get_mut(&key) {
            *known = free_at.max(*known);
        } else if self.has_room() {
            shard.insert(key, free_at);
            self.keys.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Forgets what is free at that moment.
    pub(super) fn sweep(&self, now: Nanos) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let before = shard.len();
            shard.retain(|_, free_at| *free_at > now);
            self.keys.fetch_sub(before - shard.len(), Ordering::Relaxed);
            if shard.capacity() > 4 * shard.len() {
                shard.shrink_to_fit();
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.keys.load(Ordering::Relaxed)
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

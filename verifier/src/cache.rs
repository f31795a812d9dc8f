//! Signatures that verified, by the token's SHA-256 (V4). Successes only; bounded; nothing in here is an authority:
//! expiry, audience, issuer, key and revocation are judged anew at every hit by whoever looks in here.
//!
//! A table of fixed size: a digest picks a shard (a lock) and in it a row of eight; a full row gives up what expires first.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use aws_lc_rs::digest::{SHA256, digest};

use crate::{service::Genuine, time::UnixSeconds};

const SHARDS: usize = 64;
const ROW: usize = 8;

/// A token's SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TokenDigest([u8; 32]);

impl TokenDigest {
    pub(crate) fn of(token: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        Self(bytes)
    }

    fn shard(&self) -> usize {
        let [first, ..] = self.0;
        usize::from(first) % SHARDS
    }

    fn row(&self, rows: usize) -> usize {
        let [_, a, b, c, ..] = self.0;
        (usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)) % rows.max(1)
    }
}

struct Entry {
    digest: TokenDigest,
    genuine: Genuine,
}

/// Allocated at its first entry.
type Shard = Vec<Option<Entry>>;

/// The cache.
pub(crate) struct SignatureCache {
    shards: [Mutex<Shard>; SHARDS],
    rows_per_shard: usize,
    entries: AtomicUsize,
}

impl SignatureCache {
    /// Room for about `entries`: rounded up to whole rows in every shard.
    pub(crate) fn new(entries: usize) -> Self {
        let rows_per_shard = entries.div_ceil(SHARDS * ROW).clamp(1, 1 << 24);
        Self { shards: std::array::from_fn(|_| Mutex::default()), rows_per_shard, entries: AtomicUsize::new(0) }
    }

    /// What this very token said when its signature verified.
    pub(crate) fn get(&self, digest: &TokenDigest) -> Option<Genuine> {
        let shard = self.lock(digest.shard())?;
        let row = shard.get(self.range(digest))?;
        row.iter().flatten().find(|entry| entry.digest == *digest).map(|entry| entry.genuine.clone())
    }

    /// Remembers a success.
    pub(crate) fn put(&self, digest: TokenDigest, genuine: Genuine) {
        let Some(mut shard) = self.lock(digest.shard()) else { return };
        if shard.is_empty() {
            shard.resize_with(self.rows_per_shard * ROW, || None);
        }
        let Some(row) = shard.get_mut(self.range(&digest)) else { return };
        let same = row.iter().position(|slot| slot.as_ref().is_some_and(|entry| entry.digest == digest));
        let free = || row.iter().position(Option::is_none);
        let soonest =
            || row.iter().enumerate().min_by_key(|(_, slot)| slot.as_ref().map(|entry| entry.genuine.expires())).map(|(at, _)| at);
        let Some(slot) = same.or_else(free).or_else(soonest).and_then(|at| row.get_mut(at)) else { return };
        if slot.replace(Entry { digest, genuine }).is_none() {
            self.entries.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Forgets everything: a key was withdrawn.
    pub(crate) fn clear(&self) {
        for mut shard in (0..SHARDS).filter_map(|index| self.lock(index)) {
            let gone = std::mem::take(&mut *shard).iter().flatten().count();
            self.entries.fetch_sub(gone, Ordering::Relaxed);
        }
    }

    /// Drops what has expired from one shard; `turn` counts up, so that all have theirs.
    pub(crate) fn sweep(&self, turn: usize, now: UnixSeconds) {
        let Some(mut shard) = self.lock(turn % SHARDS) else { return };
        let mut left = 0;
        for slot in shard.iter_mut() {
            match slot {
                Some(entry) if entry.genuine.expires() <= now => {
                    *slot = None;
                    self.entries.fetch_sub(1, Ordering::Relaxed);
                }
                Some(_) => left += 1,
                None => {}
            }
        }
        if left == 0 {
            *shard = Shard::new();
        }
    }

    /// How many are held.
    pub(crate) fn len(&self) -> usize {
        self.entries.load(Ordering::Relaxed)
    }

    fn lock(&self, index: usize) -> Option<MutexGuard<'_, Shard>> {
        Some(self.shards.get(index)?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn range(&self, digest: &TokenDigest) -> std::ops::Range<usize> {
        let start = digest.row(self.rows_per_shard) * ROW;
        start..start + ROW
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::claims::Claims;

    fn claims(expires: i64) -> Genuine {
        Genuine::Access(Arc::new(Claims::sample(expires)))
    }

    fn key(number: usize) -> TokenDigest {
        TokenDigest::of(&number.to_string())
    }

    #[test]
    fn v4_the_cache_is_bounded_and_gives_up_what_expires_first() {
        let cache = SignatureCache::new(1);
        for number in 0..10_000 {
            cache.put(key(number), claims(i64::try_from(number).unwrap()));
        }
        assert_eq!(cache.len(), SHARDS * ROW);
        let held = (0..10_000).filter(|number| cache.get(&key(*number)).is_some()).count();
        assert_eq!(held, SHARDS * ROW);
        assert!((9_900..10_000).all(|number| cache.get(&key(number)).is_some()), "the last to expire stay");
    }

    #[test]
    fn v4_rows_are_used_evenly() {
        let cache = SignatureCache::new(65_536);
        for number in 0..32_768 {
            cache.put(key(number), claims(1));
        }
        assert!(cache.len() > 32_000, "half full, next to nothing is pushed out: {}", cache.len());
    }

    #[test]
    fn v4_expired_entries_leave() {
        let cache = SignatureCache::new(1_000);
        for number in 0..100 {
            cache.put(key(number), claims(if number < 40 { 10 } else { 20 }));
        }
        for turn in 0..SHARDS {
            cache.sweep(turn, UnixSeconds(10));
        }
        assert_eq!(cache.len(), 60);
        assert!(cache.get(&key(0)).is_none() && cache.get(&key(40)).is_some());
        cache.clear();
        assert_eq!(cache.len(), 0);
        assert!(cache.get(&key(40)).is_none());
    }
}

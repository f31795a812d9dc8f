//! What a verifier knows, and how it judges by that: keys, revocations, the database's time, how old all of it is.
//!
//! `watch` feeds it, `verifier` reads it. Reading takes no lock that feeding holds for longer than one entry.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

use crate::{
    activity::Activity,
    cache::{SignatureCache, TokenDigest},
    claims::Claims,
    config::Config,
    keys::KeyRing,
    metrics::{Metrics, count},
    refusal::Refusal,
    revocations::Revocations,
    service::{Genuine, ServiceClaims},
    status::Status,
    time::{DatabaseClock, Moment, UnixSeconds},
    token::{self, ACCESS_TYP},
};

/// Without a heartbeat for this long, a view is stale (V3): so long after its commit a revocation may be unknown to a verifier
/// that has lost its stream and does not know yet, and no longer where token-service answers. To be added is the quickest
/// message's way here.
pub const STALE_AFTER: Duration = Duration::from_secs(5);

/// No sign of life yet.
const NEVER: u64 = u64::MAX;

/// How far a judgement by what is known here can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// Certain.
    Fresh,
    /// Not certain, but good enough where nobody answers.
    Stale,
    /// No snapshot, or stale for longer than `max_staleness`.
    Blind,
}

/// What a verifier knows.
pub(crate) struct State {
    pub(crate) config: Config,
    pub(crate) clock: DatabaseClock,
    pub(crate) ring: ArcSwapOption<KeyRing>,
    pub(crate) revocations: Revocations,
    pub(crate) metrics: Metrics,
    /// Which sessions were used here.
    pub(crate) activity: Activity,
    cache: SignatureCache,
    head: AtomicU64,
    /// The moment of the last sign of life that matched, or `NEVER`.
    last_sign: AtomicU64,
    /// Something is known to be missing: a gap, another key set, a full set. Only a whole snapshot ends it.
    doubt: AtomicBool,
    /// A stream is open, and its snapshot taken.
    following: AtomicBool,
    /// Follows no stream and never ages.
    pinned: bool,
    status: watch::Sender<Status>,
}

impl State {
    pub(crate) fn new(config: Config, pinned: bool) -> Self {
        let clock = DatabaseClock::new();
        let unready = Status {
            ready: false,
            stale_since: Some(clock.instant(Moment(0))),
            last_heartbeat: None,
            head: 0,
            revocations: 0,
            keys: 0,
            usable: false,
        };
        Self {
            clock,
            ring: ArcSwapOption::empty(),
            revocations: Revocations::new(config.max_revocations),
            metrics: Metrics::new(&config.service),
            activity: Activity::new(if pinned { 0 } else { config.cache_entries }),
            cache: SignatureCache::new(config.cache_entries),
            head: AtomicU64::new(0),
            last_sign: AtomicU64::new(NEVER),
            doubt: AtomicBool::new(false),
            following: AtomicBool::new(pinned),
            pinned,
            status: watch::Sender::new(unready),
            config,
        }
    }

    /// How good the view is at `now`. To be asked before judging: what is judged by can only be newer than that.
    pub(crate) fn view(&self, now: Moment) -> View {
        let last = self.last_sign.load(Ordering::Acquire);
        if last == NEVER {
            return View::Blind;
        }
        let age = Moment(last).until(now);
        match age {
            _ if self.pinned => View::Fresh,
            _ if age <= STALE_AFTER && !self.doubt.load(Ordering::Acquire) => View::Fresh,
            _ if age <= self.config.max_staleness => View::Stale,
            _ => View::Blind,
        }
    }

    /// Judges an access token by what is known here. The signature may be remembered; everything else is judged anew (V4).
    pub(crate) fn judge(&self, token: &str, now: Moment) -> Result<Arc<Claims>, Refusal> {
        self.genuine(token, |ring, genuine| {
            let Genuine::Access(claims) = genuine else { return Err(Refusal::TypeWrong) };
            self.judge_claims(ring, claims, now)?;
            Ok(Arc::clone(claims))
        })
    }

    /// Judges a service token, which must be for `audience`.
    pub(crate) fn judge_service(&self, token: &str, audience: &str, now: Moment) -> Result<Arc<ServiceClaims>, Refusal> {
        self.genuine(token, |ring, genuine| {
            let Genuine::Service(claims) = genuine else { return Err(Refusal::TypeWrong) };
            self.judge_common(ring, &claims.kid, &claims.issuer, claims.expires, now)?;
            if !claims.audience.iter().any(|named| named == audience) {
                return Err(Refusal::AudienceWrong);
            }
            Ok(Arc::clone(claims))
        })
    }

    /// What `judge` makes of a genuine token; remembered, where it is good.
    fn genuine<T>(&self, token: &str, judge: impl FnOnce(&KeyRing, &Genuine) -> Result<T, Refusal>) -> Result<T, Refusal> {
        if token.len() > token::MAX_BYTES {
            return Err(Refusal::Malformed);
        }
        let ring = self.ring.load();
        let Some(ring) = ring.as_deref() else {
            token::split(token)?.algorithm()?; // what is no token for anybody needs no keys to be refused
            return Err(Refusal::Unavailable);
        };
        let digest = TokenDigest::of(token);
        if let Some(genuine) = self.cache.get(&digest) {
            self.metrics.cache_hits.increment(1);
            return judge(ring, &genuine);
        }
        self.metrics.cache_misses.increment(1);
        let genuine = read_genuine(ring, token)?;
        let judged = judge(ring, &genuine)?;
        self.cache.put(digest, genuine);
        Ok(judged)
    }

    /// What may change between two uses of the same token. Its `typ` and `token_type` cannot: no `Claims` exists of another.
    pub(crate) fn judge_claims(&self, ring: &KeyRing, claims: &Claims, now: Moment) -> Result<(), Refusal> {
        self.judge_common(ring, &claims.kid, &claims.issuer, claims.expires, now)?;
        if !claims.audience.contains(&ring.audience) {
            return Err(Refusal::AudienceWrong);
        }
        if self.revocations.refuse(claims.session, claims.generation) {
            return Err(Refusal::Revoked);
        }
        Ok(())
    }

    /// The same of claims that were accepted before, be it because token-service vouched for them, of whatever key.
    pub(crate) fn judge_again(&self, ring: &KeyRing, claims: &Claims, now: Moment) -> Result<(), Refusal> {
        match self.judge_claims(ring, claims, now) {
            Err(Refusal::KeyUnknown) if claims.kid.is_empty() => {
                let expired = claims.expires <= self.clock.at(now).second();
                let revoked = self.revocations.refuse(claims.session, claims.generation);
                if expired {
                    Err(Refusal::Expired)
                } else if revoked {
                    Err(Refusal::Revoked)
                } else {
                    Ok(())
                }
            }
            judged => judged,
        }
    }

    fn judge_common(&self, ring: &KeyRing, kid: &str, issuer: &str, expires: UnixSeconds, now: Moment) -> Result<(), Refusal> {
        if ring.find(kid).is_none() {
            return Err(Refusal::KeyUnknown);
        }
        if issuer != ring.issuer {
            return Err(Refusal::IssuerWrong);
        }
        if expires <= self.clock.at(now).second() {
            return Err(Refusal::Expired);
        }
        Ok(())
    }

    /// Puts a key set in force; one that lost a key empties the cache (V4).
    pub(crate) fn replace_ring(&self, ring: KeyRing) {
        let ring = Arc::new(ring);
        let earlier = self.ring.swap(Some(Arc::clone(&ring)));
        if earlier.is_some_and(|earlier| !ring.keeps_all_of(&earlier)) {
            self.cache.clear();
        }
    }

    /// The highest revocation number known, without a gap below.
    pub(crate) fn head(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    pub(crate) fn set_head(&self, head: u64) {
        self.head.store(head, Ordering::Release);
    }

    /// Everything matched: the view was certain at `moment`.
    pub(crate) fn sign_of_life(&self, moment: Moment) {
        let last = self.last_sign.load(Ordering::Acquire);
        if last == NEVER || last < moment.0 {
            self.last_sign.store(moment.0, Ordering::Release);
        }
    }

    /// Whether a stream is open now.
    pub(crate) fn set_following(&self, following: bool) {
        self.following.store(following, Ordering::Release);
    }

    /// Whether a judgement stands by itself. It does while the view is fresh; but while no stream is open, a key, issuer or
    /// audience unknown here may be newer than what is known here.
    pub(crate) fn stands<T>(&self, view: View, judged: &Result<T, Refusal>) -> bool {
        let blind = judged.as_ref().is_err_and(|refusal| refusal.may_be_blindness());
        view == View::Fresh && (!blind || self.following.load(Ordering::Acquire))
    }

    /// A whole snapshot: nothing is missing any more.
    pub(crate) fn end_doubt(&self) {
        self.doubt.store(false, Ordering::Release);
    }

    /// Something is missing.
    pub(crate) fn doubt(&self) {
        self.doubt.store(true, Ordering::Release);
    }

    /// Housekeeping, a small piece at each `turn`.
    pub(crate) fn sweep(&self, turn: usize) {
        let now = self.clock.at(self.clock.moment());
        if self.last_sign.load(Ordering::Acquire) != NEVER {
            self.revocations.sweep(turn, now);
            self.cache.sweep(turn, now.second());
        }
    }

    /// How well it sees, now.
    pub(crate) fn status(&self) -> Status {
        let now = self.clock.moment();
        let view = self.view(now);
        let last = self.last_sign.load(Ordering::Acquire);
        let last_heartbeat = (last != NEVER).then(|| self.clock.instant(Moment(last)));
        let keys = self.ring.load().as_ref().map_or(0, |ring| ring.len());
        Status {
            ready: keys > 0,
            stale_since: (view != View::Fresh).then(|| last_heartbeat.unwrap_or(self.clock.instant(Moment(0)))),
            last_heartbeat,
            head: self.head(),
            revocations: self.revocations.len(),
            keys,
            usable: view != View::Blind,
        }
    }

    /// Tells whoever waits or measures; says so once when the view becomes stale, and once when it is fresh again.
    pub(crate) fn publish(&self) {
        let status = self.status();
        self.metrics.ready.set(f64::from(u8::from(status.ready)));
        self.metrics.stale.set(f64::from(u8::from(status.stale_since.is_some())));
        self.metrics.lag_seconds.set(status.lag().or(status.stale_since.map(|since| since.elapsed())).unwrap_or_default().as_secs_f64());
        self.metrics.head.set(count(status.head));
        self.metrics.keys.set(count(status.keys as u64));
        self.metrics.revocations.set(count(status.revocations as u64));
        self.metrics.cache_entries.set(count(self.cache.len() as u64));
        self.status.send_if_modified(|told| {
            match (told.stale_since.is_some(), status.stale_since.is_some()) {
                (true, false) => tracing::info!(head = status.head, keys = status.keys, "keys and revocations are fresh"),
                (false, true) => tracing::warn!(head = status.head, "keys and revocations are stale; asking token-service per token"),
                _ => {}
            }
            let changed = *told != status;
            *told = status;
            changed
        });
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }
}

/// Reads a token and verifies its signature under the one key and algorithm it can have (V5).
fn read_genuine(ring: &KeyRing, token: &str) -> Result<Genuine, Refusal> {
    let parts = token::split(token)?;
    let algorithm = parts.algorithm()?;
    let key = ring.find(parts.header.kid.as_deref().ok_or(Refusal::Malformed)?).ok_or(Refusal::KeyUnknown)?;
    if algorithm != key.algorithm {
        return Err(Refusal::AlgorithmWrong);
    }
    key.verify(parts.signed, &parts.signature)?;
    if parts.header.typ.as_deref() != Some(ACCESS_TYP) {
        return Err(Refusal::TypeWrong);
    }
    Genuine::read(&parts.payload, Arc::clone(&key.kid))
}

#[cfg(test)]
mod tests {
    use carelink_proto::token::{KeySet, PublicKey};

    use super::*;
    use crate::keys::tests::public;

    fn ring(keys: Vec<PublicKey>) -> KeyRing {
        KeyRing::read(&KeySet { keys, digest: vec![1] }, "i", "a").unwrap()
    }

    #[test]
    fn v4_only_a_withdrawn_kid_empties_the_cache() {
        let state = State::new(Config::default(), false);
        state.replace_ring(ring(vec![public(1), public(2)]));
        state.cache.put(TokenDigest::of("token"), Genuine::Access(Arc::new(Claims::sample(1))));
        state.replace_ring(ring(vec![public(3), public(2), public(1)]));
        assert_eq!(state.cache.len(), 1);
        state.replace_ring(ring(vec![public(3), public(2)]));
        assert_eq!(state.cache.len(), 0);
    }

    #[test]
    fn v3_a_clock_that_jumped_sweeps_nothing_before_the_first_snapshot() {
        let state = State::new(Config::default(), false);
        state.revocations.add(uuid::Uuid::nil(), 0, crate::time::DatabaseTime(-1)).unwrap();
        (0..64).for_each(|turn| state.sweep(turn));
        assert_eq!(state.revocations.len(), 1);
    }
}

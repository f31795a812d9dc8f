//! The verifier itself: what embedders hold, clone and ask.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use carelink_proto::token::Snapshot;
use tokio::{sync::watch, task::JoinHandle, time::timeout};
use uuid::Uuid;

use crate::{
    activity::Use,
    channel::Channel,
    claims::Claims,
    config::Config,
    introspect::{Introspector, Standing},
    keys::KeyRing,
    refusal::Refusal,
    service::ServiceClaims,
    state::{State, View},
    status::Status,
    time::DatabaseTime,
    watch::Watcher,
};

/// How often somebody who is served for long is looked at again, where nothing changes.
const LOOK: Duration = Duration::from_secs(1);

/// What passing a check allows: how far a stale verifier goes that nobody answers (V3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A request at the edge: goes on until `max_staleness`.
    Edge,
    /// Something inside a service that gives or changes: never while stale, unless token-service vouches for the token.
    Grant,
    /// Something inside a service that only takes away (sign-out, revoke, disable): goes on until `max_staleness`.
    TakeAway,
}

/// Says whether access tokens are good. Cheap to clone; all clones share one view.
#[derive(Clone)]
pub struct Verifier {
    inner: Arc<Inner>,
}

struct Inner {
    state: Arc<State>,
    introspector: Option<Introspector>,
    watching: Option<JoinHandle<()>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(watching) = &self.watching {
            watching.abort();
        }
    }
}

impl Verifier {
    /// A verifier over a channel to token-service, and the watcher that somebody must run for it.
    pub fn new(config: Config, channel: Channel) -> (Self, Watcher) {
        let state = Arc::new(State::new(config, false));
        let watcher = Watcher::new(Arc::clone(&state), channel.clone());
        let introspector = Some(Introspector::new(Arc::clone(&state), channel));
        (Self { inner: Arc::new(Inner { state, introspector, watching: None }) }, watcher)
    }

    /// The same with the watcher running on the current runtime, until the last clone is dropped.
    pub fn start(config: Config, channel: Channel) -> Self {
        let state = Arc::new(State::new(config, false));
        let watching = Some(tokio::spawn(Watcher::new(Arc::clone(&state), channel.clone()).run()));
        let introspector = Some(Introspector::new(Arc::clone(&state), channel));
        Self { inner: Arc::new(Inner { state, introspector, watching }) }
    }

    /// A verifier that holds just this snapshot, follows nothing and never becomes stale: for tests, and for checking a
    /// token offline. `None` if the snapshot has no usable key, or a revocation that is none or finds no room.
    pub fn pinned(config: Config, snapshot: &Snapshot) -> Option<Self> {
        let state = State::new(config, true);
        state.replace_ring(KeyRing::read(snapshot.keys.as_ref()?, &snapshot.issuer, &snapshot.audience)?);
        for revocation in &snapshot.revocations {
            let session = Uuid::from_slice(&revocation.session).ok()?;
            state.revocations.add(session, revocation.generation, DatabaseTime(revocation.until_us)).ok()?;
        }
        state.set_head(snapshot.head);
        state.clock.begin(DatabaseTime(snapshot.time_us));
        state.sign_of_life(state.clock.moment());
        state.publish();
        Some(Self { inner: Arc::new(Inner { state: Arc::new(state), introspector: None, watching: None }) })
    }

    /// Judges a token by what is known here, without waiting. Stale, it accepts nothing ([`Refusal::Unavailable`]):
    /// [`Verifier::check`] then knows more.
    pub fn verify(&self, token: &str) -> Result<Arc<Claims>, Refusal> {
        self.verify_for(token, Use::Active)
    }

    /// The same, where a page may ask by itself: [`Use::Background`] keeps nobody signed in (S12).
    pub fn verify_for(&self, token: &str, used: Use) -> Result<Arc<Claims>, Refusal> {
        let (view, judged) = self.judge(token);
        let judged = match judged {
            _ if self.inner.state.stands(view, &judged) => judged,
            Err(refusal) if !refusal.may_be_blindness() => Err(refusal),
            _ => Err(Refusal::Unavailable),
        };
        self.counted(judged, used)
    }

    /// Judges a token; fresh, without waiting. Stale, what is accepted here or may be our own blindness is put before
    /// token-service, and if that is silent too, `purpose` decides.
    pub async fn check(&self, token: &str, purpose: Purpose) -> Result<Arc<Claims>, Refusal> {
        self.check_for(token, purpose, Use::Active).await
    }

    /// The same, where a page may ask by itself: [`Use::Background`] keeps nobody signed in (S12).
    pub async fn check_for(&self, token: &str, purpose: Purpose, used: Use) -> Result<Arc<Claims>, Refusal> {
        let (view, judged) = self.judge(token);
        let judged = match judged {
            _ if self.inner.state.stands(view, &judged) => judged,
            Err(refusal) if !refusal.may_be_blindness() => Err(refusal),
            Err(_) => Box::pin(self.ask(token, Standing::Unknown, purpose)).await,
            Ok(_) => Box::pin(self.ask(token, Standing::Genuine, purpose)).await,
        };
        self.counted(judged, used)
    }

    /// Judges a service token that must be for `audience`, the name of whoever asks. Nothing revokes one but its key: it is
    /// judged by what is known here for as long as the view is usable, also where it is stale, and never waits. A key
    /// unknown while stale is [`Refusal::Unavailable`].
    pub fn verify_service(&self, token: &str, audience: &str) -> Result<Arc<ServiceClaims>, Refusal> {
        let state = &self.inner.state;
        let now = state.clock.moment();
        let view = state.view(now);
        let judged = state.judge_service(token, audience, now);
        self.refused(match judged {
            _ if state.stands(view, &judged) => judged,
            Ok(claims) if view == View::Stale => Ok(claims),
            Err(refusal) if !refusal.may_be_blindness() => Err(refusal),
            Err(Refusal::AudienceWrong) => Err(Refusal::AudienceWrong), // ours, and not the stream's to change
            _ => Err(Refusal::Unavailable),
        })
    }

    /// Waits until what was accepted holds no longer, and says why: for whoever serves one caller for long, over a stream, a
    /// socket, a download. It is expired or revoked, or we have not been able to tell for `max_staleness`.
    pub async fn until_refused(&self, claims: &Claims) -> Refusal {
        let state = &self.inner.state;
        let mut changes = self.subscribe();
        loop {
            changes.mark_unchanged();
            let now = state.clock.moment();
            let refused = match state.ring.load().as_deref() {
                Some(ring) => state.judge_again(ring, claims, now).err(),
                None => Some(Refusal::Unavailable),
            };
            match (state.view(now), refused) {
                (View::Blind, _) => return Refusal::Unavailable,
                (View::Stale, Some(refusal)) if refusal.may_be_blindness() => {}
                (_, Some(refusal)) => return refusal,
                (_, None) => {}
            }
            // A change, or the next second: expiry and age come without any.
            let _ = timeout(LOOK, changes.changed()).await;
        }
    }

    /// The database's time, microseconds since the Unix epoch (T2); `None` while it is not certain.
    pub fn time_us(&self) -> Option<i64> {
        let state = &self.inner.state;
        let now = state.clock.moment();
        (state.view(now) == View::Fresh).then(|| state.clock.at(now).0)
    }

    /// How long from now until the database's clock shows `second`.
    pub(crate) fn until(&self, second: i64) -> Duration {
        let clock = &self.inner.state.clock;
        let left = second.saturating_mul(1_000_000).saturating_sub(clock.at(clock.moment()).0);
        Duration::from_micros(u64::try_from(left).unwrap_or(0))
    }

    /// The JWKS document of the current key set (K2); `None` until there is one.
    pub fn jwks(&self) -> Option<Bytes> {
        self.inner.state.ring.load().as_ref().map(|ring| ring.jwks.clone())
    }

    /// How well it sees, now.
    pub fn status(&self) -> Status {
        self.inner.state.status()
    }

    /// The same, for whoever wants to be told of changes. Its last value is as of the last message or second.
    pub fn subscribe(&self) -> watch::Receiver<Status> {
        self.inner.state.subscribe()
    }

    /// Waits for the first snapshot.
    pub async fn ready(&self) {
        // The sender is in our own state and outlives this borrow.
        let _ = self.subscribe().wait_for(|status| status.ready).await;
    }

    /// Waits until revocation `number` is known here: whoever just ended a session need not fear its own next answer.
    /// Says whether it is, after `within` at the latest.
    pub async fn caught_up(&self, number: u64, within: Duration) -> bool {
        if self.inner.state.head() >= number {
            return true;
        }
        matches!(timeout(within, self.subscribe().wait_for(|status| status.head >= number)).await, Ok(Ok(_)))
    }

    /// The view comes first: what is judged by can only be newer than that.
    fn judge(&self, token: &str) -> (View, Result<Arc<Claims>, Refusal>) {
        let state = &self.inner.state;
        let now = state.clock.moment();
        (state.view(now), state.judge(token, now))
    }

    async fn ask(&self, token: &str, standing: Standing, purpose: Purpose) -> Result<Arc<Claims>, Refusal> {
        let answer = match &self.inner.introspector {
            Some(introspector) => introspector.ask(token, standing).await,
            None => None,
        };
        if let Some(answer) = answer {
            return answer.map(Arc::new);
        }
        // Nobody answered, and time has passed.
        let (view, judged) = self.judge(token);
        match (view, purpose) {
            _ if self.inner.state.stands(view, &judged) => judged,
            (View::Fresh, _) => Err(Refusal::Unavailable),
            (View::Stale, Purpose::Edge | Purpose::TakeAway) if !judged.as_ref().is_err_and(|refusal| refusal.may_be_blindness()) => judged,
            (View::Stale | View::Blind, _) => Err(Refusal::Unavailable),
        }
    }

    fn counted(&self, outcome: Result<Arc<Claims>, Refusal>, used: Use) -> Result<Arc<Claims>, Refusal> {
        if let Ok(claims) = &outcome {
            let state = &self.inner.state;
            state.activity.note(claims, used, state.clock.moment());
        }
        self.refused(outcome)
    }

    fn refused<T>(&self, outcome: Result<Arc<T>, Refusal>) -> Result<Arc<T>, Refusal> {
        if let Err(refusal) = &outcome {
            self.inner.state.metrics.refused(*refusal);
        }
        outcome
    }
}

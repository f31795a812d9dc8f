//! What a gateway itself has to tell the trail: that it began and ended, by which configuration, and who was turned away.
//!
//! Nobody waits for the trail: a sign-in that was turned away (`sign_in.throttled`) goes into a bounded queue and is counted per
//! network; those that the door kept out, for want of room and not for who they are, are counted together. The first becomes an event
//! within two seconds, what follows one event a minute: the trail is kept for years, and whoever hammers at the door must not fill it.
//! While the trail does not answer, the events wait, a bounded number of them; what finds no room is counted as a metric. An event names
//! the address in its sealed part only, and never a name that was tried.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use carelink_platform::{
    clock::{Clock, Timestamp},
    context::{RequestContext, TraceContext},
    events::{Actor, EventBuilder, EventType, Object},
    lifecycle::Shutdown,
    random::Random,
    seal::SealingPublicKey,
};
use carelink_proto::audit::{AppendRequest, Personal};
use carelink_verifier::Status;
use metrics::{Counter, counter};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout},
};

use crate::{clients::Clients, limits::Scope, proxies::network};

/// How soon a network that was not heard of becomes an event.
const WINDOW: Duration = Duration::from_secs(2);
/// How long one that was is counted before it becomes the next.
const QUIET: Duration = Duration::from_secs(60);
const QUEUE: usize = 1024;
/// Networks counted apart; events a minute, at most.
const MAX_NETWORKS: usize = 500;
/// Sign-ins' events kept for a trail that does not answer; with our own below the thousand that one request may carry.
const MAX_WAITING: usize = 900;
/// Why the door is shut; auth-service calls it so too.
const NO_ROOM: &str = "hashing_queue_full";
const APPEND_TIMEOUT: Duration = Duration::from_secs(5);

/// One sign-in that was turned away.
#[derive(Debug)]
struct Attempt {
    client: IpAddr,
    scope: Scope,
    user_agent: String,
    trace: Option<TraceContext>,
}

/// Where handlers tell of them.
#[derive(Debug)]
pub(crate) struct Turned {
    queue: mpsc::Sender<Attempt>,
    /// What finds no room.
    lost: Counter,
    at_the_door: Arc<AtomicU64>,
}

impl Turned {
    /// Tells of one that the door kept out.
    pub(crate) fn at_the_door(&self) {
        self.at_the_door.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells of one; never waits.
    pub(crate) fn away(&self, client: IpAddr, scope: Scope, user_agent: String) {
        let attempt = Attempt { client, scope, user_agent, trace: TraceContext::current() };
        if self.queue.try_send(attempt).is_err() {
            self.lost.increment(1);
        }
    }
}

/// Both ends.
pub(crate) fn new(
    clients: Clients,
    view: watch::Receiver<Status>,
    sealing: Option<SealingPublicKey>,
    clock: Clock,
    random: Random,
) -> (Turned, Log) {
    let (sender, queue) = mpsc::channel(QUEUE);
    let lost = counter!("carelink_throttled_sign_ins_unrecorded_total");
    let at_the_door: Arc<AtomicU64> = Arc::default();
    let door = Door { kept_out: Arc::clone(&at_the_door), quiet_until: Instant::now() };
    let (counted, waiting) = (HashMap::new(), Vec::new());
    let log = Log { queue, view, stale_since: None, clients, sealing, clock, random, lost: lost.clone(), counted, door, waiting };
    (Turned { queue: sender, lost, at_the_door }, log)
}

/// The end that writes.
pub(crate) struct Log {
    queue: mpsc::Receiver<Attempt>,
    /// How well this gateway's verifier sees.
    view: watch::Receiver<Status>,
    /// As the trail knows it.
    stale_since: Option<Instant>,
    clients: Clients,
    sealing: Option<SealingPublicKey>,
    clock: Clock,
    random: Random,
    /// What finds no room.
    lost: Counter,
    counted: HashMap<(IpAddr, Scope), Count>,
    door: Door,
    waiting: Vec<Vec<u8>>,
}

/// Who was kept out for want of room.
struct Door {
    kept_out: Arc<AtomicU64>,
    quiet_until: Instant,
}

/// Since when a verifier is stale, as soon as that is not what is known of it; none where there is no verifier any more.
async fn turned(view: &mut watch::Receiver<Status>, stale: bool) -> Option<Option<Instant>> {
    let changed = view.wait_for(|status| status.ready && status.stale_since.is_some() != stale).await;
    changed.ok().map(|status| status.stale_since)
}

/// What one network was turned away for since its last event.
#[derive(Debug)]
struct Count {
    first: Attempt,
    at: Timestamp,
    attempts: u64,
    quiet_until: Instant,
}

impl Log {
    /// Runs until the stop is requested, and writes what is left.
    pub(crate) async fn run(mut self, fingerprint: &str, stop: Shutdown) {
        self.tell_own(EventType::ConfigLoaded, |event| event.object(Object::configuration(fingerprint)));
        self.tell_own(EventType::ServiceStarted, |event| event);
        self.write(Instant::now()).await;
        let mut window_ends = Instant::now() + WINDOW;
        let mut view = self.view.clone();
        loop {
            tokio::select! {
                Some(since) = turned(&mut view, self.stale_since.is_some()) => self.tell_staleness(since),
                attempt = self.queue.recv() => match attempt {
                    Some(attempt) => self.count(attempt),
                    None => break,
                },
                () = tokio::time::sleep_until(window_ends) => {
                    self.write(Instant::now()).await;
                    window_ends = Instant::now() + WINDOW;
                }
                () = stop.requested() => break,
            }
        }
        while let Ok(attempt) = self.queue.try_recv() {
            self.count(attempt);
        }
        self.tell_own(EventType::ServiceStopped, |event| event);
        self.write(Instant::now() + QUIET).await;
    }

    /// The verifier lost sight, or sees again (V3).
    fn tell_staleness(&mut self, since: Option<Instant>) {
        match (self.stale_since, since) {
            (Some(began), None) => self.tell_own(EventType::VerifierFresh, |event| event.detail("stale_ms", began.elapsed())),
            _ => self.tell_own(EventType::VerifierStale, |event| event),
        }
        self.stale_since = since;
    }

    /// An event of what this process did by itself.
    fn tell_own(&mut self, kind: EventType, tell: impl FnOnce(EventBuilder) -> EventBuilder) {
        let now = self.clock.now();
        let event = EventBuilder::new("gateway", kind, self.random.uuid_v7(now), now).actor(Actor::Service("gateway".to_owned()));
        self.waiting.push(tell(event).encode());
    }

    fn count(&mut self, attempt: Attempt) {
        let full = self.counted.len() >= MAX_NETWORKS;
        match self.counted.entry((network(attempt.client), attempt.scope)) {
            Entry::Occupied(known) if known.get().attempts > 0 => known.into_mut().attempts += 1,
            Entry::Occupied(mut quiet) => {
                let quiet_until = quiet.get().quiet_until;
                quiet.insert(Count { first: attempt, at: self.clock.now(), attempts: 1, quiet_until });
            }
            Entry::Vacant(_) if full => self.lost.increment(1),
            Entry::Vacant(new) => {
                new.insert(Count { first: attempt, at: self.clock.now(), attempts: 1, quiet_until: Instant::now() });
            }
        }
    }

    /// Makes events of what was counted and may be told at this time, and hands all that wait to the trail.
    async fn write(&mut self, now: Instant) {
        let mut counted = std::mem::take(&mut self.counted);
        counted.retain(|_, count| count.attempts > 0 || count.quiet_until > now);
        for count in counted.values_mut().filter(|count| count.attempts > 0 && count.quiet_until <= now) {
            if self.waiting.len() < MAX_WAITING {
                self.waiting.push(self.event(count));
            } else {
                self.lost.increment(count.attempts);
            }
            (count.attempts, count.quiet_until) = (0, now + QUIET);
        }
        self.counted = counted;
        if self.door.quiet_until <= now && self.waiting.len() < MAX_WAITING {
            let kept_out = self.door.kept_out.swap(0, Ordering::Relaxed);
            if kept_out > 0 {
                self.tell_own(EventType::SignInThrottled, |event| {
                    event.actor(Actor::Anonymous).reason(NO_ROOM).detail("attempts", kept_out)
                });
                self.door.quiet_until = now + QUIET;
            }
        }
        if self.waiting.is_empty() {
            return;
        }
        let request = AppendRequest { events: self.waiting.clone() };
        match timeout(APPEND_TIMEOUT, self.clients.append(request)).await {
            Ok(Ok(_)) => self.waiting.clear(),
            Ok(Err(failure)) => {
                tracing::warn!(reason = failure.reason().as_str(), waiting = self.waiting.len(), "the trail does not take events");
            }
            Err(_) => tracing::warn!(waiting = self.waiting.len(), "the trail does not answer"),
        }
    }

    fn event(&self, Count { first, at, attempts, .. }: &Count) -> Vec<u8> {
        let context = first.trace.map(|trace| RequestContext { trace, deadline: None });
        RequestContext::sync_scope(context, || {
            let event = EventBuilder::new("gateway", EventType::SignInThrottled, self.random.uuid_v7(*at), *at)
                .actor(Actor::Anonymous)
                .reason(first.scope.as_str())
                .detail("attempts", *attempts);
            let personal = Personal { network: first.client.to_string(), user_agent: first.user_agent.clone(), text: String::new() };
            match &self.sealing {
                Some(key) => event.personal(key, &personal),
                None => event,
            }
            .encode()
        })
    }
}

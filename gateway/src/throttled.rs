//! Sign-ins that were turned away, for the trail (`sign_in.throttled`).
//!
//! Nobody waits for the trail: what was turned away goes into a bounded queue, is counted per address for two seconds, and becomes one
//! event each. While the trail does not answer, the events wait, a bounded number of them; what finds no room is counted as a metric.
//! An event names the network in its sealed part only, and never a name that was tried.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use carelink_platform::{
    clock::{Clock, Timestamp},
    context::{RequestContext, TraceContext},
    events::{Actor, EventBuilder, EventType},
    lifecycle::Shutdown,
    random::Random,
    seal::SealingPublicKey,
};
use carelink_proto::audit::{AppendRequest, Personal};
use metrics::{Counter, counter};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

use crate::{clients::Clients, limits::Scope};

/// How long one address is counted before it becomes an event.
const WINDOW: Duration = Duration::from_secs(2);
const QUEUE: usize = 1024;
/// Addresses counted apart within a window; about as many events fit into one request.
const MAX_ADDRESSES: usize = 500;
/// Events kept for a trail that does not answer.
const MAX_WAITING: usize = 1000;
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
}

impl Turned {
    /// Tells of one; never waits.
    pub(crate) fn away(&self, client: IpAddr, scope: Scope, user_agent: String) {
        let attempt = Attempt { client, scope, user_agent, trace: TraceContext::current() };
        if self.queue.try_send(attempt).is_err() {
            self.lost.increment(1);
        }
    }
}

/// Both ends.
pub(crate) fn new(clients: Clients, sealing: Option<SealingPublicKey>, clock: Clock, random: Random) -> (Turned, Log) {
    let (sender, queue) = mpsc::channel(QUEUE);
    let lost = counter!("carelink_throttled_sign_ins_unrecorded_total");
    let log = Log { queue, clients, sealing, clock, random, lost: lost.clone(), counted: HashMap::new(), waiting: Vec::new() };
    (Turned { queue: sender, lost }, log)
}

/// The end that writes.
pub(crate) struct Log {
    queue: mpsc::Receiver<Attempt>,
    clients: Clients,
    sealing: Option<SealingPublicKey>,
    clock: Clock,
    random: Random,
    /// What finds no room.
    lost: Counter,
    counted: HashMap<(IpAddr, Scope), Count>,
    waiting: Vec<Vec<u8>>,
}

/// What one address was turned away for within a window.
#[derive(Debug)]
struct Count {
    attempts: u64,
    first: Timestamp,
    /// The first one's.
    user_agent: String,
    trace: Option<TraceContext>,
}

impl Log {
    /// Runs until the stop is requested, and writes what is left.
    pub(crate) async fn run(mut self, stop: Shutdown) {
        let mut window_ends = Instant::now() + WINDOW;
        loop {
            tokio::select! {
                attempt = self.queue.recv() => match attempt {
                    Some(attempt) => self.count(attempt),
                    None => break,
                },
                () = tokio::time::sleep_until(window_ends) => {
                    self.write().await;
                    window_ends = Instant::now() + WINDOW;
                }
                () = stop.requested() => break,
            }
        }
        while let Ok(attempt) = self.queue.try_recv() {
            self.count(attempt);
        }
        self.write().await;
    }

    fn count(&mut self, attempt: Attempt) {
        let key = (attempt.client, attempt.scope);
        if self.counted.len() >= MAX_ADDRESSES && !self.counted.contains_key(&key) {
            self.lost.increment(1);
            return;
        }
        let first = self.clock.now();
        self.counted.entry(key).or_insert(Count { attempts: 0, first, user_agent: attempt.user_agent, trace: attempt.trace }).attempts += 1;
    }

    /// Makes events of what was counted, and hands all that wait to the trail.
    async fn write(&mut self) {
        for ((client, scope), count) in std::mem::take(&mut self.counted) {
            if self.waiting.len() < MAX_WAITING {
                self.waiting.push(self.event(client, scope, count));
            } else {
                self.lost.increment(count.attempts);
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

    fn event(&self, client: IpAddr, scope: Scope, count: Count) -> Vec<u8> {
        let context = count.trace.map(|trace| RequestContext { trace, deadline: None });
        RequestContext::sync_scope(context, || {
            let event = EventBuilder::new("gateway", EventType::SignInThrottled, self.random.uuid_v7(count.first), count.first)
                .actor(Actor::Anonymous)
                .reason(scope.as_str())
                .detail("attempts", count.attempts);
            match &self.sealing {
                Some(key) => {
                    event.personal(key, &Personal { network: client.to_string(), user_agent: count.user_agent, text: String::new() })
                }
                None => event,
            }
            .encode()
        })
    }
}

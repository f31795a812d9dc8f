//! Which replica a call goes to, and what may be sent again.
//!
//! Of two replicas chosen at random the one that would cost less. What certainly did not arrive is sent to another, always; what may have
//! arrived only where the contract calls it idempotent; what was turned away for want of room only where there is another replica. The
//! last two come out of a budget. A call whose deadline is over is never sent, and each hop leaves the next a little less time (T4).

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Full};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{
    Code, Status,
    body::Body,
    codegen::http::{
        HeaderMap, Request, Response, Uri,
        request::Parts,
        uri::{Authority, Scheme},
    },
};
use tower::Service;

use super::{
    Network,
    budget::Budget,
    replica::{Replica, Sent},
};
use crate::{
    context::RequestContext,
    errors::{Failure, Reason},
    grpc::{
        channel::{grpc_timeout, outgoing_trace},
        methods::{self, Method},
        server_name,
        stack::parse_timeout,
    },
    random::Random,
};

/// How long an answer may take to begin where nobody says.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(10);
/// How long a call waits where no replica is connected, if one was a moment ago. At the very beginning, until its deadline.
const PATIENCE: Duration = Duration::from_secs(2);
/// Without any replica for so long, calls fail at once.
const DOWN: Duration = Duration::from_secs(3);
/// Calls that may wait for a replica.
const MAX_WAITING: usize = 1_024;
/// How often a call is sent at most that may have arrived, and how often one that did not.
const MAX_SENT: usize = 3;
const MAX_UNSENT: usize = 8;
/// What a call counts as that came to nothing: it was fast only because nothing was done.
const CAME_TO_NOTHING: Duration = Duration::from_secs(1);

/// The replicas of one service.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) to: &'static str,
    pub(super) origin: Uri,
    pub(super) network: Network,
    pub(super) random: Random,
    pub(super) stop: CancellationToken,
    replicas: ArcSwap<Vec<Arc<Replica>>>,
    changed: Notify,
    /// Since when no replica is connected.
    down: Mutex<Option<Instant>>,
    /// Whether one ever was.
    met: AtomicBool,
    waiting: AtomicUsize,
    budget: Budget,
    dice: AtomicU64,
}

impl Pool {
    pub(super) fn new(to: &'static str, network: Network, random: Random) -> Arc<Self> {
        let authority = Authority::try_from(server_name(to)).unwrap_or_else(|_| Authority::from_static("carelink.internal"));
        let origin = Uri::builder().scheme(Scheme::HTTPS).authority(authority).path_and_query("/").build().unwrap_or_default();
        let dice = AtomicU64::new(u64::from_be_bytes(random.bytes()));
        Arc::new(Self {
            to,
            origin,
            network,
            random,
            stop: CancellationToken::new(),
            replicas: ArcSwap::default(),
            changed: Notify::new(),
            down: Mutex::new(Some(Instant::now())),
            met: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            budget: Budget::new(),
            dice,
        })
    }

    /// The replicas there are; new ones are connected to, others left.
    pub(super) fn set(self: &Arc<Self>, addresses: &[SocketAddr]) {
        let before = self.replicas.load_full();
        if before.iter().map(|replica| &replica.address).eq(addresses) {
            return;
        }
        let kept = |address: &SocketAddr| before.iter().find(|replica| replica.address == *address).cloned();
        let now = addresses.iter().map(|address| {
            kept(address).unwrap_or_else(|| {
                let replica = Arc::new(Replica::new(*address, self.stop.child_token()));
                tokio::spawn(Arc::clone(&replica).keep(Arc::clone(self)));
                replica
            })
        });
        self.replicas.store(Arc::new(now.collect()));
        before.iter().filter(|replica| !addresses.contains(&replica.address)).for_each(|replica| replica.gone.cancel());
        tracing::info!(to = self.to, replicas = addresses.len(), "the addresses of a service");
        self.changed();
    }

    /// A replica came or went.
    pub(super) fn changed(&self) {
        let open = self.replicas.load().iter().filter(|replica| replica.is_open()).count();
        metrics::gauge!("carelink_channel_replicas", "to" => self.to).set(u32::try_from(open).map_or(f64::MAX, f64::from));
        let mut down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        if open > 0 {
            self.met.store(true, Ordering::Relaxed);
        }
        *down = if open > 0 { None } else { down.or_else(|| Some(Instant::now())) };
        drop(down);
        self.changed.notify_waiters();
    }

    /// A replica for a call that was already sent to those.
    fn choose(&self, tried: &[SocketAddr]) -> Option<Arc<Replica>> {
        let replicas = self.replicas.load();
        let open: Vec<&Arc<Replica>> = replicas.iter().filter(|replica| replica.is_open()).collect();
        let untried = |replica: &&&Arc<Replica>| !tried.contains(&replica.address);
        let serving = |replica: &&&Arc<Replica>| replica.is_serving();
        let mut best: Vec<&Arc<Replica>> = open.iter().filter(serving).filter(untried).copied().collect();
        if best.is_empty() {
            best = open.iter().filter(serving).copied().collect();
        }
        if best.is_empty() {
            best = open; // none says that it is ready: then any may still know an answer
        }
        let one = best.get(self.roll(best.len())).copied()?;
        let others: Vec<&Arc<Replica>> = best.iter().filter(|other| other.address != one.address).copied().collect();
        let chosen = match others.get(self.roll(others.len())).copied() {
            Some(other) if other.cost() < one.cost() => other,
            _ => one,
        };
        Some(Arc::clone(chosen))
    }

    /// Whether another replica says that it is ready.
    fn has_other(&self, tried: &[SocketAddr]) -> bool {
        self.replicas.load().iter().any(|replica| replica.is_open() && replica.is_serving() && !tried.contains(&replica.address))
    }

    /// A number below `sides` (SplitMix64: fast, and good enough to spread calls).
    fn roll(&self, sides: usize) -> usize {
        let mut z = self.dice.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(sides.max(1)).unwrap_or(1)).unwrap_or(0)
    }

    /// A replica, after a short wait where none is connected at the moment.
    async fn pick(&self, tried: &[SocketAddr], deadline: Instant) -> Result<Arc<Replica>, Status> {
        if let Some(replica) = self.choose(tried) {
            return Ok(replica);
        }
        let began = Instant::now();
        let _waiting = Waiting::new(&self.waiting).ok_or_else(|| self.unavailable())?;
        loop {
            let changed = self.changed.notified();
            if let Some(replica) = self.choose(tried) {
                return Ok(replica);
            }
            let beginning = self.is_beginning();
            let down = *self.down.lock().unwrap_or_else(PoisonError::into_inner);
            let until = if beginning { deadline } else { deadline.min(began + PATIENCE) };
            let hopeless = !beginning && down.is_some_and(|since| since.elapsed() > DOWN);
            if hopeless || timeout_at(until, changed).await.is_err() {
                return Err(self.unavailable());
            }
        }
    }

    /// Whether nothing is known yet: no replica was ever connected, and of some it is not known whether it can be.
    fn is_beginning(&self) -> bool {
        let replicas = self.replicas.load();
        !self.met.load(Ordering::Relaxed) && (replicas.is_empty() || replicas.iter().any(|replica| !replica.has_failed()))
    }

    fn unavailable(&self) -> Status {
        metrics::counter!("carelink_channel_unavailable_total", "to" => self.to).increment(1);
        Failure::new(Reason::Unready).message(format!("{} does not answer; try again", self.to)).retry_after(PATIENCE).to_status()
    }

    fn again(&self, why: &'static str) {
        metrics::counter!("carelink_channel_retries_total", "to" => self.to, "why" => why).increment(1);
    }

    /// Whether the budget allows it.
    fn may_spend(&self) -> bool {
        let may = self.budget.spend();
        if !may {
            metrics::counter!("carelink_channel_budget_exhausted_total", "to" => self.to).increment(1);
        }
        may
    }

    async fn call(self: Arc<Self>, request: Request<Body>) -> Result<Response<Body>, Status> {
        let (mut parts, body) = request.into_parts();
        let method = methods::method(parts.uri.path());
        let said = time_left(&parts.headers);
        let deadline = Instant::now() + said.unwrap_or(DEFAULT_DEADLINE);
        outgoing_trace(&mut parts.headers);
        parts.uri = self.absolute(&parts.uri);
        let call = Call { parts, method, deadline, told: said.is_some() || !method.streams };
        self.budget.earn();
        if !method.one_message {
            let replica = self.pick(&[], deadline).await?; // what streams is sent once
            return match replica.send(call.request(body)?).await {
                Sent::Answer(response) => Ok(response.map(Body::new)),
                Sent::Unsent => Err(self.unavailable()),
                Sent::Lost(status) => Err(status),
            };
        }
        let message = body.collect().await?.to_bytes();
        self.send(&call, message).await
    }

    async fn send(&self, call: &Call, message: Bytes) -> Result<Response<Body>, Status> {
        let (mut tried, mut sent, mut unsent) = (Vec::new(), 0, 0);
        loop {
            let replica = self.pick(&tried, call.deadline).await?;
            let pending = replica.begin();
            let request = call.request(Body::new(Full::new(message.clone())))?;
            let outcome = timeout_at(call.deadline, replica.send(request)).await;
            let outcome = outcome.map_err(|_| {
                pending.took(Duration::ZERO);
                expired()
            })?;
            tried.push(replica.address);
            match outcome {
                Sent::Answer(response) => {
                    sent += 1;
                    let Some(failed) = came_to_nothing(&response) else {
                        pending.took(Duration::ZERO);
                        return Ok(response.map(Body::new));
                    };
                    pending.took(CAME_TO_NOTHING);
                    let safe = failed == Reason::Overloaded || call.method.idempotent;
                    if !safe || sent >= MAX_SENT || !self.has_other(&tried) || !self.may_spend() {
                        return Ok(response.map(Body::new));
                    }
                    self.again("refused");
                }
                Sent::Unsent => {
                    unsent += 1;
                    if unsent >= MAX_UNSENT {
                        return Err(self.unavailable());
                    }
                    self.again("unsent");
                }
                Sent::Lost(status) => {
                    sent += 1;
                    pending.took(CAME_TO_NOTHING);
                    if !call.method.idempotent || sent >= MAX_SENT || !self.may_spend() {
                        return Err(status);
                    }
                    self.again("lost");
                    drop(pending);
                    tokio::time::sleep(self.random.jitter(Duration::from_millis(10), 0.9)).await;
                }
            }
        }
    }

    fn absolute(&self, uri: &Uri) -> Uri {
        let mut parts = self.origin.clone().into_parts();
        parts.path_and_query = uri.path_and_query().cloned();
        Uri::from_parts(parts).unwrap_or_else(|_| self.origin.clone())
    }
}

/// What is to be sent, as often as it takes.
struct Call {
    parts: Parts,
    method: Method,
    deadline: Instant,
    /// Whether the other side is told the deadline: a stream that nobody bounds has none.
    told: bool,
}

impl Call {
    fn request(&self, body: Body) -> Result<Request<Body>, Status> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(expired());
        }
        let mut parts = self.parts.clone();
        if self.told {
            // What the way itself takes: a fiftieth, 20 ms at most.
            parts.headers.insert("grpc-timeout", grpc_timeout(left - (left / 50).min(Duration::from_millis(20))));
        }
        Ok(Request::from_parts(parts, body))
    }
}

fn expired() -> Status {
    Failure::new(Reason::DeadlineExceeded).to_status()
}

/// What is left of the request being served, or what the caller says, whichever is less.
fn time_left(headers: &HeaderMap) -> Option<Duration> {
    let said = headers.get("grpc-timeout").and_then(|text| text.to_str().ok()).and_then(parse_timeout);
    match (said, RequestContext::remaining()) {
        (Some(said), Some(left)) => Some(said.min(left)),
        (said, left) => said.or(left),
    }
}

/// Why a replica did nothing for a call that another one may do something for.
fn came_to_nothing<B>(response: &Response<B>) -> Option<Reason> {
    let status = Status::from_header_map(response.headers()).filter(|status| status.code() == Code::Unavailable)?;
    let reason = Failure::from_status(&status).reason();
    matches!(reason, Reason::Overloaded | Reason::Unready | Reason::StorageUnavailable).then_some(reason)
}

/// One call that waits for a replica.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Option<Self> {
        let waiting = Self(count);
        (count.fetch_add(1, Ordering::Relaxed) < MAX_WAITING).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A [`Pool`] as generated clients take it. The last clone ends the pool's connections.
#[derive(Clone)]
pub(super) struct Balanced {
    pool: Arc<Pool>,
    _stop: Arc<DropGuard>,
}

impl Balanced {
    pub(super) fn new(pool: Arc<Pool>, stop: Arc<DropGuard>) -> Self {
        Self { pool, _stop: stop }
    }
}

impl Service<Request<Body>> for Balanced {
    type Response = Response<Body>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response<Body>, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(())) // each call finds its own replica
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(Arc::clone(&self.pool).call(request))
    }
}

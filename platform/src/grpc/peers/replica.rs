//! One replica: a connection kept to one address, asked every second how it is, with what is pending on it and how fast it was lately.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{
    Code, Status,
    body::Body,
    codegen::http::{Request, Response, Uri},
};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tower::BoxError;

use super::balance::Pool;

/// Until a new connection has answered its first question.
const CONNECT: Duration = Duration::from_secs(5);
/// A connection that says nothing for so long and then does not answer for as long is dead.
const KEEPALIVE: Duration = Duration::from_secs(2);
/// Calls given up whose answers may still arrive.
const MAX_GIVEN_UP: usize = 1_024;
/// How often a replica is asked how it is, and how long it has to say.
const HEALTH: (Duration, Duration) = (Duration::from_secs(1), Duration::from_millis(1_500));
/// Waits between attempts to connect double from the first to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// A connection that lasted so long was a good one: the next follows at once.
const LASTED: Duration = Duration::from_secs(1);
/// What was slow is forgotten to a third in so long.
const FORGET: Duration = Duration::from_secs(5);
/// What a call costs where nothing is known yet, in seconds.
const LEAST: f64 = 0.000_1;

type Sender = http2::SendRequest<Body>;

/// A connection: what sends on it, and whether it takes no more requests, which is its own matter and not that of the next.
#[derive(Debug)]
struct Connection {
    sender: Sender,
    retired: CancellationToken,
}

/// What came of sending.
pub(super) enum Sent {
    /// An answer began.
    Answer(Response<Incoming>),
    /// Nothing arrived there.
    Unsent,
    /// Nobody knows whether it arrived.
    Lost(Status),
}

/// See the file's first line.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) address: SocketAddr,
    connection: ArcSwapOption<Connection>,
    serving: AtomicBool,
    failed: AtomicBool,
    pending: AtomicUsize,
    latency: Mutex<(f64, Instant)>,
    /// It is not to be used any more.
    pub(super) gone: CancellationToken,
}

/// A call under way.
pub(super) struct Pending<'a> {
    replica: &'a Replica,
    began: Instant,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.replica.pending.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pending<'_> {
    /// It took as long as it did, or counts as if it had taken `at_least`.
    pub(super) fn took(&self, at_least: Duration) {
        self.replica.observe(self.began.elapsed().max(at_least));
    }
}

impl Replica {
    pub(super) fn new(address: SocketAddr, gone: CancellationToken) -> Self {
        Self {
            address,
            connection: ArcSwapOption::empty(),
            serving: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            pending: AtomicUsize::new(0),
            latency: Mutex::new((0.0, Instant::now())),
            gone,
        }
    }

    /// Whether a connection stands.
    pub(super) fn is_open(&self) -> bool {
        self.connection.load().is_some()
    }

    /// Whether it says that it is ready.
    pub(super) fn is_serving(&self) -> bool {
        self.serving.load(Ordering::Relaxed)
    }

    /// Whether it was tried to connect to it in vain.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// What the next call here would cost: how long calls take, times how many there are (peak EWMA).
    pub(super) fn cost(&self) -> f64 {
        let (took, at) = *self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        let forgotten = (-at.elapsed().as_secs_f64() / FORGET.as_secs_f64()).exp();
        let pending = u32::try_from(self.pending.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        (took * forgotten + LEAST) * (f64::from(pending) + 1.0)
    }

    /// A slow call counts at once, fast ones little by little.
    fn observe(&self, took: Duration) {
        let (now, took) = (Instant::now(), took.as_secs_f64());
        let mut latency = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        let keep = (-now.saturating_duration_since(latency.1).as_secs_f64() / FORGET.as_secs_f64()).exp();
        *latency = (if took > latency.0 { took } else { latency.0 * keep + took * (1.0 - keep) }, now);
    }

    pub(super) fn begin(&self) -> Pending<'_> {
        self.pending.fetch_add(1, Ordering::Relaxed);
        Pending { replica: self, began: Instant::now() }
    }

    /// Sends a request, and says what is known where no answer begins.
    pub(super) async fn send(&self, request: Request<Body>) -> Sent {
        let Some(connection) = self.connection.load_full() else { return Sent::Unsent };
        let mut own = connection.sender.clone();
        let mut failed = match own.try_send_request(request).await {
            Ok(response) => return Sent::Answer(response),
            Err(failed) => failed,
        };
        let returned = failed.take_message().is_some();
        let error = failed.into_error();
        let refused = refusal(&error);
        if returned || own.is_closed() || refused == Some(Refusal::GoAway) {
            self.retire(&connection);
        }
        if returned || refused.is_some() {
            Sent::Unsent
        } else {
            Sent::Lost(Status::unavailable(format!("the connection was lost: {error}")))
        }
    }

    /// This connection takes no more requests; what is under way on it goes on.
    fn retire(&self, connection: &Arc<Connection>) {
        connection.retired.cancel();
        let held = self.connection.load();
        if held.as_ref().is_some_and(|held| Arc::ptr_eq(held, connection)) {
            self.connection.compare_and_swap(&*held, None);
        }
    }

    /// Keeps a connection until the replica is gone.
    pub(super) async fn keep(self: Arc<Self>, pool: Arc<Pool>) {
        let (mut wait, mut failing) = (BACKOFF.0, false);
        loop {
            let connected = tokio::select! {
                connected = timeout(CONNECT, self.connect(&pool)) => connected.unwrap_or_else(|_| Err("it took too long".into())),
                () = self.gone.cancelled() => return,
            };
            match connected {
                Ok((sender, ended)) => {
                    if std::mem::take(&mut failing) {
                        tracing::info!(to = pool.to, address = %self.address, "a replica is reached again");
                    }
                    let began = Instant::now();
                    let connection = Arc::new(Connection { sender, retired: CancellationToken::new() });
                    self.connection.store(Some(Arc::clone(&connection)));
                    pool.changed();
                    self.follow(&pool, &connection, ended).await;
                    self.connection.store(None);
                    pool.changed();
                    if began.elapsed() >= LASTED {
                        wait = BACKOFF.0;
                        continue;
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(to = pool.to, address = %self.address, %error, "a replica cannot be reached; trying on");
                    }
                    metrics::counter!("carelink_channel_connect_failures_total", "to" => pool.to).increment(1);
                    if !self.failed.swap(true, Ordering::Relaxed) {
                        pool.changed();
                    }
                }
            }
            if self.gone.is_cancelled() {
                return;
            }
            tokio::time::sleep(pool.random.jitter(wait, 0.5)).await;
            wait = (wait * 2).min(BACKOFF.1);
        }
    }

    /// A connection that has answered once: only then both sides have accepted each other's certificate.
    async fn connect(&self, pool: &Pool) -> Result<(Sender, CancellationToken), BoxError> {
        let stream = pool.network.dial(pool.to, self.address).await?;
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .keep_alive_while_idle(true)
            .max_concurrent_reset_streams(MAX_GIVEN_UP);
        let (sender, connection) = http.handshake(TokioIo::new(stream)).await?;
        let ended = CancellationToken::new();
        let end = ended.clone().drop_guard();
        tokio::spawn(async move {
            let _end = end;
            let _ = connection.await; // whoever waits on it is told
        });
        let serving = ask(&pool.origin, sender.clone()).await?;
        self.serving.store(serving, Ordering::Relaxed);
        Ok((sender, ended))
    }

    /// Asks how it is, until its connection takes no more requests.
    async fn follow(&self, pool: &Pool, connection: &Connection, ended: CancellationToken) {
        let Connection { sender, retired } = connection;
        loop {
            tokio::select! {
                biased;
                () = ended.cancelled() => return,
                () = retired.cancelled() => return,
                () = self.gone.cancelled() => return,
                () = tokio::time::sleep(HEALTH.0) => {}
            }
            let asked = timeout(HEALTH.1, ask(&pool.origin, sender.clone())).await;
            if sender.is_closed() {
                return;
            }
            let serving = matches!(asked, Ok(Ok(true)));
            if self.serving.swap(serving, Ordering::Relaxed) != serving {
                tracing::debug!(to = pool.to, address = %self.address, serving, "a replica changed its mind");
                pool.changed();
            }
        }
    }
}

/// `grpc.health.v1`.
async fn ask(origin: &Uri, sender: Sender) -> Result<bool, Status> {
    let service = tower::service_fn(move |request: Request<Body>| {
        let mut sender = sender.clone();
        async move {
            let sent = sender.send_request(request).await;
            sent.map(|response| response.map(Body::new)).map_err(|error| Status::unavailable(error_text(&error)))
        }
    });
    match HealthClient::with_origin(service, origin.clone()).check(HealthCheckRequest::default()).await {
        Ok(answer) => Ok(answer.into_inner().status() == ServingStatus::Serving),
        Err(status) if status.code() == Code::Unimplemented => Ok(true), // nothing to be said against it
        Err(status) => Err(status),
    }
}

/// All that is known, from the outside to the cause.
fn error_text(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Why a request that was sent certainly did not arrive (RFC 9113, 6.8 and 8.7).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// The other side closes the connection and has not begun on this request.
    GoAway,
    /// The other side has no room for another stream.
    Refused,
}

fn refusal(error: &hyper::Error) -> Option<Refusal> {
    let mut causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    let cause = causes.find_map(|cause| cause.downcast_ref::<h2::Error>())?;
    match cause.reason()? {
        h2::Reason::NO_ERROR if cause.is_go_away() && cause.is_remote() => Some(Refusal::GoAway),
        h2::Reason::REFUSED_STREAM if cause.is_reset() && cause.is_remote() => Some(Refusal::Refused),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn connection() -> Arc<Connection> {
        let (near, far) = tokio::io::duplex(64);
        std::mem::forget(far); // nobody answers, and nobody hangs up
        let (sender, _) = http2::handshake(TokioExecutor::new(), TokioIo::new(near)).await.unwrap();
        Arc::new(Connection { sender, retired: CancellationToken::new() })
    }

    #[tokio::test]
    async fn a_connection_that_takes_no_more_requests_says_nothing_of_the_one_after_it() {
        let replica = Replica::new(SocketAddr::from(([127, 0, 0, 1], 1)), CancellationToken::new());
        let (first, second) = (connection().await, connection().await);
        replica.connection.store(Some(Arc::clone(&first)));
        replica.retire(&first);
        assert!(!replica.is_open() && first.retired.is_cancelled());
        replica.connection.store(Some(Arc::clone(&second)));
        replica.retire(&first); // by a call that was still under way on it
        assert!(replica.is_open() && !second.retired.is_cancelled());
    }
}

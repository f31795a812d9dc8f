//! Connections: HTTP/1.1 and HTTP/2, with TLS where a certificate is configured and else without on the same port; bounded in number,
//! in headers and in patience; drained at the end, and before that, once it is announced, told not to come back.
//!
//! Against HTTP/2 as a weapon: few streams at a time, a small header list, windows that hold one honest body each, a client that resets
//! what it asked for again and again is hung up on (the library counts), pings find who is gone.

use std::{
    convert::Infallible,
    future::Future,
    io::ErrorKind,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, response::Response};
use carelink_platform::lifecycle::{DRAIN, Shutdown};
use http::{HeaderValue, Request, Version, header::CONNECTION};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use metrics::{Gauge, gauge};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout},
};
use tower::Service;

use crate::{
    config::{BODY_LIMIT, CONNECTION_WINDOW, FIRST_REQUEST_TIMEOUT, HEADER_LIMIT, IDLE_TIMEOUT, MAX_HEADERS, MAX_RESETS, MAX_STREAMS},
    crowd::{Crowd, Place},
    edge::Peer,
    tls::Tls,
};

/// How long to wait where a connection cannot be accepted: too many open files, mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What serves every connection.
pub(crate) struct Server {
    pub(crate) router: Router,
    pub(crate) tls: Option<Tls>,
    pub(crate) crowd: Arc<Crowd>,
    pub(crate) shutdown: Shutdown,
}

impl Server {
    /// Serves on every listener until the stop is requested, then answers what is under way.
    pub(crate) async fn serve(self, listeners: Vec<TcpListener>) {
        let (shutdown, crowd) = (self.shutdown.clone(), Arc::clone(&self.crowd));
        let server = Arc::new(Connections { builder: builder(), open: gauge!("carelink_http_connections"), server: self });
        let accepting = listeners.into_iter().map(|listener| accept(Arc::clone(&server), listener));
        let accepting = async {
            futures::future::join_all(accepting).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = accepting => {}
            () = shutdown.requested() => {}
        }
        if timeout(DRAIN, crowd.gone()).await.is_err() {
            tracing::warn!("some requests were still being answered at the end");
        }
    }
}

async fn accept(server: Arc<Connections>, listener: TcpListener) {
    let mut failing = false;
    loop {
        let crowd = &server.server.crowd;
        let Some(room) = crowd.room().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                failing = false;
                if let Some(place) = crowd.seat(room, peer.ip()) {
                    tokio::spawn(Arc::clone(&server).connect(stream, peer, place));
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(%error, "connections cannot be accepted; trying on");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(HEADER_LIMIT)
        .half_close(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(HEADER_LIMIT).unwrap_or(u32::MAX))
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .initial_stream_window_size(u32::try_from(BODY_LIMIT).unwrap_or(u32::MAX))
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(BODY_LIMIT)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10));
    builder
}

struct Connections {
    builder: auto::Builder<TokioExecutor>,
    open: Gauge,
    server: Server,
}

impl Connections {
    async fn connect(self: Arc<Self>, stream: TcpStream, address: SocketAddr, place: Place) {
        let (_place, _open) = (place, Open::count(&self.open));
        let _ = stream.set_nodelay(true); // a slower connection is still one
        let Some(tls) = &self.server.tls else {
            return self.converse(stream, Peer { address, encrypted: false }).await;
        };
        let encrypted = tokio::select! {
            encrypted = tls.accept(stream) => encrypted,
            () = self.server.shutdown.requested() => None,
        };
        if let Some(stream) = encrypted {
            Box::pin(self.converse(stream, Peer { address, encrypted: true })).await;
        }
    }

    /// Answers whatever comes on a connection, for as long as it is of use.
    async fn converse(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: Peer) {
        let Server { router, crowd, shutdown, .. } = &self.server;
        let activity = Arc::new(Activity::new());
        let service = {
            let (router, activity, shutdown) = (router.clone(), Arc::clone(&activity), shutdown.clone());
            service_fn(move |request| answer(router.clone(), peer, request, activity.request(), shutdown.clone()))
        };
        let mut connection = pin!(self.builder.serve_connection(TokioIo::new(stream), service));
        loop {
            tokio::select! {
                _ = connection.as_mut() => return, // an error is the client's affair
                () = sleep(FIRST_REQUEST_TIMEOUT) => match activity.idle() {
                    Idle::Silent => return,
                    Idle::For(time) if time >= crowd.patience() => break,
                    _ => {}
                },
                () = shutdown.requested() => break,
            }
        }
        connection.as_mut().graceful_shutdown();
        let _ = timeout(DRAIN, connection).await; // who does not read what was asked for does not stay for that
    }
}

fn answer(
    mut router: Router,
    peer: Peer,
    request: Request<Incoming>,
    busy: Busy,
    shutdown: Shutdown,
) -> impl Future<Output = Result<Response, Infallible>> {
    let version = request.version();
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(peer);
    let answered = router.call(request);
    async move {
        let mut response = answered.await?;
        drop(busy);
        if version < Version::HTTP_2 && shutdown.is_announced() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}

/// What happens on a connection.
struct Activity {
    began: Instant,
    /// Requests being answered.
    busy: AtomicU32,
    /// When one was last; in milliseconds since the beginning, zero for none yet.
    last: AtomicU64,
}

enum Idle {
    /// It has never brought a request.
    Silent,
    /// It has nothing to do.
    For(Duration),
    /// A request is being answered.
    Busy,
}

impl Activity {
    fn new() -> Self {
        Self { began: Instant::now(), busy: AtomicU32::new(0), last: AtomicU64::new(0) }
    }

    fn touch(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now.max(1), Ordering::Relaxed);
    }

    fn request(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Ordering::Relaxed);
        self.touch();
        Busy(Arc::clone(self))
    }

    fn idle(&self) -> Idle {
        match (self.busy.load(Ordering::Relaxed), self.last.load(Ordering::Relaxed)) {
            (0, 0) => Idle::Silent,
            (0, last) => Idle::For(self.began.elapsed().saturating_sub(Duration::from_millis(last))),
            _ => Idle::Busy,
        }
    }
}

/// A request being answered.
struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.touch();
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An open connection, counted.
struct Open(Gauge);

impl Open {
    fn count(open: &Gauge) -> Self {
        open.increment(1);
        Self(open.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

//! Connections: HTTP/1.1 and HTTP/2 without TLS on the same port, bounded in number, in headers and in patience; drained at the end.

use std::{
    convert::Infallible,
    io::ErrorKind,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body};
use carelink_platform::lifecycle::{DRAIN, Shutdown};
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use metrics::{Gauge, gauge};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tower::Service;

use crate::{
    config::{BODY_LIMIT, CONNECTION_WINDOW, FIRST_REQUEST_TIMEOUT, HEADER_LIMIT, IDLE_TIMEOUT, MAX_CONNECTIONS, MAX_HEADERS, MAX_STREAMS},
    edge::Peer,
};

/// How long to wait where a connection cannot be accepted: too many open files, mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` on every listener until the stop is requested, then answers what is under way.
pub(crate) async fn serve(listeners: Vec<TcpListener>, router: Router, shutdown: &Shutdown) {
    let server =
        Arc::new(Server { builder: builder(), router, graceful: GracefulShutdown::new(), places: Arc::new(Semaphore::new(room())) });
    let accepting = listeners.into_iter().map(|listener| {
        let server = Arc::clone(&server);
        async move {
            let mut failing = false;
            loop {
                let Ok(place) = Arc::clone(&server.places).acquire_owned().await else { return };
                match listener.accept().await {
                    Ok((stream, peer)) => {
                        failing = false;
                        server.connect(stream, peer, place);
                    }
                    Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
                    Err(error) => {
                        if !std::mem::replace(&mut failing, true) {
                            tracing::error!(%error, "connections cannot be accepted; trying on");
                        }
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
    });
    let accepting = async {
        futures::future::join_all(accepting).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = accepting => {}
        () = shutdown.requested() => {}
    }
    let Some(server) = Arc::into_inner(server) else { return };
    if tokio::time::timeout(DRAIN, server.graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests were still being answered at the end");
    }
}

/// How many connections there is room for: half of the files that the process may have open, after asking for as many as it may.
fn room() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some() {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }); // fewer will have to do
    }
    let files = getrlimit(Resource::Nofile).current.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
    MAX_CONNECTIONS.min(files / 2)
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
        .initial_stream_window_size(u32::try_from(BODY_LIMIT).unwrap_or(u32::MAX))
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10));
    builder
}

struct Server {
    builder: auto::Builder<TokioExecutor>,
    router: Router,
    graceful: GracefulShutdown,
    places: Arc<Semaphore>,
}

impl Server {
    fn connect(&self, stream: TcpStream, peer: SocketAddr, place: OwnedSemaphorePermit) {
        let _ = stream.set_nodelay(true); // a slower connection is still one
        let (router, asked) = (self.router.clone(), Arc::new(AtomicBool::new(false)));
        let has_asked = Arc::clone(&asked);
        let service = service_fn(move |request: Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            let mut router = router.clone();
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Peer(peer));
            async move { router.call(request).await.map_err(|never: Infallible| never) }
        });
        let connection = self.builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = self.graceful.watch(connection);
        tokio::spawn(async move {
            let _place = place;
            let _open = Open::new();
            tokio::pin!(connection);
            tokio::select! {
                _ = &mut connection => return, // an error is the client's affair
                () = tokio::time::sleep(FIRST_REQUEST_TIMEOUT) => {}
            }
            if has_asked.load(Ordering::Relaxed) {
                let _ = connection.await;
            }
        });
    }
}

/// An open connection, counted.
struct Open(Gauge);

impl Open {
    fn new() -> Self {
        let open = gauge!("carelink_http_connections");
        open.increment(1);
        Self(open)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

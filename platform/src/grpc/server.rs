//! The port that services and operators reach over mTLS: HTTP/2, bounded in connections, streams, headers and patience.
//!
//! A connection is closed gently after a while (new certificates and new replicas come into use), when its peer would not be let in any
//! more (its certificate ran out, its authority was taken away), and at the end. First it takes no new requests, then its streams are told
//! to go elsewhere, then what is left is cut.

use std::{convert::Infallible, io::ErrorKind, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use hyper::{Request, body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::CertificateDer;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Caller, GrpcConfig, Rooms, Stack, dispatch::Dispatch, identity, lanes::Lanes, tls::Credentials};
use crate::{
    lifecycle::{DRAIN, Shutdown},
    ops::Readiness,
    random::Random,
};

const MAX_CONNECTIONS: usize = 4_096;
/// From the first byte to the last of a handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How often it is asked whether a peer would still be let in.
const ASK_AGAIN: Duration = Duration::from_secs(15);
/// How long streams go on once their connection takes no new requests.
const STREAMS_GO_ON: Duration = Duration::from_millis(250);
const MAX_STREAMS: u32 = 1_024;
const MAX_HEADER_BYTES: u32 = 16 << 10;
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(5));
/// How long to wait where a connection cannot be accepted: too many open files, mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a port is served with.
#[derive(Clone, Debug)]
pub struct TlsServer {
    credentials: Credentials,
    max_age: Duration,
    rooms: Rooms,
    random: Random,
}

impl TlsServer {
    /// With certificates that somebody else reads and watches.
    pub fn new(config: &GrpcConfig, credentials: Credentials, random: Random) -> Self {
        Self { credentials, max_age: config.max_connection_age, rooms: Rooms::default(), random }
    }

    /// With other places than usual.
    #[must_use]
    pub fn rooms(self, rooms: Rooms) -> Self {
        Self { rooms, ..self }
    }

    /// Serves the stacks until the stop is requested and everything under way has been answered, or [`DRAIN`] is over.
    ///
    /// # Errors
    /// Where the descriptors cannot be read.
    pub async fn serve(self, listener: TcpListener, stacks: Vec<Stack>, readiness: Readiness, shutdown: Shutdown) -> std::io::Result<()> {
        let dispatch = Dispatch::new(stacks, Some(Lanes::new(self.rooms))).await.map_err(std::io::Error::other)?;
        let telling = tokio::spawn(dispatch.clone().tell_health(readiness, shutdown.clone()));
        let port = Arc::new(Port { server: self, dispatch, shutdown: shutdown.clone(), http: http() });
        let (places, connections) = (Arc::new(Semaphore::new(MAX_CONNECTIONS)), TaskTracker::new());
        let mut failing = false;
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            let accepted = tokio::select! { accepted = listener.accept() => accepted, () = shutdown.requested() => break };
            match accepted {
                Ok((stream, peer)) => {
                    failing = false;
                    connections.spawn(Arc::clone(&port).connection(stream, peer, place));
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
        drop(listener);
        connections.close();
        if timeout(DRAIN, connections.wait()).await.is_err() {
            tracing::warn!("some requests were still being answered at the end");
        }
        let _ = telling.await; // ends with the stop
        Ok(())
    }
}

fn http() -> http2::Builder<TokioExecutor> {
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES)
        .max_pending_accept_reset_streams(MAX_STREAMS as usize) // callers that give up at once are no attack here: we know them
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(KEEPALIVE.0)
        .keep_alive_timeout(KEEPALIVE.1);
    http
}

struct Port {
    server: TlsServer,
    dispatch: Dispatch,
    shutdown: Shutdown,
    http: http2::Builder<TokioExecutor>,
}

impl Port {
    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, place: OwnedSemaphorePermit) {
        let _ = stream.set_nodelay(true); // a slower connection is still one
        let acceptor = TlsAcceptor::from(Arc::clone(&self.server.credentials.current().server));
        let shaken = tokio::select! {
            shaken = timeout(HANDSHAKE, acceptor.accept(stream)) => shaken,
            () = self.shutdown.requested() => return,
        };
        let refused = match shaken {
            Ok(Ok(tls)) => match known(&tls) {
                Some((caller, chain)) => {
                    let open = metrics::gauge!("carelink_rpc_connections");
                    open.increment(1);
                    self.requests(tls, caller, chain).await;
                    open.decrement(1);
                    drop(place);
                    return;
                }
                None => "names nobody".to_owned(),
            },
            Ok(Err(error)) => error.to_string(),
            Err(_) => "took too long".to_owned(),
        };
        metrics::counter!("carelink_tls_refused_total").increment(1);
        tracing::debug!(%peer, %refused, "a connection was refused");
    }

    async fn requests(&self, tls: TlsStream<TcpStream>, caller: Caller, chain: Vec<CertificateDer<'static>>) {
        let (dispatch, closing) = (self.dispatch.clone(), CancellationToken::new());
        let told = closing.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let answer = dispatch.clone().answer(request, caller.clone(), told.clone());
            async move { Ok::<_, Infallible>(answer.await) }
        });
        let mut connection = pin!(self.http.serve_connection(TokioIo::new(tls), service));
        tokio::select! {
            _ = &mut connection => return, // the peer went away
            () = self.time_to_go(&chain) => {}
        }
        connection.as_mut().graceful_shutdown();
        if timeout(STREAMS_GO_ON, &mut connection).await.is_err() {
            closing.cancel();
            let _ = timeout(DRAIN - STREAMS_GO_ON * 2, connection).await; // what is left then is cut
        }
    }

    /// When a connection has been used long enough.
    async fn time_to_go(&self, chain: &[CertificateDer<'static>]) {
        let old = Instant::now() + self.server.random.jitter(self.server.max_age, 0.2);
        loop {
            let look = old.min(Instant::now() + ASK_AGAIN.min(self.server.max_age));
            tokio::select! {
                () = tokio::time::sleep_until(look) => {}
                () = self.shutdown.requested() => return,
            }
            if look >= old || !self.server.credentials.still_admits(chain) {
                return;
            }
        }
    }
}

/// Who is at the other end, and the proof.
fn known(tls: &TlsStream<TcpStream>) -> Option<(Caller, Vec<CertificateDer<'static>>)> {
    let chain = tls.get_ref().1.peer_certificates()?;
    let caller = identity::caller(chain.first()?)?;
    Some((caller, chain.iter().map(|certificate| certificate.clone().into_owned()).collect()))
}

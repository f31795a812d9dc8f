//! The simulated network, as channels dial it and services are served on it.

use std::{convert::Infallible, net::IpAddr, time::Duration};

use carelink_platform::{
    grpc::{Caller, Channel, GrpcConfig, Network, Operator, OperatorProof, Peers, Stack, Stream},
    random::Random,
};
use http::Request;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tonic::{body::Body, service::Routes};
use tower::Service;
use turmoil::net::{TcpListener, TcpStream};

/// Where token-services listen.
const PORT: u16 = 8102;
/// What a connection may say nothing for, and then take to answer.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// The way from here to all token-services: the channel of a real process, over simulated connections.
pub(crate) fn to_token_service(replicas: &[&str], random: &Random) -> Channel {
    let resolve = |name: String| -> futures::future::BoxFuture<'static, std::io::Result<Vec<_>>> {
        Box::pin(async move {
            let (host, _) = name.rsplit_once(':').unwrap();
            Ok(vec![(turmoil::lookup(host), PORT).into()])
        })
    };
    let dial = |_, address| -> futures::future::BoxFuture<'static, Result<Box<dyn Stream>, tower::BoxError>> {
        Box::pin(async move { Ok(Box::new(TcpStream::connect(address).await?) as Box<dyn Stream>) })
    };
    let config = GrpcConfig { token: replicas.iter().map(|name| format!("{name}:{PORT}")).collect(), ..GrpcConfig::default() };
    Peers::new(config, Network::played(resolve, dial), random.clone()).channel("token-service").unwrap()
}

/// Serves a stack to whoever connects, until the host is gone.
pub(crate) async fn serve(stack: Stack) -> turmoil::Result {
    let listener = TcpListener::bind((IpAddr::from([0, 0, 0, 0]), PORT)).await?;
    let (_, health) = tonic_health::server::health_reporter();
    let health = Routes::new(health).prepare();
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new()).keep_alive_interval(KEEPALIVE).keep_alive_timeout(KEEPALIVE);
    loop {
        let (stream, peer) = listener.accept().await?;
        let (stack, health, caller) = (stack.clone(), health.clone(), caller(peer.ip()));
        let service = service_fn(move |mut request: Request<Incoming>| {
            let (mut stack, mut health) = (stack.clone(), health.clone());
            request.extensions_mut().insert(caller.clone());
            let request = request.map(Body::new);
            async move {
                if request.uri().path().starts_with("/grpc.health") {
                    health.call(request).await
                } else {
                    Ok::<_, Infallible>(stack.call(request).await.unwrap_or_else(|never| match never {}))
                }
            }
        });
        tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
    }
}

/// What a certificate would prove: here the host's name does.
fn caller(address: IpAddr) -> Caller {
    let host = turmoil::reverse_lookup(address).unwrap_or_default();
    match host.as_str() {
        "auth" => Caller::Service("auth-service"),
        "operator" => Caller::Operator(Operator { by: OperatorProof::Uid(0), claimed: None }),
        _ => Caller::Service("gateway"),
    }
}

//! The caller's end: one channel type for calls within the process and over a socket.

use std::{path::Path, time::Duration};

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::{
    Status,
    body::Body,
    codegen::http::{HeaderMap, HeaderValue, Request, Response},
    transport::Endpoint,
};
use tower::{BoxError, ServiceExt, util::BoxCloneSyncService};

use super::{Caller, Operator, OperatorProof, Stack, callers::CLAIMED_BY};
use crate::context::RequestContext;

/// What generated clients call through: `TokenServiceClient::new(channel)`.
///
/// Its error is a concrete type on purpose: over a boxed one the compiler cannot show that the client's futures are `Send`.
pub type Channel = BoxCloneSyncService<Request<Body>, Response<Body>, Status>;

/// Calls a stack of the same process as the service `name`: real layers and statuses, no HTTP/2.
pub fn in_process(stack: Stack, name: &'static str) -> Channel {
    local(stack, Caller::Service(name))
}

/// Calls a stack of the same process as the operator who runs it.
pub fn as_operator(stack: Stack) -> Channel {
    local(stack, Caller::Operator(Operator { by: OperatorProof::Uid(rustix::process::geteuid().as_raw()), claimed: None }))
}

fn local(stack: Stack, caller: Caller) -> Channel {
    BoxCloneSyncService::new(stack.map_err(|never| match never {}).map_request(move |mut request: Request<Body>| {
        outgoing(request.headers_mut());
        request.extensions_mut().insert(caller.clone());
        request
    }))
}

/// Calls whatever serves the Unix socket at `path` as an operator.
///
/// # Errors
/// Where nothing answers there.
pub async fn connect_unix(path: &Path, claimed: Option<String>) -> Result<Channel, BoxError> {
    let path = path.to_owned();
    let connector = tower::service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let channel =
        Endpoint::from_static("http://carelink.internal").connect_timeout(Duration::from_secs(5)).connect_with_connector(connector).await?;
    let claimed = claimed.and_then(|name| HeaderValue::from_str(&name).ok());
    Ok(BoxCloneSyncService::new(channel.map_err(|error| Status::from_error(error.into())).map_request(
        move |mut request: Request<Body>| {
            outgoing(request.headers_mut());
            if let Some(name) = &claimed {
                request.headers_mut().insert(CLAIMED_BY, name.clone());
            }
            request
        },
    )))
}

/// Sends the trace along.
pub(crate) fn outgoing_trace(headers: &mut HeaderMap) {
    let Some(context) = RequestContext::current() else { return };
    if let Ok(trace) = HeaderValue::from_str(&context.trace.to_traceparent()) {
        headers.insert("traceparent", trace);
    }
}

/// Sends the trace and what is left of the deadline along (T4).
fn outgoing(headers: &mut HeaderMap) {
    outgoing_trace(headers);
    if let Some(left) = RequestContext::remaining() {
        headers.insert("grpc-timeout", grpc_timeout(left));
    }
}

/// At most eight digits and a unit, rounded down.
pub(crate) fn grpc_timeout(left: Duration) -> HeaderValue {
    let text =
        if left.as_micros() < 100_000_000 { format!("{}u", left.as_micros()) } else { format!("{}m", left.as_millis().min(99_999_999)) };
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("0u"))
}

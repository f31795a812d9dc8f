//! The way of every request, in this order: its trace, its meter, a panic caught; then whether it can be read in one way only, whether
//! its host is served here, the door where a password would be hashed (C3), its body, a place among those being answered, its deadline (T4); then the handler. One function
//! instead of a tower of layers.

use std::{
    borrow::Cow,
    future::Future,
    net::{IpAddr, SocketAddr},
    panic::AssertUnwindSafe,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use axum::{body::Body, extract::Request, response::Response};
use bytes::Bytes;
use carelink_platform::{
    context::{RequestContext, TraceContext},
    errors::Reason,
    telemetry::{self, SpanKind},
};
use carelink_proto::token::Origin;
use futures::FutureExt;
use http::{
    Extensions, HeaderName, HeaderValue, Method, Version,
    header::{CACHE_CONTROL, CONNECTION, STRICT_TRANSPORT_SECURITY, USER_AGENT, X_CONTENT_TYPE_OPTIONS},
    request::Parts,
};
use tokio::{sync::Semaphore, time::Instant};
use tracing::Instrument;

use crate::{
    answer::Surface,
    app::App,
    body::{self, BodyError},
    config::{BODY_TIMEOUT, MAX_CONCURRENT},
    framing,
    meters::Meter,
    proxies,
    rarely::Rarely,
};

/// User agents are cut to so many bytes.
const MAX_USER_AGENT: usize = 256;

const TRACE_ID: HeaderName = HeaderName::from_static("x-trace-id");

/// A year, for this host alone: whoever once came by TLS does not come without.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// The other end of a connection; in every request's extensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// Whether the connection is.
    pub(crate) encrypted: bool,
}

/// A path that is served, as spans and metrics know it.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) path: &'static str,
    pub(crate) surface: Surface,
    pub(crate) deadline: Duration,
    pub(crate) meter: Meter,
    /// Requests that may be answered at the same time.
    places: Semaphore,
    /// Whether a POST has a password hashed.
    hashes: bool,
    late: Rarely,
}

impl Route {
    pub(crate) fn new(path: &'static str, surface: Surface, deadline: Duration) -> Self {
        let (meter, places) = (Meter::new(path), Semaphore::new(MAX_CONCURRENT));
        Self { path, surface, deadline, meter, places, hashes: false, late: Rarely::new() }
    }

    /// A POST here has a password hashed, and is turned away while there is no room for that.
    pub(crate) fn hashing(self) -> Self {
        Self { hashes: true, ..self }
    }
}

/// A request as handlers see it.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) head: Parts,
    pub(crate) body: Bytes,
    /// The address of whoever asks.
    pub(crate) client: IpAddr,
}

impl Call {
    /// Where it came from, for the trail.
    pub(crate) fn origin(&self) -> Origin {
        Origin { network: self.client.to_string(), user_agent: self.user_agent() }
    }

    fn user_agent(&self) -> String {
        let bytes = self.head.headers.get(USER_AGENT).map(HeaderValue::as_bytes).unwrap_or_default();
        let text = String::from_utf8_lossy(bytes);
        let end = (0..=MAX_USER_AGENT.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.get(..end).unwrap_or_default().to_owned()
    }
}

/// Takes a request through to its answer.
pub(crate) async fn pass<H, F>(app: Arc<App>, route: Arc<Route>, request: Request, handler: H) -> Response
where
    H: FnOnce(Arc<App>, Call) -> F,
    F: Future<Output = Response> + Send,
{
    let began = Instant::now();
    let (method, version) = (request.method().clone(), request.version());
    let encrypted = request.extensions().get::<Peer>().is_some_and(|peer| peer.encrypted);
    let mut trace = trace_of(&app, &request);
    let admitted = if route.hashes && method == Method::POST { app.door.pass() } else { Ok(()) };
    if admitted.is_err() {
        trace.sampled = false; // there will be many, and none of them says more than the meter
    }
    let name: Cow<'_, str> = if trace.sampled { format!("{method} {}", route.path).into() } else { route.path.into() };
    let (span, trace) = telemetry::span(SpanKind::Server, &name, trace);
    let context = RequestContext { trace, deadline: None };
    // Pinned where they are: each wrapper would move what it wraps, and these are large.
    let answered = pin!(AssertUnwindSafe(answer(app, &route, request, handler, (trace, began, admitted))).catch_unwind());
    let answered = pin!(async {
        answered.await.unwrap_or_else(|_| {
            tracing::error!(route = route.path, "a request panicked");
            route.surface.tell(Reason::Internal, Reason::Internal.title(), None)
        })
    });
    let mut response = context.scope(answered).instrument(span.clone()).await;
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if encrypted {
        headers.insert(STRICT_TRANSPORT_SECURITY, HSTS);
    }
    if let Ok(id) = HeaderValue::from_maybe_shared(Bytes::from(trace.trace_hex())) {
        headers.insert(TRACE_ID, id);
    }
    if version >= Version::HTTP_2 {
        headers.remove(CONNECTION); // a stream is reset instead
    }
    if !span.is_none() {
        span.record("outcome", response.status().as_str());
    }
    route.meter.record(&method, response.status(), began);
    response
}

async fn answer<H, F>(
    app: Arc<App>,
    route: &Route,
    request: Request,
    handler: H,
    (trace, began, admitted): (TraceContext, Instant, Result<(), Duration>),
) -> Response
where
    H: FnOnce(Arc<App>, Call) -> F,
    F: Future<Output = Response> + Send,
{
    let (head, body) = request.into_parts();
    if !framing::is_sound(&head) {
        return closing(route.surface.tell(Reason::InputInvalid, "The request can be read in more than one way", None));
    }
    if !app.hosts.admit(&head.uri, &head.headers) {
        let text = "This host name is not served here; to change that, add it to gateway.allowed_hosts (ALLOWED_HOSTS)";
        return route.surface.tell(Reason::HostNotAllowed, text, None);
    }
    if let Err(retry_after) = admitted {
        app.throttled.at_the_door();
        let read = body::discard(&app.bodies, &head.headers, body, BODY_TIMEOUT).await;
        let refused = route.surface.throttled(retry_after);
        return if read { refused } else { closing(refused) };
    }
    let body = match body::read(&app.bodies, &head.headers, body, BODY_TIMEOUT).await {
        Ok(body) => body,
        Err(error) => return unread(route.surface, error),
    };
    let Ok(_place) = route.places.try_acquire() else {
        return route.surface.tell(Reason::Overloaded, Reason::Overloaded.title(), None);
    };
    let client = proxies::client(&app.config.gateway.trusted_proxies, peer(&head.extensions), &head.headers);
    let deadline = if body.is_empty() { began } else { Instant::now() } + route.deadline;
    let context = RequestContext { trace, deadline: Some(deadline) };
    let handled = pin!(handler(app, Call { head, body, client }));
    match tokio::time::timeout_at(deadline, context.scope(handled)).await {
        Ok(response) => response,
        Err(_) => {
            if route.late.now() {
                tracing::warn!(route = route.path, "requests take longer than their deadline");
            }
            route.surface.tell(Reason::DeadlineExceeded, Reason::DeadlineExceeded.title(), None)
        }
    }
}

fn unread(surface: Surface, error: BodyError) -> Response {
    let too_long = || surface.tell(Reason::BodyTooLarge, Reason::BodyTooLarge.title(), None);
    match error {
        BodyError::TooLong => too_long(),
        BodyError::FarTooLong => closing(too_long()),
        BodyError::Crowded => closing(surface.tell(Reason::Overloaded, Reason::Overloaded.title(), None)),
        BodyError::Late => closing(surface.tell(Reason::RequestTimeout, Reason::RequestTimeout.title(), None)),
        BodyError::Broken => closing(surface.tell(Reason::InputInvalid, "The body broke off", None)),
    }
}

/// What follows on this connection could not be told from the rest of the body.
fn closing(mut response: Response) -> Response {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The trace a request belongs to: its caller's, or one that begins here. Whether it is recorded is for our own proxies and for
/// ourselves to say: a stranger could make us record everything.
fn trace_of(app: &App, request: &http::Request<Body>) -> TraceContext {
    let given = request.headers().get("traceparent").and_then(|value| value.to_str().ok()).and_then(TraceContext::parse);
    match given {
        Some(given) if proxies::trusts(&app.config.gateway.trusted_proxies, peer(request.extensions())) => given,
        Some(given) => TraceContext { sampled: telemetry::sample(&app.random), ..given },
        None => app.traces.root(telemetry::sample(&app.random)),
    }
}

fn peer(extensions: &Extensions) -> IpAddr {
    extensions.get::<Peer>().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.address.ip())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn a_user_agent_is_cut_between_letters() {
        let agent = |agent: &[u8]| {
            let request = Request::builder().header(USER_AGENT, HeaderValue::from_bytes(agent).unwrap()).body(()).unwrap();
            Call { head: request.into_parts().0, body: Bytes::new(), client: [127, 0, 0, 1].into() }.origin().user_agent
        };
        assert_eq!(agent("ä".repeat(200).as_bytes()), "ä".repeat(128));
        assert_eq!(agent(&[b"x".as_slice(), "ä".repeat(200).as_bytes()].concat()).len(), 255);
        assert_eq!(agent(b"\xff"), "\u{fffd}");
    }
}

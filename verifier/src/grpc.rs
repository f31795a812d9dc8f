//! The same for gRPC: a tower layer that may ask while stale, and an interceptor that never waits. Refusals are statuses with a stable
//! reason, as CareLink's own services give them.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::{Request, Response};
use tonic::{Code, Status, server::NamedService, service::Interceptor};
use tonic_types::{ErrorDetails, StatusExt};
use tower::{Layer, Service};

use crate::{
    layer::{Gate, Turned},
    refusal::Refusal,
    verifier::{Purpose, Verifier},
};

/// `ErrorInfo.domain` of every status.
const DOMAIN: &str = "carelink";

/// Lets only calls with a good `authorization: Bearer` token through, with `Arc<Claims>` in their extensions.
///
/// Others get UNAUTHENTICATED, or UNAVAILABLE with a `RetryInfo` where we cannot tell (V3); the `ErrorInfo` has the reason.
///
/// ```no_run
/// use carelink_verifier::{Config, GrpcBearerLayer, Verifier, channel};
/// use tonic::transport::Server;
///
/// # async fn example(connection: tonic::transport::Channel) -> Result<(), Box<dyn std::error::Error>> {
/// # let (_, health) = tonic_health::server::health_reporter();
/// let verifier = Verifier::start(Config::named("ward"), channel(connection));
/// Server::builder()
///     .layer(GrpcBearerLayer::new(verifier).or_service("ward-board"))
///     .add_service(health)
///     .serve("127.0.0.1:8200".parse()?)
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct GrpcBearerLayer {
    gate: Gate,
}

impl GrpcBearerLayer {
    /// For an edge: see [`Purpose::Edge`].
    pub fn new(verifier: Verifier) -> Self {
        Self { gate: Gate::new(verifier) }
    }

    /// For methods with another purpose.
    #[must_use]
    pub fn purpose(self, purpose: Purpose) -> Self {
        Self { gate: Gate { purpose, ..self.gate } }
    }

    /// Also lets services through whose token is for `audience`, with `Arc<ServiceClaims>` in the extensions instead.
    #[must_use]
    pub fn or_service(self, audience: &str) -> Self {
        Self { gate: Gate { audience: Some(audience.into()), ..self.gate } }
    }
}

impl<S> Layer<S> for GrpcBearerLayer {
    type Service = GrpcBearer<S>;

    fn layer(&self, inner: S) -> GrpcBearer<S> {
        GrpcBearer { inner, gate: self.gate.clone() }
    }
}

/// The service that [`GrpcBearerLayer`] makes.
#[derive(Clone)]
pub struct GrpcBearer<S> {
    inner: S,
    gate: Gate,
}

impl<S: NamedService> NamedService for GrpcBearer<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, B, R> Service<Request<B>> for GrpcBearer<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let unready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, unready);
        let gate = self.gate.clone();
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            match gate.admit(&parts.headers, &mut parts.extensions).await {
                Ok(()) => inner.call(Request::from_parts(parts, body)).await,
                Err(turned) => Ok(status(&turned).into_http()),
            }
        })
    }
}

/// The layer's rules as a tonic interceptor: `WardServer::with_interceptor(ward, BearerInterceptor::new(verifier))`.
///
/// An interceptor cannot wait, so a stale verifier lets nobody through here; the layer asks token-service instead. Prefer it.
#[derive(Clone)]
pub struct BearerInterceptor {
    gate: Gate,
}

impl BearerInterceptor {
    /// Lets users through.
    pub fn new(verifier: Verifier) -> Self {
        Self { gate: Gate::new(verifier) }
    }

    /// Also lets services through whose token is for `audience`.
    #[must_use]
    pub fn or_service(self, audience: &str) -> Self {
        Self { gate: Gate { audience: Some(audience.into()), ..self.gate } }
    }
}

impl Interceptor for BearerInterceptor {
    fn call(&mut self, request: tonic::Request<()>) -> Result<tonic::Request<()>, Status> {
        let (metadata, mut extensions, ()) = request.into_parts();
        self.gate.admit_at_once(metadata.as_ref(), &mut extensions).map_err(|turned| status(&turned))?;
        Ok(tonic::Request::from_parts(metadata, extensions, ()))
    }
}

fn status(turned: &Turned) -> Status {
    match turned {
        Turned::NoToken => with_reason(Code::Unauthenticated, "Authentication credentials were not provided", "token_missing"),
        Turned::Refused(refusal) => refusal.into(),
    }
}

fn with_reason(code: Code, message: &str, reason: &str) -> Status {
    Status::with_error_details(code, message, ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new()))
}

/// UNAUTHENTICATED, or UNAVAILABLE where it says something about us; with the stable reason.
impl From<&Refusal> for Status {
    fn from(refusal: &Refusal) -> Self {
        let Some(wait) = refusal.retry_after() else {
            return with_reason(Code::Unauthenticated, &refusal.to_string(), refusal.reason());
        };
        let mut details = ErrorDetails::with_error_info(refusal.reason(), DOMAIN, HashMap::new());
        details.set_retry_info(Some(wait));
        Self::with_error_details(Code::Unavailable, refusal.to_string(), details)
    }
}

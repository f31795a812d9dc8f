//! A tower layer for HTTP services: the claims of a good bearer token go into the request's extensions, everything else is answered here.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Extensions, HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use serde_json::json;
use tower::{Layer, Service};

use crate::{
    activity::Use,
    claims::Claims,
    refusal::Refusal,
    service::ServiceClaims,
    verifier::{Purpose, Verifier},
};

/// Lets only requests with a good `Authorization: Bearer` token through, with `Arc<Claims>` in their extensions.
///
/// Others get 401 with `WWW-Authenticate` (RFC 6750), or 503 with `Retry-After` where we cannot tell (V3), as
/// `application/problem+json` with a stable `code`.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use axum::{Extension, Router, routing::get};
/// use carelink_verifier::{BearerLayer, Claims, Config, Verifier, channel};
///
/// # async fn example(connection: tonic::transport::Channel) {
/// let verifier = Verifier::start(Config::named("ward"), channel(connection));
/// let app: Router = Router::new()
///     .route("/me", get(|Extension(claims): Extension<Arc<Claims>>| async move { claims.user_id.to_string() }))
///     .layer(BearerLayer::new(verifier));
/// # }
/// ```
#[derive(Clone)]
pub struct BearerLayer {
    gate: Gate,
}

impl BearerLayer {
    /// For an edge: see [`Purpose::Edge`].
    pub fn new(verifier: Verifier) -> Self {
        Self { gate: Gate::new(verifier) }
    }

    /// For routes with another purpose.
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

impl<S> Layer<S> for BearerLayer {
    type Service = Bearer<S>;

    fn layer(&self, inner: S) -> Bearer<S> {
        Bearer { inner, gate: self.gate.clone() }
    }
}

/// The service that [`BearerLayer`] makes.
#[derive(Clone)]
pub struct Bearer<S> {
    inner: S,
    gate: Gate,
}

impl<S, B, R> Service<Request<B>> for Bearer<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: From<String>,
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
                Err(Turned::NoToken) => Ok(no_token()),
                Err(Turned::Refused(refusal)) => Ok(refused(refusal)),
            }
        })
    }
}

/// What both layers let through.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) verifier: Verifier,
    pub(crate) purpose: Purpose,
    /// Whom service tokens must be for; `None`: none are accepted.
    pub(crate) audience: Option<Arc<str>>,
}

/// Who is not let through, and why.
pub(crate) enum Turned {
    NoToken,
    Refused(Refusal),
}

impl Gate {
    pub(crate) fn new(verifier: Verifier) -> Self {
        Self { verifier, purpose: Purpose::Edge, audience: None }
    }

    /// Puts who is let through into the extensions.
    pub(crate) async fn admit(&self, headers: &HeaderMap, extensions: &mut Extensions) -> Result<(), Turned> {
        let token = bearer(headers)?;
        match self.verifier.check_for(token, self.purpose, used(headers)).await {
            Ok(claims) => drop(extensions.insert::<Arc<Claims>>(claims)),
            Err(Refusal::TypeWrong) => self.admit_service(token, extensions)?,
            Err(refusal) => return Err(Turned::Refused(refusal)),
        }
        Ok(())
    }

    /// The same without waiting: where it would have to ask, nobody is let through.
    pub(crate) fn admit_at_once(&self, headers: &HeaderMap, extensions: &mut Extensions) -> Result<(), Turned> {
        let token = bearer(headers)?;
        match self.verifier.verify_for(token, used(headers)) {
            Ok(claims) => drop(extensions.insert::<Arc<Claims>>(claims)),
            Err(Refusal::TypeWrong) => self.admit_service(token, extensions)?,
            Err(refusal) => return Err(Turned::Refused(refusal)),
        }
        Ok(())
    }

    fn admit_service(&self, token: &str, extensions: &mut Extensions) -> Result<(), Turned> {
        let audience = self.audience.as_deref().ok_or(Turned::Refused(Refusal::TypeWrong))?;
        let claims = self.verifier.verify_service(token, audience).map_err(Turned::Refused)?;
        extensions.insert::<Arc<ServiceClaims>>(claims);
        Ok(())
    }
}

/// A page that asks by itself says so, and keeps nobody signed in (S12). Nobody wins anything by saying it.
const BACKGROUND: &str = "x-carelink-background";

fn used(headers: &HeaderMap) -> Use {
    if headers.contains_key(BACKGROUND) { Use::Background } else { Use::Active }
}

/// One header, one scheme in any case (RFC 9110 11.1), one token.
fn bearer(headers: &HeaderMap) -> Result<&str, Turned> {
    const NONSENSE: Turned = Turned::Refused(Refusal::Malformed);
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Err(Turned::NoToken),
        (Some(value), None) => value,
        (Some(_), Some(_)) => return Err(NONSENSE),
    };
    let value = value.to_str().map_err(|_| NONSENSE)?;
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim_matches(' ')),
        None if value.eq_ignore_ascii_case("bearer") => Err(NONSENSE),
        _ => Err(Turned::NoToken),
    }
}

fn no_token<R: From<String>>() -> Response<R> {
    let challenge = HeaderValue::from_static("Bearer");
    problem(
        StatusCode::UNAUTHORIZED,
        "token_missing",
        "Authentication credentials were not provided",
        (header::WWW_AUTHENTICATE, challenge),
    )
}

fn refused<R: From<String>>(refusal: Refusal) -> Response<R> {
    let (status, extra) = match refusal.retry_after() {
        Some(wait) => (StatusCode::SERVICE_UNAVAILABLE, (header::RETRY_AFTER, HeaderValue::from(wait.as_secs()))),
        None => {
            let challenge = HeaderValue::from_static(r#"Bearer error="invalid_token""#);
            (StatusCode::UNAUTHORIZED, (header::WWW_AUTHENTICATE, challenge))
        }
    };
    problem(status, refusal.reason(), &refusal.to_string(), extra)
}

fn problem<R: From<String>>(status: StatusCode, code: &str, title: &str, extra: (header::HeaderName, HeaderValue)) -> Response<R> {
    let body = json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "code": code }).to_string();
    let mut response = Response::new(R::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(extra.0, extra.1);
    response
}

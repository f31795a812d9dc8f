//! A tower layer for HTTP services: the claims of a good bearer token go into the request's extensions, everything else is answered here.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use serde_json::json;
use tower::{Layer, Service};

use crate::{
    claims::Claims,
    refusal::Refusal,
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
    verifier: Verifier,
    purpose: Purpose,
}

impl BearerLayer {
    /// For an edge: see [`Purpose::Edge`].
    pub fn new(verifier: Verifier) -> Self {
        Self { verifier, purpose: Purpose::Edge }
    }

    /// For routes with another purpose.
    #[must_use]
    pub fn purpose(self, purpose: Purpose) -> Self {
        Self { purpose, ..self }
    }
}

impl<S> Layer<S> for BearerLayer {
    type Service = Bearer<S>;

    fn layer(&self, inner: S) -> Bearer<S> {
        Bearer { inner, layer: self.clone() }
    }
}

/// The service that [`BearerLayer`] makes.
#[derive(Clone)]
pub struct Bearer<S> {
    inner: S,
    layer: BearerLayer,
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

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let unready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, unready);
        let BearerLayer { verifier, purpose } = self.layer.clone();
        Box::pin(async move {
            let checked = match bearer(request.headers()) {
                Presented::Nothing => return Ok(no_token()),
                Presented::Nonsense => Err(Refusal::Malformed),
                Presented::Token(token) => verifier.check(token, purpose).await,
            };
            match checked {
                Ok(claims) => {
                    request.extensions_mut().insert::<Arc<Claims>>(claims);
                    inner.call(request).await
                }
                Err(refusal) => Ok(refused(refusal)),
            }
        })
    }
}

/// What a request brings.
enum Presented<'a> {
    Nothing,
    Nonsense,
    Token(&'a str),
}

/// One header, one scheme in any case (RFC 9110 11.1), one token.
fn bearer(headers: &HeaderMap) -> Presented<'_> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Presented::Nothing,
        (Some(value), None) => value,
        (Some(_), Some(_)) => return Presented::Nonsense,
    };
    let Ok(value) = value.to_str() else { return Presented::Nonsense };
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Presented::Token(token.trim_matches(' ')),
        None if value.eq_ignore_ascii_case("bearer") => Presented::Nonsense,
        _ => Presented::Nothing,
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

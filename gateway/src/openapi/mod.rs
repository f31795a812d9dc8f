//! What this server answers, for machines (/openapi.json, OpenAPI 3.1) and for people (/docs).
//!
//! The document is made once at the start, from the table of routes and the types that handlers read and write: `document`. The page
//! shows it with a script of our own; neither asks another host for anything, and the policy that goes with it lets them ask no other.

mod document;

use axum::response::Response;
use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY},
};

pub(crate) use self::document::made;
use crate::{
    answer::{JSON, with_body},
    app::App,
    edge::Call,
    routes::Outcome,
};

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const SCRIPT: HeaderValue = HeaderValue::from_static("text/javascript; charset=utf-8");
const STYLE: HeaderValue = HeaderValue::from_static("text/css; charset=utf-8");
/// Our own script and style, our own document, and nothing else from anywhere, inline or framed.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'; require-trusted-types-for 'script'",
);
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// `GET /openapi.json`.
pub(crate) async fn document(app: &App, _: Call) -> Outcome {
    Ok(with_body(StatusCode::OK, JSON, app.document.clone()))
}

/// `GET /docs`.
pub(crate) async fn page(_: &App, _: Call) -> Outcome {
    Ok(guarded(HTML, include_str!("docs.html")))
}

/// `GET /docs/docs.js`.
pub(crate) async fn script(_: &App, _: Call) -> Outcome {
    Ok(guarded(SCRIPT, include_str!("docs.js")))
}

/// `GET /docs/docs.css`.
pub(crate) async fn style(_: &App, _: Call) -> Outcome {
    Ok(guarded(STYLE, include_str!("docs.css")))
}

fn guarded(kind: HeaderValue, text: &'static str) -> Response {
    let mut response = with_body(StatusCode::OK, kind, Bytes::from_static(text.as_bytes()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    response
}

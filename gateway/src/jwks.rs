//! The public keys, for whoever verifies access tokens without us (K2). Kept for five minutes, as verifiers are told (K1).

use aws_lc_rs::digest::{SHA256, digest};
use axum::response::Response;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use carelink_platform::errors::Reason;
use http::{
    HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH},
};

use crate::{
    answer::{JSON, with_body},
    app::App,
    edge::Call,
    routes::Refused,
};

pub(crate) const PATH: &str = "/.well-known/jwks.json";

/// Answers with the key set.
pub(crate) async fn serve(app: &App, call: Call) -> Result<Response, Refused> {
    let keys = app.verifier.jwks().ok_or(Reason::Unready)?;
    let tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(digest(&SHA256, &keys)));
    let known = call.head.headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let unchanged =
        known.flat_map(|tags| tags.split(',')).any(|one| matches!(one.trim(), "*") || one.trim().trim_start_matches("W/") == tag);
    let mut response = with_body(StatusCode::OK, JSON, keys);
    if unchanged {
        response = Response::default();
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response.headers_mut().remove(CONTENT_TYPE);
    }
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    Ok(response)
}

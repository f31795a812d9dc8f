//! Who am I? The token says it; only the name is looked up, and remembered for a minute at most (0 RPCs on a remembered name).

use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use carelink_platform::errors::Reason;
use carelink_proto::auth::{GetUserRequest, User, get_user_request::By};
use carelink_verifier::{Claims, Purpose, Refusal};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header::AUTHORIZATION};
use moka::sync::Cache;
use serde::Serialize;
use uuid::Uuid;

use super::answers::{self, Answer, GET_ONLY};
use crate::{
    answer::{JSON, with_body},
    app::App,
    config::{MAX_NAMES, NAME_TTL},
    edge::Call,
};

/// Answers that were given lately, by subject and number.
#[derive(Debug)]
pub(crate) struct Names(Cache<(Uuid, u32), Bytes>);

impl Names {
    pub(crate) fn new() -> Self {
        Self(Cache::builder().max_capacity(MAX_NAMES).time_to_live(NAME_TTL).build())
    }
}

/// `GET /account/me/`.
pub(crate) async fn me(app: Arc<App>, call: Call) -> Response {
    answers::finish(who(&app, call).await, GET_ONLY)
}

async fn who(app: &App, call: Call) -> Result<Response, Answer> {
    let token = bearer(&call.head.headers)?;
    let claims = app.verifier.check(token, Purpose::Edge).await.map_err(answers::bearer_refused)?;
    match call.head.method {
        Method::GET | Method::HEAD => {}
        Method::OPTIONS => return Err(answers::described(&app.metadata.me)),
        ref other => return Err(answers::method_not_allowed(other)),
    }
    let body = match app.names.0.get(&(claims.subject, claims.user_id)) {
        Some(known) => known,
        None => look_up(app, &claims).await?,
    };
    Ok(with_body(StatusCode::OK, JSON, body))
}

async fn look_up(app: &App, claims: &Claims) -> Result<Bytes, Answer> {
    let request = GetUserRequest { by: Some(By::UserId(claims.user_id.into())) };
    let user = match app.clients.get_user(request).await {
        Ok(user) => user,
        Err(failure) if failure.reason() == Reason::UserNotFound => None,
        Err(failure) => return Err(answers::failed(&failure)),
    };
    // A number that belongs to another subject now is nobody's answer.
    let user = user.filter(|user| user.id == claims.subject.as_bytes()).ok_or_else(answers::user_not_found)?;
    if !user.active {
        return Err(answers::bearer_refused(Refusal::Revoked)); // the revocation is on its way (U3)
    }
    let body = rendered(&user);
    app.names.0.insert((claims.subject, claims.user_id), body.clone());
    Ok(body)
}

fn rendered(user: &User) -> Bytes {
    #[derive(Serialize)]
    struct Me<'a> {
        id: i64,
        username: &'a str,
    }
    serde_json::to_vec(&Me { id: user.user_id, username: &user.username }).unwrap_or_default().into()
}

/// The token of an Authorization header, as SimpleJWT takes it apart: another scheme counts as no token at all.
fn bearer(headers: &HeaderMap) -> Result<&str, Answer> {
    let mut values = headers.get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes);
    let value = values.next().unwrap_or_default();
    if values.next().is_some() {
        return Err(answers::bad_authorization()); // whoever stands before us may have read the other one
    }
    if let Some(token) = value.strip_prefix(b"Bearer ")
        && !(token.is_empty() || token.contains(&b' ') || token.contains(&b'\t'))
    {
        return text(token); // as every client writes it, without looking at each letter
    }
    let mut parts = value.split(u8::is_ascii_whitespace).filter(|part| !part.is_empty());
    match (parts.next(), parts.next(), parts.next()) {
        (Some(b"Bearer"), Some(token), None) => text(token),
        (Some(b"Bearer"), ..) => Err(answers::bad_authorization()),
        _ => Err(answers::no_credentials()),
    }
}

fn text(token: &[u8]) -> Result<&str, Answer> {
    std::str::from_utf8(token).map_err(|_| answers::bearer_refused(Refusal::Malformed))
}

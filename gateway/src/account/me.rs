//! Who am I? The token says it; only the name is looked up, and remembered for a minute at most (0 RPCs on a remembered name).

use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use carelink_platform::errors::{Failure, Reason};
use carelink_proto::auth::{GetUserRequest, User, get_user_request::By};
use carelink_verifier::{Claims, Purpose, Refusal};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header::AUTHORIZATION};
use moka::sync::Cache;
use serde::{Deserialize, Serialize};
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
    let claims = asker(app, &call).await?;
    Ok(with_body(StatusCode::OK, JSON, known(app, &claims).await?))
}

/// Everything that is told of whoever asks.
pub(super) async fn user(app: &App, call: &Call) -> Result<User, Answer> {
    let claims = asker(app, call).await?;
    Ok(looked_up(app, &claims).await?)
}

/// Whose token came along with a GET; everything else is answered here.
async fn asker(app: &App, call: &Call) -> Result<Arc<Claims>, Answer> {
    let token = bearer(&call.head.headers)?;
    let claims = app.verifier.check(token, Purpose::Edge).await.map_err(answers::bearer_refused)?;
    match call.head.method {
        Method::GET | Method::HEAD => Ok(claims),
        Method::OPTIONS => Err(answers::described(&app.metadata.me)),
        ref other => Err(answers::method_not_allowed(other)),
    }
}

impl From<Nobody> for Answer {
    fn from(nobody: Nobody) -> Self {
        match nobody {
            Nobody::Gone => answers::user_not_found(),
            Nobody::Disabled => answers::bearer_refused(Refusal::Revoked),
            Nobody::Unknown(failure) => answers::failed(&failure),
        }
    }
}

/// Why nobody can be named.
enum Nobody {
    Gone,
    /// The revocation is on its way (U3).
    Disabled,
    Unknown(Failure),
}

/// What is remembered of whoever a token names, or else looked up.
async fn known(app: &App, claims: &Claims) -> Result<Bytes, Nobody> {
    let key = (claims.subject, claims.user_id);
    if let Some(known) = app.names.0.get(&key) {
        return Ok(known);
    }
    let body = rendered(&looked_up(app, claims).await?);
    app.names.0.insert(key, body.clone());
    Ok(body)
}

async fn looked_up(app: &App, claims: &Claims) -> Result<User, Nobody> {
    let user = match app.clients.get_user(GetUserRequest { by: Some(By::UserId(claims.user_id.into())) }).await {
        Ok(user) => user,
        Err(failure) if failure.reason() == Reason::UserNotFound => None,
        Err(failure) => return Err(Nobody::Unknown(failure)),
    };
    // A number that belongs to another subject now is nobody's answer.
    let user = user.filter(|user| user.id == claims.subject.as_bytes()).ok_or(Nobody::Gone)?;
    if user.active { Ok(user) } else { Err(Nobody::Disabled) }
}

/// The name of whoever a token names.
pub(crate) async fn name_of(app: &App, claims: &Claims) -> Result<String, Failure> {
    #[derive(Deserialize)]
    struct Named {
        username: String,
    }
    let body = known(app, claims).await.map_err(|nobody| match nobody {
        Nobody::Gone | Nobody::Disabled => Failure::new(Reason::UserInactive),
        Nobody::Unknown(failure) => failure,
    })?;
    let Named { username } = serde_json::from_slice(&body).map_err(|error| Failure::new(Reason::Internal).caused_by(error))?;
    Ok(username)
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

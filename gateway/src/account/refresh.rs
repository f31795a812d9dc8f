//! Refreshing: token-service decides (1 RPC).

use std::sync::Arc;

use axum::response::Response;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use carelink_platform::context::RequestContext;
use carelink_proto::token::RefreshRequest;
use carelink_verifier::Verifier;
use serde::Deserialize;

use super::{
    answers::{self, Answer, POST_ONLY},
    fields::strip,
    posted,
};
use crate::{app::App, config::DEADLINE, edge::Call};

/// `POST /account/token/refresh/`.
pub(crate) async fn refresh(app: Arc<App>, call: Call) -> Response {
    answers::finish(rotate(&app, call).await, POST_ONLY)
}

async fn rotate(app: &App, mut call: Call) -> Result<Response, Answer> {
    let [token] = posted(&mut call, ["refresh"], &app.metadata.refresh).await?;
    let token = strip(&token);
    app.limits.refresh(call.client, || session_of(token)).await.map_err(answers::throttled)?;
    let request = RefreshRequest {
        refresh_token: token.to_owned(),
        origin: Some(call.origin()),
        deadline_us: deadline_us(&app.verifier),
        call: app.random.bytes::<16>().to_vec(),
    };
    let tokens = app.clients.refresh(request).await.map_err(|failure| answers::token_refused(&failure))?;
    answers::refreshed(tokens.as_ref())
}

/// When this refresh is late by the database's time, wherever it was held up on its way (T4); 0 where that time is not known for certain.
pub(crate) fn deadline_us(verifier: &Verifier) -> i64 {
    let left = RequestContext::remaining().unwrap_or(DEADLINE).min(DEADLINE);
    verifier.time_us().map_or(0, |now| now.saturating_add(i64::try_from(left.as_micros()).unwrap_or(i64::MAX)))
}

/// Which session a token claims to belong to: `sid`, or a predecessor's `jti`. Unverified; for limits only, and nobody can guess one.
pub(crate) fn session_of(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        sid: Option<String>,
        jti: Option<String>,
    }
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let named: Named = serde_json::from_slice(&payload).ok()?;
    named.sid.or(named.jti)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(payload: &str) -> Option<String> {
        session_of(&format!("e30.{}.x", URL_SAFE_NO_PAD.encode(payload)))
    }

    #[test]
    fn a_token_names_its_session_or_none() {
        assert_eq!(named(r#"{"sid":"a","jti":"b","gen":1}"#).as_deref(), Some("a"));
        assert_eq!(named(r#"{"jti":"b","exp":1}"#).as_deref(), Some("b"));
        for payload in ["{}", "[]", "", "x", r#"{"sid":1}"#, "null"] {
            assert_eq!(named(payload), None, "{payload}");
        }
        for token in ["", ".", "a", "a.b.c", "a.%%%.c"] {
            assert_eq!(session_of(token), None, "{token}");
        }
    }
}

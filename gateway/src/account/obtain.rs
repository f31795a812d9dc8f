//! Signing in: auth-service says who it is, token-service believes its signature (2 RPCs).

use std::sync::Arc;

use axum::response::Response;
use carelink_proto::{
    auth::VerifyPasswordRequest,
    token::{CreateSessionRequest, Origin},
};

use super::{
    answers::{self, Answer, POST_ONLY},
    fields::strip,
    origin, posted, user_agent,
};
use crate::{app::App, edge::Call};

/// `POST /account/token/`.
pub(crate) async fn obtain(app: Arc<App>, call: Call) -> Response {
    answers::finish(sign_in(&app, call).await, POST_ONLY)
}

async fn sign_in(app: &App, mut call: Call) -> Result<Response, Answer> {
    let names = [app.config.gateway.username_field.as_str(), "password"];
    let [username, password] = posted(&mut call, names, &app.metadata.obtain).await?;
    app.limits.sign_in(call.client, strip(&username)).await.map_err(|throttled| {
        app.throttled.away(call.client, throttled.scope, user_agent(&call));
        answers::throttled(throttled)
    })?;
    let origin = origin(&call);
    let Origin { network, user_agent } = origin.clone();
    let proof = VerifyPasswordRequest { username, password, trim: true, network, user_agent };
    let assertion = app.clients.verify_password(proof).await.map_err(|failure| answers::sign_in_refused(&failure))?;
    let session = CreateSessionRequest { assertion, origin: Some(origin) };
    let tokens = app.clients.create_session(session).await.map_err(|failure| answers::sign_in_refused(&failure))?;
    answers::signed_in(tokens.as_ref())
}

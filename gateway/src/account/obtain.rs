//! Signing in: auth-service says who it is, token-service believes its signature (2 RPCs).

use std::sync::Arc;

use axum::response::Response;
use carelink_proto::{
    auth::{VerifyPasswordRequest, VerifyPasswordResponse},
    token::CreateSessionRequest,
};

use super::{
    answers::{self, Answer, POST_ONLY},
    posted,
};
use crate::{app::App, edge::Call};

/// `POST /account/token/`.
pub(crate) async fn obtain(app: Arc<App>, call: Call) -> Response {
    answers::finish(sign_in(&app, call).await, POST_ONLY)
}

async fn sign_in(app: &App, mut call: Call) -> Result<Response, Answer> {
    let names = [app.config.gateway.username_field.as_str(), "password"];
    let [username, password] = posted(&mut call, names, &app.metadata.obtain).await?;
    let proof = VerifyPasswordRequest { username, password, trim: true, ..VerifyPasswordRequest::default() };
    let VerifyPasswordResponse { assertion, .. } = app.prove(&call, proof).await.map_err(|refused| answers::not_proven(&refused))?;
    let session = CreateSessionRequest { assertion, origin: Some(call.origin()), ..CreateSessionRequest::default() };
    let tokens = app.clients.create_session(session).await.map_err(|failure| answers::sign_in_refused(&failure))?;
    answers::signed_in(tokens.as_ref())
}

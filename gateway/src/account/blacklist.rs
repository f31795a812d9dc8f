//! Signing out: token-service ends the session (1 RPC), and this gateway answers when it refuses its access tokens itself.

use std::sync::Arc;

use axum::response::Response;
use carelink_proto::token::SignOutRequest;

use super::{
    answers::{self, Answer, POST_ONLY},
    fields::strip,
    posted,
};
use crate::{app::App, config::SIGN_OUT_WAIT, edge::Call};

/// `POST /account/token/blacklist/`.
pub(crate) async fn blacklist(app: Arc<App>, call: Call) -> Response {
    answers::finish(sign_out(&app, call).await, POST_ONLY)
}

async fn sign_out(app: &App, mut call: Call) -> Result<Response, Answer> {
    let [token] = posted(&mut call, ["refresh"], &app.metadata.blacklist).await?;
    let request = SignOutRequest {
        refresh_token: strip(&token).to_owned(),
        origin: Some(call.origin()),
        call: app.random.bytes::<16>().to_vec(), // sent again by the channel it gets the first one's answer
        ..SignOutRequest::default()
    };
    let revocation = app.clients.sign_out(request).await.map_err(|failure| answers::token_refused(&failure))?;
    // Should it not hear of it in time, the session has ended all the same.
    app.verifier.caught_up(revocation, SIGN_OUT_WAIT).await;
    Ok(answers::done())
}

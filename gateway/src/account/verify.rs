//! Is a token good? An access token is judged here (0 RPCs), a refresh token by token-service (1 RPC). Never an occasion for reuse (S9).

use std::sync::Arc;

use axum::response::Response;
use carelink_proto::token::IntrospectRequest;
use carelink_verifier::{Purpose, Refusal};

use super::{
    answers::{self, Answer, POST_ONLY},
    fields::strip,
    posted,
};
use crate::{app::App, edge::Call};

/// `POST /account/token/verify/`.
pub(crate) async fn verify(app: Arc<App>, call: Call) -> Response {
    answers::finish(judge(&app, call).await, POST_ONLY)
}

async fn judge(app: &App, mut call: Call) -> Result<Response, Answer> {
    let [token] = posted(&mut call, ["token"], &app.metadata.verify).await?;
    let token = strip(&token);
    match app.verifier.check(token, Purpose::Edge).await {
        Ok(_) => Ok(answers::done()),
        Err(Refusal::NotAccess | Refusal::AlgorithmWrong) => introspect(app, token).await,
        Err(refusal) => Err(answers::access_not_verified(refusal)),
    }
}

async fn introspect(app: &App, token: &str) -> Result<Response, Answer> {
    let request = IntrospectRequest { token: token.to_owned() };
    let answer = app.clients.introspect(request).await.map_err(|failure| answers::token_refused(&failure))?;
    if answer.active { Ok(answers::done()) } else { Err(answers::not_verified(answer.reason.parse().ok())) }
}

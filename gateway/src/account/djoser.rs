//! djoser's `users/me/` beside its `jwt/` paths, which are SimpleJWT's own under other names (`gateway.djoser_prefix`).

use std::sync::Arc;

use axum::response::Response;
use carelink_proto::auth::User;
use http::StatusCode;
use serde::Serialize;

use super::{
    answers::{self, Answer, GET_ONLY},
    me::user,
};
use crate::{answer::json, app::App, edge::Call};

/// `GET users/me/`.
pub(crate) async fn djoser_me(app: Arc<App>, call: Call) -> Response {
    answers::finish(who(&app, &call).await, GET_ONLY)
}

async fn who(app: &App, call: &Call) -> Result<Response, Answer> {
    #[derive(Serialize)]
    struct Me<'a> {
        email: &'a str,
        id: i64,
        username: &'a str,
    }
    let User { email, user_id, username, .. } = user(app, call).await?;
    Ok(json(StatusCode::OK, &Me { email: &email, id: user_id, username: &username }))
}

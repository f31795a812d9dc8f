//! `/v1/password`: changing one's own (C7), taking over an account by a one-time password (C6), and setting one by a mailed link.

use axum::response::Response;
use carelink_platform::errors::{Failure, Reason};
use carelink_proto::auth::{ChangePasswordRequest, RedeemLinkRequest, RedeemOneTimePasswordRequest, RequestPasswordResetRequest};
use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Asker, Text, bodies, cookies};
use crate::{answer::json, app::App, config::SIGN_OUT_WAIT, edge::Call, limits::Leave, routes::Refused};

/// A new password for one's own account.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    /// The password as it is; with `username`, the one-time password that was handed out.
    current_password: Text,
    /// 15 characters or more, of any kind.
    new_password: Text,
    /// Whose account a one-time password opens; without it, it is the account of whoever asks.
    #[serde(default)]
    username: Option<Text>,
    /// As an earlier sign-in gave it to this device.
    #[serde(default)]
    known_device: Option<Text>,
}

/// Who wants a link.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Forgotten {
    /// A name, or an e-mail address that is one active user's alone.
    username: Text,
}

/// A new password by a link.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Redeem {
    /// What follows `#` in the link that was mailed.
    token: Text,
    /// 15 characters or more, of any kind.
    new_password: Text,
}

/// A password was set.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Changed {
    /// `applied`: the sessions that end with it are over everywhere. `pending`: they end as soon as token-service can be reached.
    revocation: Revocation,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Revocation {
    Applied,
    Pending,
}

/// `POST /v1/password`.
pub(crate) async fn change(app: &App, call: Call) -> Result<Response, Refused> {
    let body: Change = bodies::read(&call)?;
    match body.username.clone() {
        Some(username) => by_one_time_password(app, &call, username.0, body).await,
        None => own(app, &call, body).await,
    }
}

/// The current password is guarded as a sign-in is, and the other sessions end.
async fn own(app: &App, call: &Call, body: Change) -> Result<Response, Refused> {
    let asker = Asker::of(app, call, &Method::POST).await?;
    guarded(app, call, &asker.claims.subject.to_string()).await?;
    let origin = call.origin();
    let kept = if asker.by_cookie { cookies::find(&call.head.headers, cookies::DEVICE)? } else { None };
    let request = ChangePasswordRequest {
        current_password: body.current_password.0,
        new_password: body.new_password.0,
        network: origin.network,
        user_agent: origin.user_agent,
        known_device: kept.or(body.known_device.map(|token| token.0)).unwrap_or_default(),
    };
    let changed = app.clients.change_password(asker.asks(request)).await.map_err(refused)?;
    Ok(done(app, changed.revocation_pending, changed.revocation).await)
}

async fn by_one_time_password(app: &App, call: &Call, username: String, body: Change) -> Result<Response, Refused> {
    guarded(app, call, &username).await?;
    let origin = call.origin();
    let request = RedeemOneTimePasswordRequest {
        username,
        one_time_password: body.current_password.0,
        new_password: body.new_password.0,
        network: origin.network,
        user_agent: origin.user_agent,
    };
    let redeemed = app.clients.redeem_one_time_password(request).await.map_err(refused)?;
    Ok(done(app, redeemed.revocation_pending, redeemed.revocation).await)
}

/// `POST /v1/password/reset`: answers alike whoever is named.
pub(crate) async fn forgotten(app: &App, call: Call) -> Result<Response, Refused> {
    let Forgotten { username } = bodies::read(&call)?;
    guarded(app, &call, &username.0).await?;
    let origin = call.origin();
    let request = RequestPasswordResetRequest { username: username.0, network: origin.network, user_agent: origin.user_agent };
    app.clients.request_password_reset(request).await.map_err(refused)?;
    let mut response = Response::default();
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

/// `POST /v1/password/reset/redeem` and `POST /v1/invitations/redeem`.
pub(crate) async fn redeem(app: &App, call: Call) -> Result<Response, Refused> {
    let Redeem { token, new_password } = bodies::read(&call)?;
    guarded(app, &call, "a link").await?;
    let origin = call.origin();
    let request =
        RedeemLinkRequest { token: token.0, new_password: new_password.0, network: origin.network, user_agent: origin.user_agent };
    let redeemed = app.clients.redeem_link(request).await.map_err(refused)?;
    Ok(done(app, redeemed.revocation_pending, redeemed.revocation).await)
}

/// Guesses of any kind are limited as sign-ins are.
async fn guarded(app: &App, call: &Call, account: &str) -> Result<(), Refused> {
    match app.limits.sign_in(call.client, account).await {
        Ok(Leave::Anybody) => Ok(()),
        Ok(Leave::KnownOrigins(throttled)) | Err(throttled) => {
            app.throttled.away(call.client, throttled.scope, call.origin().user_agent);
            Err(throttled.into())
        }
    }
}

fn refused(failure: Failure) -> Refused {
    match failure.reason() {
        Reason::QueueFull => Failure::new(Reason::Throttled).retry_after(failure.retry().unwrap_or_default()).into(),
        Reason::UserNotFound | Reason::UserInactive => Reason::CredentialsInvalid.into(),
        _ => failure.into(),
    }
}

async fn done(app: &App, pending: bool, revocation: u64) -> Response {
    app.verifier.caught_up(revocation, SIGN_OUT_WAIT).await;
    json(StatusCode::OK, &Changed { revocation: if pending { Revocation::Pending } else { Revocation::Applied } })
}

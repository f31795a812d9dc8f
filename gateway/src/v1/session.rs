//! `/v1/session`: signing in (2 RPCs), who am I (none, where the name is remembered), signing out (1 RPC).

use axum::response::Response;
use carelink_platform::{
    clock::Timestamp,
    errors::{Failure, Reason},
};
use carelink_proto::{
    auth::VerifyPasswordRequest,
    token::{CreateSessionRequest, SessionMode, SignOutRequest},
};
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Asker, Presented, Text, bodies, cookies, device, origin,
    told::{self, Mode, Peeked},
};
use crate::{account, answer::json, app::App, config::SIGN_OUT_WAIT, edge::Call, routes::Refused, sign_in};

/// Labels longer than that are cut by nobody: they are refused.
const MAX_DEVICE: usize = 64;

/// What somebody signs in with.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignIn {
    /// A name, or an e-mail address that is one active user's alone.
    username: Text,
    /// Exactly as it was typed.
    password: Text,
    /// Tokens in cookies that no script can read, for pages of this origin, instead of in the answer.
    #[serde(default)]
    cookies: bool,
    /// What the session is called in the list of sessions; told from the user agent where it is not given. At most 64 bytes.
    #[serde(default)]
    device: Option<Text>,
    /// As an earlier answer gave it to this device.
    #[serde(default)]
    known_device: Option<Text>,
}

/// Somebody who is signed in.
#[derive(Serialize, JsonSchema)]
pub(crate) struct WhoAmI {
    /// The subject, as in the token's `sub`.
    subject: Uuid,
    /// The user's number, as in the token's `user_id`.
    user_id: String,
    /// The user's name; at most a minute old.
    username: String,
    /// The session, as in the token's `sid`.
    session: Uuid,
    /// What the token grants.
    roles: Vec<String>,
    /// How they proved who they are (RFC 8176).
    amr: Vec<String>,
    /// When they did (RFC 3339).
    #[schemars(with = "String", extend("format" = "date-time"))]
    signed_in_at: Timestamp,
    /// When the access token ends (RFC 3339).
    #[schemars(with = "String", extend("format" = "date-time"))]
    access_expires_at: Timestamp,
}

/// `POST /v1/session`.
pub(crate) async fn sign_in(app: &App, call: Call) -> Result<Response, Refused> {
    let SignIn { username, password, cookies: in_cookies, device, known_device } = bodies::read(&call)?;
    if in_cookies {
        origin::own(app, &call)?; // a page of somebody else's must not sign anybody in as its author either
    }
    let from = call.origin();
    let device = match device.map(|label| label.0.trim().to_owned()) {
        Some(label) if label.len() > MAX_DEVICE || label.chars().any(char::is_control) => {
            return Err(Failure::new(Reason::InputInvalid)
                .message("A device is named in at most 64 bytes, without control characters")
                .into());
        }
        Some(label) if !label.is_empty() => label,
        _ => device::words(&from.user_agent),
    };
    let kept = if in_cookies { cookies::find(&call.head.headers, cookies::DEVICE)? } else { None };
    let known_device = kept.or(known_device.map(|token| token.0)).unwrap_or_default();
    let proof = VerifyPasswordRequest { username: username.0, password: password.0, known_device, ..VerifyPasswordRequest::default() };
    let proven = app.prove(&call, proof).await.map_err(not_proven)?;
    let held = cookies::find(&call.head.headers, cookies::REFRESH)?;
    let (mode, asked) = if in_cookies { (Mode::Cookies, SessionMode::Cookies) } else { (Mode::Bearer, SessionMode::Bearer) };
    let request = CreateSessionRequest {
        assertion: proven.assertion,
        origin: Some(from),
        mode: asked.into(),
        replaces_refresh_token: held.filter(|_| in_cookies).unwrap_or_default(),
        device,
        network: device::network(call.client).to_owned(),
    };
    let pair = app.clients.create_session(request).await.map_err(refused)?.ok_or(Reason::Internal)?;
    let known = Some(proven.known_device.as_str()).filter(|token| !token.is_empty());
    let mut response = told::session(&pair, mode, known);
    if let (true, Some(token)) = (in_cookies, known) {
        told::set(&mut response, cookies::known_device(token, proven.known_device_seconds));
    }
    Ok(response)
}

fn not_proven(not: sign_in::Refused) -> Refused {
    match not {
        sign_in::Refused::Throttled(throttled) => throttled.into(),
        sign_in::Refused::Failed(failure) => refused(failure),
    }
}

/// Whatever is wrong with whoever signs in is told in the same words.
fn refused(failure: Failure) -> Refused {
    match failure.reason() {
        Reason::UserInactive | Reason::UserNotFound | Reason::InputInvalid | Reason::NameInvalid | Reason::PasswordTooLong => {
            Reason::CredentialsInvalid.into()
        }
        Reason::QueueFull => {
            let throttled = Failure::new(Reason::Throttled);
            failure.retry().map_or(Failure::new(Reason::Throttled), |after| throttled.retry_after(after)).into()
        }
        _ => failure.into(),
    }
}

/// `GET /v1/session`.
pub(crate) async fn who(app: &App, _: Call, asker: Asker) -> Result<Response, Refused> {
    let claims = &asker.claims;
    let username = account::name_of(app, claims).await?;
    Ok(json(
        StatusCode::OK,
        &WhoAmI {
            subject: claims.subject,
            user_id: claims.user_id.to_string(),
            username,
            session: claims.session,
            roles: claims.roles.clone(),
            amr: claims.amr.clone(),
            signed_in_at: Timestamp::from_secs(claims.auth_time.0),
            access_expires_at: Timestamp::from_secs(claims.expires.0),
        },
    ))
}

/// `DELETE /v1/session`: by any genuine token of the session (S9). That it was over already is no failure.
pub(crate) async fn sign_out(app: &App, call: Call) -> Result<Response, Refused> {
    let headers = &call.head.headers;
    let presented = match cookies::find(headers, cookies::REFRESH)? {
        Some(token) if !headers.contains_key(http::header::AUTHORIZATION) => Presented::Cookie(token),
        _ => Presented::of(headers)?.ok_or(Reason::TokenMissing)?,
    };
    let by_cookie = matches!(presented, Presented::Cookie(_));
    if by_cookie {
        origin::own(app, &call)?;
    }
    let token = presented.token().to_owned();
    let (access_token, refresh_token) = if Peeked::is_access(&token) { (token, String::new()) } else { (String::new(), token) };
    let named = app.random.bytes::<16>().to_vec();
    let request = SignOutRequest { refresh_token, access_token, origin: Some(call.origin()), call: named };
    match app.clients.sign_out(request).await {
        // Should our own verifier not hear of it in time, the session has ended all the same.
        Ok(revocation) => drop(app.verifier.caught_up(revocation, SIGN_OUT_WAIT).await),
        Err(failure) if is_over(failure.reason()) => {}
        Err(failure) => return Err(super::refresh::refused(failure, by_cookie)),
    }
    let mut response = told::nothing();
    if by_cookie {
        told::set(&mut response, cookies::clear());
    }
    Ok(response)
}

/// The session had ended before.
fn is_over(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::SessionRevoked | Reason::SessionExpired | Reason::SessionReused | Reason::SessionStateLost | Reason::UserInactive
    )
}

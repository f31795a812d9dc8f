//! The shapes of our answers.

use axum::response::Response;
use carelink_platform::clock::Timestamp;
use carelink_proto::token::TokenPair;
use http::{HeaderValue, StatusCode, header::SET_COOKIE};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{answer::json, v1::cookies};

/// A session that goes on. In cookie mode the tokens are in cookies and not here.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Session<'a> {
    /// `Bearer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'a str>,
    /// A JWT; goes into `Authorization: Bearer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token: Option<&'a str>,
    /// Good for one refresh, and for signing out.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    /// When the access token ends (RFC 3339).
    #[schemars(with = "String", extend("format" = "date-time"))]
    access_expires_at: Timestamp,
    /// When the session ends, whatever is refreshed (RFC 3339).
    #[schemars(with = "String", extend("format" = "date-time"))]
    ends_at: Timestamp,
    /// For this device to bring along at its next sign-in, so that guesses from elsewhere lock nobody out here.
    #[serde(skip_serializing_if = "Option::is_none")]
    known_device: Option<&'a str>,
}

/// Who holds a session's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Whoever asked, in the body.
    Bearer,
    /// A browser, in cookies (B1).
    Cookies,
}

/// A pair of tokens, the way its holder wants it.
pub(crate) fn session(pair: &TokenPair, mode: Mode, known_device: Option<&str>) -> Response {
    let (access_expires_at, ends_at) = (Timestamp::from_secs(pair.access_expires), Timestamp::from_secs(pair.session_ends));
    let bearer = mode == Mode::Bearer;
    let mut response = json(
        StatusCode::OK,
        &Session {
            token_type: bearer.then_some("Bearer"),
            access_token: bearer.then_some(&pair.access_token),
            refresh_token: bearer.then_some(&pair.refresh_token),
            access_expires_at,
            ends_at,
            known_device: known_device.filter(|_| bearer),
        },
    );
    if mode == Mode::Cookies {
        // Ages count from when the pair was made: the gateway's own clock may be another.
        let made = Peeked::of(&pair.access_token).and_then(|claims| claims.iat).map_or(access_expires_at, Timestamp::from_secs);
        set(&mut response, cookies::set(&pair.access_token, access_expires_at, &pair.refresh_token, ends_at, made));
    }
    response
}

/// Adds cookies to an answer.
pub(crate) fn set(response: &mut Response, cookies: Vec<HeaderValue>) {
    for cookie in cookies {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
}

/// 204.
pub(crate) fn nothing() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// What a token claims, unverified: for telling kinds apart and for ages of cookies, never for authority.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Peeked {
    pub(crate) iat: Option<i64>,
    pub(crate) token_type: Option<String>,
}

impl Peeked {
    pub(crate) fn of(token: &str) -> Option<Self> {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?).ok()
    }

    /// Whether it says that it is an access token; everything else is token-service's to judge as a refresh token.
    pub(crate) fn is_access(token: &str) -> bool {
        Self::of(token).is_some_and(|claims| claims.token_type.as_deref() == Some("access"))
    }
}

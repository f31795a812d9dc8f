//! `/v1/session/refresh`: token-service decides (1 RPC). In a browser the cookie is the token, and only an answer that ends the matter
//! takes it away (B3).

use axum::response::Response;
use carelink_platform::errors::{Failure, Reason};
use carelink_proto::token::RefreshRequest;
use http::header::CONTENT_TYPE;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Text, bodies, cookies, origin,
    told::{self, Mode},
};
use crate::{account, app::App, edge::Call, routes::Refused};

/// What is to be refreshed; a browser sends no body but its cookie.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refresh {
    /// The refresh token, which is used up by this.
    refresh_token: Text,
}

/// `POST /v1/session/refresh`.
pub(crate) async fn refresh(app: &App, call: Call) -> Result<Response, Refused> {
    let (token, mode) = if call.body.is_empty() && !call.head.headers.contains_key(CONTENT_TYPE) {
        let token = cookies::find(&call.head.headers, cookies::REFRESH)?.ok_or(Reason::TokenMissing)?;
        origin::own(app, &call)?;
        (token, Mode::Cookies)
    } else {
        let Refresh { refresh_token } = bodies::read(&call)?;
        (refresh_token.0, Mode::Bearer)
    };
    app.limits.refresh(call.client, || account::session_of(&token)).await?;
    let request = RefreshRequest {
        refresh_token: token,
        origin: Some(call.origin()),
        deadline_us: account::deadline_us(&app.verifier),
        call: app.random.bytes::<16>().to_vec(), // sent again by the channel it gets the first one's answer
    };
    let pair = app.clients.refresh(request).await.map_err(|failure| refused(failure, mode == Mode::Cookies))?;
    Ok(told::session(&pair.ok_or(Reason::Internal)?, mode, None))
}

/// What token-service says of a token; cookies go only where it is the last word on what they hold (B3).
pub(super) fn refused(failure: Failure, by_cookie: bool) -> Refused {
    let failure = match failure.reason() {
        Reason::UserNotFound | Reason::SourceNotFound | Reason::InputInvalid => Failure::new(Reason::TokenInvalid),
        Reason::SessionNotFound => Failure::new(Reason::SessionExpired),
        _ => failure,
    };
    let cookies = if by_cookie && is_last_word(failure.reason()) { cookies::clear() } else { Vec::new() };
    Refused { cookies, ..failure.into() }
}

/// Whether no later answer can be better. A session that another sign-in of the same browser replaced has no cookies any more: those
/// that are there are the other's.
fn is_last_word(reason: Reason) -> bool {
    TERMINAL.contains(&reason)
}

/// Why a refresh token is of no use any more.
pub(crate) const TERMINAL: &[Reason] = &[
    Reason::TokenInvalid,
    Reason::TokenExpired,
    Reason::TokenTypeWrong,
    Reason::TokenTypeMissing,
    Reason::TokenExpMissing,
    Reason::TokenNoUser,
    Reason::SessionRevoked,
    Reason::SessionExpired,
    Reason::SessionReused,
    Reason::SessionStateLost,
    Reason::UserInactive,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b3_only_the_last_word_on_a_token_clears_cookies() {
        for reason in Reason::ALL {
            let cleared = !refused(Failure::new(*reason), true).cookies.is_empty();
            assert!(refused(Failure::new(*reason), false).cookies.is_empty(), "{reason}");
            let status = reason.http();
            assert!(
                !cleared
                    || status == 401
                    || matches!(reason, Reason::UserNotFound | Reason::SourceNotFound | Reason::SessionNotFound | Reason::InputInvalid),
                "{reason}"
            );
        }
        for reason in [
            Reason::Throttled,
            Reason::Late,
            Reason::Unready,
            Reason::Internal,
            Reason::TokenMissing,
            Reason::OriginRefused,
            Reason::SessionReplaced,
        ] {
            assert!(refused(Failure::new(reason), true).cookies.is_empty(), "{reason}");
        }
        for reason in TERMINAL {
            assert_eq!(refused(Failure::new(*reason), true).cookies.len(), 2, "{reason}");
        }
    }
}

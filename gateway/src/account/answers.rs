//! Every answer of the predecessor's endpoints, and the one table from our reasons to its words (L4).

use std::time::Duration;

use axum::response::Response;
use bytes::Bytes;
use carelink_platform::errors::{Failure, Reason};
use carelink_proto::token::TokenPair;
use carelink_verifier::Refusal;
use http::{
    HeaderValue, Method, StatusCode,
    header::{ALLOW, WWW_AUTHENTICATE},
};
use serde::Serialize;

use super::{bodies::Unreadable, fields::FieldErrors};
use crate::{
    answer::{Detail, JSON, Surface, json, with_body},
    limits::Throttled,
    sign_in::Refused,
};

/// An answer before its `Allow`, boxed: as an error it should not make every result large.
pub(super) type Answer = Box<Response>;

/// What the token endpoints allow.
pub(super) const POST_ONLY: HeaderValue = HeaderValue::from_static("POST, OPTIONS");
/// What `me` allows.
pub(super) const GET_ONLY: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");

const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"api\"");
const TOKEN_NOT_VALID: Option<&str> = Some("token_not_valid");
const NO_SUCH_CREDENTIALS: &str = "No active account found with the given credentials";

/// The words for a reason that speaks about the token presented, and the code beside them. None: it does not speak about that.
fn about_the_token(reason: Reason) -> Option<(&'static str, Option<&'static str>)> {
    let words = match reason {
        Reason::UserInactive => return Some(("No active account found for the given token.", None)),
        Reason::TokenExpired | Reason::SessionExpired | Reason::SessionNotFound => "Token is expired",
        Reason::SessionRevoked | Reason::SessionReplaced | Reason::SessionReused | Reason::SessionStateLost => "Token is blacklisted",
        Reason::TokenTypeWrong => "Token has wrong type",
        Reason::TokenTypeMissing => "Token has no type",
        Reason::TokenExpMissing => "Token has no 'exp' claim",
        Reason::TokenNoUser => "Token contained no recognizable user identification",
        Reason::TokenInvalid | Reason::TokenMissing | Reason::UserNotFound | Reason::SourceNotFound | Reason::InputInvalid => {
            "Token is invalid"
        }
        _ => return None,
    };
    Some((words, TOKEN_NOT_VALID))
}

/// Puts `Allow` on whatever came of a request.
pub(super) fn finish(answer: Result<Response, Answer>, allow: HeaderValue) -> Response {
    let mut response = answer.unwrap_or_else(|answer| *answer);
    response.headers_mut().insert(ALLOW, allow);
    response
}

fn boxed(response: Response) -> Answer {
    Box::new(response)
}

fn detail(status: StatusCode, detail: &str, code: Option<&str>) -> Response {
    let mut response = json(status, &Detail { detail, code });
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, CHALLENGE);
    }
    response
}

/// 401 with the predecessor's words.
fn unauthorized(words: &str, code: Option<&str>) -> Answer {
    boxed(detail(StatusCode::UNAUTHORIZED, words, code))
}

/// A pair, as the predecessor orders it when somebody signs in.
pub(super) fn signed_in(tokens: Option<&TokenPair>) -> Result<Response, Answer> {
    #[derive(Serialize)]
    struct Pair<'a> {
        refresh: &'a str,
        access: &'a str,
    }
    with_pair(tokens, |pair| json(StatusCode::OK, &Pair { refresh: &pair.refresh_token, access: &pair.access_token }))
}

/// A pair, as the predecessor orders it when somebody refreshes.
pub(super) fn refreshed(tokens: Option<&TokenPair>) -> Result<Response, Answer> {
    with_pair(tokens, |TokenPair { access_token, refresh_token, .. }| {
        // Tokens are base64url and dots: there is nothing to escape, and they are the bulk of the hottest answer.
        let body = format!(r#"{{"access":"{access_token}","refresh":"{refresh_token}"}}"#);
        with_body(StatusCode::OK, JSON, Bytes::from(body))
    })
}

fn with_pair(tokens: Option<&TokenPair>, answer: impl Fn(&TokenPair) -> Response) -> Result<Response, Answer> {
    tokens.map(answer).ok_or_else(|| failed(&Failure::new(Reason::Internal).caused_by("no tokens in the answer")))
}

/// `{}`.
pub(super) fn done() -> Response {
    with_body(StatusCode::OK, JSON, Bytes::from_static(b"{}"))
}

/// OPTIONS.
pub(super) fn described(about: &Bytes) -> Answer {
    boxed(with_body(StatusCode::OK, JSON, about.clone()))
}

/// A method that an endpoint does not take.
pub(super) fn method_not_allowed(method: &Method) -> Answer {
    boxed(detail(StatusCode::METHOD_NOT_ALLOWED, &format!("Method \"{method}\" not allowed."), None))
}

/// What is wrong with each field.
pub(super) fn invalid_fields(errors: &FieldErrors<'_>) -> Answer {
    boxed(json(StatusCode::BAD_REQUEST, errors))
}

/// What is wrong with the whole.
fn non_field_error(words: &str) -> Answer {
    #[derive(Serialize)]
    struct Errors<'a> {
        non_field_errors: [&'a str; 1],
    }
    boxed(json(StatusCode::BAD_REQUEST, &Errors { non_field_errors: [words] }))
}

/// A body that could not be read.
pub(super) fn unreadable(why: Unreadable) -> Answer {
    let bad = |words: &str| boxed(detail(StatusCode::BAD_REQUEST, words, None));
    match why {
        Unreadable::MediaType(kind) => {
            boxed(detail(StatusCode::UNSUPPORTED_MEDIA_TYPE, &format!("Unsupported media type \"{kind}\" in request."), None))
        }
        Unreadable::Json(error) => bad(&format!("JSON parse error - {error}")),
        Unreadable::Boundary => bad("Multipart form parse error - Invalid boundary in multipart: None"),
        Unreadable::NoData => non_field_error("No data provided"),
        Unreadable::NotADictionary(kind) => non_field_error(&format!("Invalid data. Expected a dictionary, but got {kind}.")),
    }
}

/// Too many; with the true time to wait.
pub(super) fn throttled(throttled: Throttled) -> Answer {
    boxed(Surface::Account.over_budget(throttled))
}

/// Nobody was proven to be anybody.
pub(super) fn not_proven(refused: &Refused) -> Answer {
    match refused {
        Refused::Throttled(by) => throttled(*by),
        Refused::Failed(failure) => sign_in_refused(failure),
    }
}

/// A sign-in that a service did not go through with.
pub(super) fn sign_in_refused(failure: &Failure) -> Answer {
    match failure.reason() {
        Reason::CredentialsInvalid
        | Reason::UserInactive
        | Reason::UserNotFound
        | Reason::InputInvalid
        | Reason::NameInvalid
        | Reason::PasswordTooLong => unauthorized(NO_SUCH_CREDENTIALS, None),
        _ => failed(failure),
    }
}

/// A token that token-service did not take.
pub(super) fn token_refused(failure: &Failure) -> Answer {
    about_the_token(failure.reason()).map_or_else(|| failed(failure), |(words, code)| unauthorized(words, code))
}

/// A refresh token that is not good, at `verify`: the predecessor finds the blacklisted ones only after everything else.
pub(super) fn not_verified(reason: Option<Reason>) -> Answer {
    match reason.unwrap_or(Reason::TokenInvalid) {
        Reason::SessionRevoked | Reason::SessionReplaced | Reason::SessionReused | Reason::SessionStateLost => {
            non_field_error("Token is blacklisted")
        }
        reason => token_refused(&Failure::new(reason)),
    }
}

/// An access token that is not good, at `verify`.
pub(super) fn access_not_verified(refusal: Refusal) -> Answer {
    match refusal {
        Refusal::Unavailable => blind(refusal),
        _ => unauthorized(&refusal.to_string(), TOKEN_NOT_VALID),
    }
}

/// An access token that is not good, where it was to prove who is asking.
pub(super) fn bearer_refused(refusal: Refusal) -> Answer {
    #[derive(Serialize)]
    struct Refused<'a> {
        detail: &'a str,
        code: &'a str,
        messages: [Message<'a>; 1],
    }
    #[derive(Serialize)]
    struct Message<'a> {
        token_class: &'a str,
        token_type: &'a str,
        message: &'a str,
    }
    let words = refusal.to_string();
    match refusal {
        Refusal::Unavailable => blind(refusal),
        Refusal::NoUser => unauthorized(&words, TOKEN_NOT_VALID),
        _ => {
            let messages = [Message { token_class: "AccessToken", token_type: "access", message: &words }];
            let detail = "Given token not valid for any token type";
            let mut response = json(StatusCode::UNAUTHORIZED, &Refused { detail, code: "token_not_valid", messages });
            response.headers_mut().insert(WWW_AUTHENTICATE, CHALLENGE);
            boxed(response)
        }
    }
}

/// Our own blindness is never the token's fault (V3).
fn blind(refusal: Refusal) -> Answer {
    let failure = Failure::new(Reason::Unready).message(refusal.to_string());
    failed(&match refusal.retry_after() {
        Some(after) => failure.retry_after(after),
        None => failure,
    })
}

/// No token came along.
pub(super) fn no_credentials() -> Answer {
    unauthorized("Authentication credentials were not provided.", None)
}

/// An Authorization header that is no scheme and one token.
pub(super) fn bad_authorization() -> Answer {
    unauthorized("Authorization header must contain two space-delimited values", Some("bad_authorization_header"))
}

/// A good token of somebody who is not there.
pub(super) fn user_not_found() -> Answer {
    unauthorized("User not found", Some("user_not_found"))
}

/// What speaks about us or about the moment, not about what was presented.
pub(super) fn failed(failure: &Failure) -> Answer {
    match failure.reason() {
        Reason::Throttled | Reason::QueueFull => boxed(Surface::Account.throttled(failure.retry().unwrap_or(Duration::from_secs(1)))),
        reason if reason.http() >= 500 || reason.http() == 429 => boxed(Surface::Account.failure(failure)),
        reason => {
            tracing::error!(reason = reason.as_str(), "a service answered what nobody here asked for");
            boxed(Surface::Account.failure(&Failure::new(Reason::Internal)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l4_every_reason_about_a_session_or_a_token_has_the_predecessors_words() {
        for reason in Reason::ALL {
            let about_a_token = reason.as_str().starts_with("token_") || reason.as_str().starts_with("session_");
            assert!(!about_a_token || about_the_token(*reason).is_some(), "{reason}");
            let answered = token_refused(&Failure::new(*reason)).status().as_u16();
            assert!(matches!(answered, 401 | 429 | 500 | 503), "{reason}: {answered}");
        }
    }

    #[test]
    fn l4_nothing_of_ours_that_fails_blames_the_token() {
        for reason in
            [Reason::Late, Reason::DeadlineExceeded, Reason::Overloaded, Reason::Unready, Reason::StorageFull, Reason::StorageUnavailable]
        {
            assert_eq!(token_refused(&Failure::new(reason)).status(), StatusCode::SERVICE_UNAVAILABLE, "{reason}");
        }
        for reason in [Reason::CallerRefused, Reason::AssertionInvalid, Reason::Internal] {
            assert_eq!(token_refused(&Failure::new(reason)).status(), StatusCode::INTERNAL_SERVER_ERROR, "{reason}");
        }
        assert_eq!(bearer_refused(Refusal::Unavailable).status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}

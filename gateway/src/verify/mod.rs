//! `/verify`: forward auth for what stands behind nginx, Traefik or Caddy. The proxy asks here first, with the headers of the request
//! that it holds back, and lets it through on 200. Judged by this gateway's own verifier: no query and no RPC.
//!
//! Who it is goes back as headers, made here from what was verified and from nothing else; the proxy sets them on the request and drops
//! those that a client sent (deploy/nginx). A cookie is a proof only where our own page asked: for a method that changes something, the
//! original one as the proxy names it, B2 holds here too, and a proxy that names none is taken to mean such a one.

use axum::response::Response;
use carelink_platform::errors::{Failure, Reason};
use carelink_verifier::Claims;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::{
    app::App,
    edge::Call,
    routes::{Outcome, Refused},
    v1::{Asker, Presented, origin, told},
};

/// How nginx is told to name it, and how Traefik and Caddy do.
const METHODS: [&str; 2] = ["x-original-method", "x-forwarded-method"];

const SUBJECT: HeaderName = HeaderName::from_static("x-auth-subject");
const USER_ID: HeaderName = HeaderName::from_static("x-auth-user-id");
const SESSION: HeaderName = HeaderName::from_static("x-auth-session");
const ROLES: HeaderName = HeaderName::from_static("x-auth-roles");
const METHODS_USED: HeaderName = HeaderName::from_static("x-auth-amr");
const EXPIRES: HeaderName = HeaderName::from_static("x-auth-expires");

/// What every answer that lets through carries.
pub(crate) const IDENTITY: &[(&str, &str)] = &[
    ("X-Auth-Subject", "The subject, as in the token's `sub`"),
    ("X-Auth-User-Id", "The user's number"),
    ("X-Auth-Session", "The session"),
    ("X-Auth-Roles", "What the token grants: percent-encoded, divided by commas"),
    ("X-Auth-Amr", "How they proved who they are, divided by commas"),
    ("X-Auth-Expires", "When the access token ends, in seconds since 1970"),
];

/// `GET /verify`.
pub(crate) async fn verify(app: &App, call: Call) -> Outcome {
    let headers = &call.head.headers;
    let wanted = wanted(call.head.uri.query().unwrap_or_default())?;
    let presented = Presented::of(headers)?.ok_or(Reason::TokenMissing)?;
    let asker = Asker::judged(app, presented.token()).await?;
    if matches!(presented, Presented::Cookie(_)) && changes_something(headers) {
        origin::own(app, &call)?;
    }
    if !wanted.is_empty() && !wanted.iter().any(|role| asker.claims.has_role(role)) {
        return Err(Reason::RoleRequired.into());
    }
    let mut response = told::nothing();
    *response.status_mut() = http::StatusCode::OK;
    identify(&mut response, &asker.claims);
    Ok(response)
}

/// Roles of which one is asked for: `?role=doctor&role=nurse`. A query that says anything else is a mistake that would let too many in.
fn wanted(query: &str) -> Result<Vec<String>, Refused> {
    let mut roles = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name != "role" || value.is_empty() {
            return Err(Failure::new(Reason::InputInvalid).message("The query names roles: ?role=doctor&role=nurse").into());
        }
        roles.push(value.into_owned());
    }
    Ok(roles)
}

/// Whether any of the methods that the proxy names is not a safe one, or none is named.
fn changes_something(headers: &HeaderMap) -> bool {
    let mut named = METHODS.into_iter().flat_map(|name| headers.get_all(name)).peekable();
    named.peek().is_none() || named.any(|method| !Method::from_bytes(method.as_bytes()).is_ok_and(|method| method.is_safe()))
}

fn identify(response: &mut Response, claims: &Claims) {
    let told = [
        (SUBJECT, claims.subject.to_string()),
        (USER_ID, claims.user_id.to_string()),
        (SESSION, claims.session.to_string()),
        (ROLES, list(&claims.roles)),
        (METHODS_USED, list(&claims.amr)),
        (EXPIRES, claims.expires.0.to_string()),
    ];
    for (name, value) in told {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
}

/// Divided by commas; whatever could be taken for something else is percent-encoded.
fn list(values: &[String]) -> String {
    values.iter().map(|value| encoded(value)).collect::<Vec<_>>().join(",")
}

fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b':' | b'@' | b'+');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b2_only_a_method_that_is_known_to_be_safe_is_one() {
        let named = |values: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in values {
                headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            changes_something(&headers)
        };
        for safe in ["GET", "HEAD", "OPTIONS", "TRACE"] {
            assert!(!named(&[("x-original-method", safe)]) && !named(&[("x-forwarded-method", safe)]), "{safe}");
        }
        for changing in ["POST", "PUT", "PATCH", "DELETE", "get", "GET ", "", "PROPFIND"] {
            assert!(named(&[("x-original-method", changing)]), "{changing}");
        }
        assert!(named(&[]), "a proxy that names none");
        assert!(named(&[("x-original-method", "GET"), ("x-forwarded-method", "POST")]), "whichever a client sent");
        assert!(named(&[("x-original-method", "GET"), ("x-original-method", "POST")]));
    }

    #[test]
    fn a_role_is_told_so_that_it_cannot_be_taken_for_two_or_for_another_header() {
        let roles = ["nurse", "ward 7", "a,admin", "Ärztin", "x\r\nX-Auth-Roles: admin"].map(str::to_owned);
        assert_eq!(list(&roles), "nurse,ward%207,a%2Cadmin,%C3%84rztin,x%0D%0AX-Auth-Roles:%20admin");
        assert_eq!(list(&[]), "");
    }
}

//! Our own paths.

use carelink_platform::errors::Reason;
use http::Method;
use schemars::json_schema;

use super::operation::{Access, Endpoint, Operation};
use crate::{
    config::SIGN_IN_DEADLINE,
    jwks, openapi,
    v1::{boxed, boxed_for_user, password, query::Word, refresh, session, sessions, told},
    verify,
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    let mut all = sessions();
    all.extend(own_sessions());
    all.extend(passwords());
    all.push(forward_auth());
    all.extend(published());
    all
}

const SET: &[(&str, &str)] = &[("Set-Cookie", "In cookie mode: `__Host-carelink` and `__Secure-carelink-refresh`")];
const CLEARED: &[(&str, &str)] = &[("Set-Cookie", "By cookie: both cookies gone")];

fn sessions() -> Vec<Endpoint> {
    let sign_in = Operation::new(Method::POST, "signIn", "Session", "Sign in", Access::Open(boxed!(session::sign_in)))
        .about(
            "With `cookies: true` the tokens are in cookies that no script can read, for pages of this origin: the request must say \
             `Sec-Fetch-Site: same-origin`, as browsers do, or bring the exact `Origin`. A session that the browser still held ends.",
        )
        .within(SIGN_IN_DEADLINE)
        .hashes()
        .takes::<session::SignIn>()
        .tells::<told::Session<'_>>(200, "Signed in")
        .with(SET)
        .refuses(&[Reason::CredentialsInvalid, Reason::Throttled, Reason::OriginRefused]);
    let who = Operation::new(Method::GET, "whoAmI", "Session", "Who am I", Access::User(boxed_for_user!(session::who)))
        .tells::<session::WhoAmI>(200, "Whose token it is")
        .refuses(&[Reason::UserInactive]);
    let sign_out = Operation::new(Method::DELETE, "signOut", "Session", "Sign out", Access::Open(boxed!(session::sign_out)))
        .about("By any genuine token of the session as `Authorization: Bearer`, access or refresh, or by the browser's cookie.")
        .secured()
        .sends(204, "The session is over; that it was before is no failure", None)
        .with(CLEARED)
        .refuses(refresh::TERMINAL)
        .refuses(&[Reason::TokenMissing, Reason::SessionReplaced, Reason::OriginRefused]);
    let go_on = Operation::new(Method::POST, "refresh", "Session", "Refresh", Access::Open(boxed!(refresh::refresh)))
        .about(
            "Uses the refresh token up and gives its one successor; asked again within the grace it gives the same. A browser sends no \
             body: its cookie is the token.",
        )
        .takes::<refresh::Refresh>()
        .optional_body()
        .tells::<told::Session<'_>>(200, "The session goes on")
        .with(SET)
        .refuses(refresh::TERMINAL)
        .refuses(&[Reason::TokenMissing, Reason::SessionReplaced, Reason::OriginRefused, Reason::Throttled]);
    vec![Endpoint::own("/v1/session", [sign_in, who, sign_out]), Endpoint::own("/v1/session/refresh", [go_on])]
}

fn own_sessions() -> Vec<Endpoint> {
    const TAG: &str = "My sessions";
    let list = Operation::new(Method::GET, "listMySessions", TAG, "Where I am signed in", Access::User(boxed_for_user!(sessions::list)))
        .pages()
        .tells::<sessions::OwnSessions>(200, "A page, newest first");
    let end = Operation::new(Method::DELETE, "endMySession", TAG, "Sign out there", Access::User(boxed_for_user!(sessions::end)))
        .part::<uuid::Uuid>("id", "One of my sessions")
        .sends(204, "It is over; that it was before is no failure", None)
        .with(CLEARED)
        .refuses(&[Reason::SessionNotFound]);
    let others = Operation::new(
        Method::DELETE,
        "endMyOtherSessions",
        TAG,
        "Sign out everywhere else",
        Access::User(boxed_for_user!(sessions::end_others)),
    )
    .query::<bool>("everywhere", "This session too")
    .tells::<sessions::Ended>(200, "They are over")
    .with(CLEARED);
    vec![Endpoint::own("/v1/sessions", [list, others]), Endpoint::own("/v1/sessions/{id}", [end])]
}

/// Why a new password is not taken.
const NEW_PASSWORD: &[Reason] = &[
    Reason::PasswordTooShort,
    Reason::PasswordTooLong,
    Reason::PasswordCommon,
    Reason::PasswordInvalid,
    Reason::Throttled,
    Reason::Conflict,
];

fn passwords() -> Vec<Endpoint> {
    const TAG: &str = "Password";
    let change = Operation::new(Method::POST, "changePassword", TAG, "Change my password", Access::Open(boxed!(password::change)))
        .about(
            "By the current one, with an access token: this session goes on, all others end. Or, with `username` and without a token, by a \
             one-time password that was handed out.",
        )
        .secured()
        .within(SIGN_IN_DEADLINE)
        .takes::<password::Change>()
        .tells::<password::Changed>(200, "It is changed")
        .refuses(NEW_PASSWORD)
        .refuses(super::operation::ASKERS)
        .refuses(&[Reason::CredentialsInvalid, Reason::OriginRefused]);
    let reset = Operation::new(Method::POST, "forgotPassword", TAG, "Have a link mailed", Access::Open(boxed!(password::forgotten)))
        .about("The answer is the same whoever is named. The link is good once, within the hour.")
        .takes::<password::Forgotten>()
        .sends(202, "If that is somebody with an e-mail address, a letter is on its way", None)
        .refuses(&[Reason::Throttled, Reason::MailUnset]);
    let redeem = |name, summary| {
        Operation::new(Method::POST, name, TAG, summary, Access::Open(boxed!(password::redeem)))
            .within(SIGN_IN_DEADLINE)
            .takes::<password::Redeem>()
            .tells::<password::Changed>(200, "It is set")
            .refuses(NEW_PASSWORD)
            .refuses(&[Reason::LinkInvalid])
    };
    vec![
        Endpoint::own("/v1/password", [change]),
        Endpoint::own("/v1/password/reset", [reset]),
        Endpoint::own("/v1/password/reset/redeem", [redeem("resetPassword", "Set a new password by a link")]),
        Endpoint::own("/v1/invitations/redeem", [redeem("acceptInvitation", "Set the first password by a link")]),
    ]
}

fn forward_auth() -> Endpoint {
    let verify = Operation::new(Method::GET, "verify", "Forward auth", "May this request pass", Access::Open(boxed!(verify::verify)))
        .about(
            "For proxies that ask before they let a request through: nginx `auth_request`, Traefik `forwardAuth`, Caddy `forward_auth`. By \
             bearer or cookie; no query and no other service is asked. For a cookie and an original method that changes something the \
             original request must come from a page of this origin.",
        )
        .secured()
        .query::<Word>("role", "One of these roles is asked for; may be there several times")
        .header::<Word>("X-Original-Method", "The method of the request that is held back; `X-Forwarded-Method` likewise")
        .sends(200, "It may; who asks is in the headers", None)
        .with(verify::IDENTITY)
        .refuses(super::operation::ASKERS)
        .refuses(&[Reason::OriginRefused, Reason::RoleRequired]);
    Endpoint::own("/verify", [verify])
}

fn published() -> Vec<Endpoint> {
    const CACHED: &[(&str, &str)] = &[("ETag", "Changes with the keys"), ("Cache-Control", "How long they may be kept")];
    let keys = Operation::new(Method::GET, "publicKeys", "Published", "The keys that access tokens are signed with", Access::Open(boxed!(jwks::serve)))
        .about("For verifiers of any make: RFC 7517.")
        .header::<Word>("If-None-Match", "The tag of the set that is known already")
        .sends(200, "The key set", Some((
            "application/json",
            |_| json_schema!({"type": "object", "required": ["keys"], "properties": {"keys": {"type": "array", "items": {"type": "object"}}}}),
        )))
        .with(CACHED)
        .sends(304, "It has not changed", None)
        .with(CACHED);
    let document = Operation::new(Method::GET, "document", "Published", "This document", Access::Open(boxed!(openapi::document))).sends(
        200,
        "OpenAPI 3.1",
        Some(("application/json", |_| json_schema!({"type": "object"}))),
    );
    let page = |name, path: &'static str, media_type, handler| {
        let operation = Operation::new(Method::GET, name, "Published", "This document as a page", handler).sends(
            200,
            "A page that asks nobody but this server",
            Some((media_type, |_| json_schema!({"type": "string"}))),
        );
        Endpoint::own(path, [operation])
    };
    vec![
        Endpoint::own(jwks::PATH, [keys]),
        Endpoint::own("/openapi.json", [document]),
        page("docs", "/docs", "text/html", Access::Open(boxed!(openapi::page))),
        page("docsScript", "/docs/docs.js", "text/javascript", Access::Open(boxed!(openapi::script))),
        page("docsStyle", "/docs/docs.css", "text/css", Access::Open(boxed!(openapi::style))),
    ]
}

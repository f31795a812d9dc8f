//! `/v1/sessions`: where somebody is signed in, and signing out there (1 RPC each, by their own token).

use axum::response::Response;
use carelink_platform::{
    clock::Timestamp,
    errors::{Failure, Reason},
};
use carelink_proto::token::{ListSessionsRequest, Others, RevokeSessionsRequest, Session, SessionMode, revoke_sessions_request::Target};
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::{
    Asker, cookies,
    query::{Query, cursor, id_of, moment, uuid},
    told,
};
use crate::{answer::json, app::App, config::SIGN_OUT_WAIT, edge::Call, routes::Refused};

/// One of somebody's own sessions.
#[derive(Serialize, JsonSchema)]
struct OwnSession {
    id: Option<Uuid>,
    /// Whether it is the one that asks.
    current: bool,
    /// In words: `Firefox on Linux`.
    device: String,
    /// In words, never an address: `a local network`.
    network: String,
    /// Whether a browser holds it in cookies.
    browser: bool,
    /// When it began (RFC 3339).
    #[schemars(with = "Option<String>")]
    signed_in_at: Option<Timestamp>,
    /// When it was last used, to about two minutes (RFC 3339).
    #[schemars(with = "Option<String>")]
    last_active_at: Option<Timestamp>,
    /// When it ends, whatever is refreshed (RFC 3339).
    #[schemars(with = "Option<String>")]
    ends_at: Option<Timestamp>,
    /// When it ends if nobody uses it till then (RFC 3339).
    #[schemars(with = "Option<String>")]
    idle_ends_at: Option<Timestamp>,
}

/// Where somebody is signed in, newest first.
#[derive(Serialize, JsonSchema)]
pub(crate) struct OwnSessions {
    sessions: Vec<OwnSession>,
    /// Where the next page begins; null at the end.
    next_cursor: Option<String>,
}

/// How many sessions ended.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Ended {
    /// So many were live and are over now.
    pub(super) ended: u32,
}

/// `GET /v1/sessions`.
pub(crate) async fn list(app: &App, call: Call, asker: Asker) -> Result<Response, Refused> {
    let query = Query::of(&call, &["cursor", "limit"])?;
    let subject = asker.claims.subject.as_bytes().to_vec();
    let request = ListSessionsRequest { subject, include_ended: false, page_size: query.limit()?, cursor: query.text("cursor") };
    let page = app.clients.list_sessions(asker.asks(request)).await?;
    let sessions = page.sessions.into_iter().map(own).collect();
    Ok(json(StatusCode::OK, &OwnSessions { sessions, next_cursor: cursor(page.next_cursor) }))
}

fn own(session: Session) -> OwnSession {
    let browser = session.mode() == SessionMode::Cookies;
    let or = |words: String, unknown: &str| if words.is_empty() { unknown.to_owned() } else { words };
    OwnSession {
        id: uuid(&session.id),
        current: session.current,
        device: or(session.device, "an unknown device"),
        network: or(session.network, "an unknown network"),
        browser,
        signed_in_at: moment(session.created_us),
        last_active_at: moment(session.last_active_us),
        ends_at: moment(session.ends_us),
        idle_ends_at: moment(session.idle_us),
    }
}

/// `DELETE /v1/sessions/{id}`: one of one's own; anybody else's is not there.
pub(crate) async fn end(app: &App, call: Call, asker: Asker) -> Result<Response, Refused> {
    let id = id_of(&call).ok_or(Reason::SessionNotFound)?;
    revoke(app, &asker, Target::Session(id.as_bytes().to_vec()), String::new()).await.map_err(not_theirs)?;
    let mut response = told::nothing();
    if asker.by_cookie && id == asker.claims.session {
        told::set(&mut response, cookies::clear());
    }
    Ok(response)
}

/// Whether it is somebody else's is not theirs to learn.
fn not_theirs(failure: Failure) -> Refused {
    match failure.reason() {
        Reason::ReasonRequired | Reason::RoleRequired | Reason::CallerRefused => Reason::SessionNotFound.into(),
        _ => failure.into(),
    }
}

/// `DELETE /v1/sessions`: all of one's own but the one that asks, or that one too.
pub(crate) async fn end_others(app: &App, call: Call, asker: Asker) -> Result<Response, Refused> {
    let everywhere = Query::of(&call, &["everywhere"])?.flag("everywhere")?;
    let target = if everywhere { Target::Subject(asker.claims.subject.as_bytes().to_vec()) } else { Target::Others(Others {}) };
    let ended = revoke(app, &asker, target, String::new()).await?;
    let mut response = json(StatusCode::OK, &Ended { ended });
    if everywhere && asker.by_cookie {
        told::set(&mut response, cookies::clear());
    }
    Ok(response)
}

/// Ends sessions, and answers when this gateway refuses their access tokens itself.
pub(super) async fn revoke(app: &App, asker: &Asker, target: Target, reason: String) -> Result<u32, Failure> {
    let request = RevokeSessionsRequest { target: Some(target), reason };
    let revoked = app.clients.revoke_sessions(asker.asks(request)).await?;
    app.verifier.caught_up(revoked.revocation, SIGN_OUT_WAIT).await;
    Ok(revoked.ended)
}

//! Listing sessions, newest first, a page at a time: one's own, or anybody's for who may see them.

use carelink_platform::{clock::Timestamp, grpc::User};
use carelink_proto::token::{ListSessionsRequest, ListSessionsResponse, Session, SessionMode};
use tonic::Extensions;
use uuid::Uuid;

use super::{list, micros, uuid};
use crate::{
    App, Error,
    domain::session::Mode,
    store::{self, Listed, Page},
};

const PAGE: u32 = 100;
const MAX_PAGE: u32 = 1_000;

/// Who may see anybody's.
const READERS: &[&str] = &["admin", "auditor"];

pub(super) async fn list_sessions(app: &App, extensions: &Extensions, request: ListSessionsRequest) -> Result<ListSessionsResponse, Error> {
    let asked = if request.subject.is_empty() { None } else { Some(uuid(&request.subject, "a subject id has 16 bytes")?) };
    let user = User::of(extensions);
    let subject = match user.filter(|user| !user.has_any(READERS)) {
        Some(user) if asked.is_some_and(|asked| asked != user.subject) => return Err(Error::RoleRequired),
        Some(user) => Some(user.subject),
        None => asked,
    };
    let current = user.map(|user| user.session);
    let size = if request.page_size == 0 { PAGE } else { request.page_size.min(MAX_PAGE) };
    let after = if request.cursor.is_empty() { None } else { Some(read_cursor(&request.cursor)?) };
    let listed = store::list_sessions(&app.store, Page { subject, include_ended: request.include_ended, after, size }).await?;
    let full = listed.len() == size as usize;
    let next_cursor = listed.last().filter(|_| full).map(cursor).unwrap_or_default();
    Ok(ListSessionsResponse { sessions: listed.iter().map(|session| encode(session, current)).collect(), next_cursor })
}

/// Where a page ends: the time and id of its last session.
fn cursor(last: &Listed) -> String {
    format!("{}.{}", last.created_at.as_micros(), last.id.simple())
}

fn read_cursor(cursor: &str) -> Result<(Timestamp, Uuid), Error> {
    let error = Error::Input("the cursor is not one that was handed out");
    let parsed = cursor.split_once('.').and_then(|(at, id)| Some((at.parse().ok()?, Uuid::try_parse(id).ok()?)));
    parsed.map(|(at, id)| (Timestamp::from_micros(at), id)).ok_or(error)
}

fn encode(session: &Listed, current: Option<Uuid>) -> Session {
    Session {
        id: session.id.as_bytes().to_vec(),
        subject: session.subject.as_bytes().to_vec(),
        user_id: session.user_id,
        generation: session.generation,
        roles: list(&session.roles),
        amr: list(&session.amr),
        created_us: session.created_at.as_micros(),
        rotated_us: session.rotated_at.as_micros(),
        ends_us: session.ends_at.as_micros(),
        ended_us: micros(session.ended.map(|(at, _)| at)),
        end_reason: session.ended.map(|(_, reason)| reason.as_str().to_owned()).unwrap_or_default(),
        last_active_us: micros(session.active_at),
        idle_us: micros(session.idle_at),
        mode: match session.mode {
            Mode::Bearer => SessionMode::Bearer,
            Mode::Cookies => SessionMode::Cookies,
        }
        .into(),
        device: session.device.clone(),
        network: session.network.clone(),
        current: current == Some(session.id),
    }
}

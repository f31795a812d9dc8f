//! `/v1/admin/audit`: the trail, newest first. Each query is itself an event, written before anything is shown (A7).

use std::collections::BTreeMap;

use axum::response::Response;
use base64::{Engine, engine::general_purpose::STANDARD};
use carelink_platform::clock::Timestamp;
use carelink_proto::audit::{Actor, ActorKind, ListEventsRequest, Outcome, StoredEvent};
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::{
    Asker,
    query::{Query, cursor, moment, uuid, wrong},
};
use crate::{answer::json, app::App, edge::Call, routes::Refused};

/// Who did something.
#[derive(Serialize, JsonSchema)]
struct ActorShown {
    /// `user`, `service`, `operator` or `anonymous`.
    kind: &'static str,
    id: String,
    /// What an operator claims besides; never proven.
    claimed: String,
}

/// The personal part of an event, opened.
#[derive(Serialize, JsonSchema)]
struct PersonalShown {
    network: String,
    user_agent: String,
    text: String,
}

/// An event as the trail holds it.
#[derive(Serialize, JsonSchema)]
struct EventShown {
    /// Its place in the trail, from 1.
    index: u64,
    id: Option<Uuid>,
    /// When it happened (RFC 3339).
    #[schemars(with = "Option<String>")]
    time: Option<Timestamp>,
    /// When it reached the trail (RFC 3339).
    #[schemars(with = "Option<String>")]
    received_at: Option<Timestamp>,
    service: String,
    r#type: String,
    /// `success` or `failure`.
    outcome: &'static str,
    reason: String,
    actor: Option<ActorShown>,
    subject: Option<Uuid>,
    session: Option<Uuid>,
    /// The session's own count of events.
    session_counter: u64,
    object: String,
    /// 32 hexadecimal digits; empty where there is none.
    trace_id: String,
    details: BTreeMap<String, String>,
    personal: Option<PersonalShown>,
    /// Who brought it, as the transport proved it.
    proven_caller: String,
    /// Whether that is somebody who does not write such events: kept, and not to be believed.
    wrong_producer: bool,
    /// What was delivered, in base64, where it could not be read as an event.
    unreadable: Option<String>,
}

/// A page of the trail.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Events {
    events: Vec<EventShown>,
    /// Where the next page begins; null at the end.
    next_cursor: Option<String>,
}

/// `GET /v1/admin/audit`.
pub(crate) async fn list(app: &App, call: Call, asker: Asker) -> Result<Response, Refused> {
    let query = Query::of(&call, &["user", "session", "type", "outcome", "trace_id", "actor", "since", "until", "cursor", "limit"])?;
    let outcome = match query.text("outcome").as_str() {
        "" => Outcome::Unspecified,
        "success" => Outcome::Success,
        "failure" => Outcome::Failure,
        _ => return Err(wrong("`outcome` is success or failure").into()),
    };
    let bytes = |id: Option<Uuid>| id.map(|id| id.as_bytes().to_vec()).unwrap_or_default();
    let request = ListEventsRequest {
        user: bytes(query.id("user")?),
        session: bytes(query.id("session")?),
        r#type: query.text("type"),
        outcome: outcome.into(),
        trace_id: bytes(query.id("trace_id")?),
        actor: query.text("actor"),
        since_us: query.time("since")?,
        until_us: query.time("until")?,
        page_size: query.limit()?,
        cursor: query.text("cursor"),
        ..ListEventsRequest::default()
    };
    let page = app.clients.list_events(asker.asks(request)).await?;
    let events = page.events.into_iter().map(shown).collect();
    Ok(json(StatusCode::OK, &Events { events, next_cursor: cursor(page.next_cursor) }))
}

fn shown(stored: StoredEvent) -> EventShown {
    let unreadable = stored.event.is_none().then(|| STANDARD.encode(&stored.unreadable));
    let event = stored.event.unwrap_or_default();
    let outcome = match event.outcome() {
        Outcome::Success => "success",
        Outcome::Failure => "failure",
        Outcome::Unspecified => "unknown",
    };
    EventShown {
        index: stored.index,
        id: uuid(&event.id),
        time: moment(event.time_us),
        received_at: moment(stored.received_us),
        outcome,
        actor: event.actor.map(actor),
        subject: uuid(&event.subject),
        session: uuid(&event.session),
        session_counter: event.session_counter,
        trace_id: uuid(&event.trace_id).map(|id| id.simple().to_string()).unwrap_or_default(),
        details: event.details.into_iter().collect(),
        service: event.service,
        r#type: event.r#type,
        reason: event.reason,
        object: event.object,
        personal: stored.personal.map(|part| PersonalShown { network: part.network, user_agent: part.user_agent, text: part.text }),
        proven_caller: stored.proven_caller,
        wrong_producer: stored.wrong_producer,
        unreadable,
    }
}

fn actor(actor: Actor) -> ActorShown {
    let kind = match actor.kind() {
        ActorKind::User => "user",
        ActorKind::Service => "service",
        ActorKind::Operator => "operator",
        ActorKind::Anonymous => "anonymous",
        ActorKind::Unspecified => "unknown",
    };
    ActorShown { kind, id: actor.id, claimed: actor.claimed }
}

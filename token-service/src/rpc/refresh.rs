//! Refresh (S3): one round trip; replayed, reused and state lost one more.

use std::sync::Arc;

use carelink_platform::events::{Actor, EventType};
use carelink_proto::token::{Origin, RefreshRequest, RefreshResponse};

use super::{call, pair, personal, read_refresh};
use crate::{
    App, Error,
    domain::{
        presented::Presented,
        refresh::{Again, Found, Outcome, outcome},
        session::{EndReason, Jti},
    },
    store::{self, Ending, Replayed, Rotation},
};

pub(super) async fn refresh(app: &App, request: RefreshRequest) -> Result<RefreshResponse, Error> {
    app.trail.admit().map_err(Error::Backlog)?;
    let again = Again { grace: app.config.session.grace, call: call(&request.call)? };
    let presented = read_refresh(app, &request.refresh_token).await?;
    let (deadline, held) = (app.refresh_deadline(request.deadline_us), app.held());
    let rotation = Rotation {
        jti: Jti(app.random.bytes()),
        deadline,
        access_lifetime: app.config.session.access_lifetime,
        access_kid: held.mint.access.current(),
        refresh_kid: held.mint.refresh.current(),
        event: app.trail.note(EventType::SessionRefreshed, app.now(), |event| event.detail("generation", presented.generation)),
        call: again.call,
    };
    let found = store::refresh(&app.store, &presented, rotation).await?;
    let outcome = outcome(&presented, found.as_ref(), deadline, again);
    metrics::counter!("carelink_refreshes_total", "outcome" => name(outcome)).increment(1);
    match (outcome, found) {
        (Outcome::Rotated, Some(found)) => Ok(RefreshResponse { tokens: Some(pair(app, &found.session).await?), replayed: false }),
        (Outcome::Replayed, Some(found)) => replay(app, &presented, found, request.origin).await,
        (Outcome::Reused | Outcome::StateLost, Some(found)) => end(app, &presented, &found, outcome, request.origin).await,
        (outcome, _) => Err(Error::Refused(outcome)),
    }
}

async fn replay(app: &App, presented: &Presented, found: Found, origin: Option<Origin>) -> Result<RefreshResponse, Error> {
    let event = app.trail.note(EventType::SessionReplayed, found.now, |event| {
        event
            .actor(Actor::User(found.session.subject))
            .detail("generation", presented.generation)
            .detail("age_ms", found.now.since(found.session.rotated_at))
            .personal(app.trail.sealing(), &personal(origin))
    });
    let (mut held, kid) = (app.held(), &found.session.minted.access_kid);
    if !held.mint.access.knows(kid) && app.keys.look_again(&held).await? {
        held = app.held();
    }
    let replayed = Replayed {
        access_lifetime: app.config.session.access_lifetime,
        access_kid: held.mint.access.current().to_owned(),
        key_gone: !held.mint.access.knows(kid),
        event,
    };
    match store::record_replay(&app.store, &found.session, replayed).await? {
        // It was one older when it was judged; where the session has moved on since, its successor is the one found then.
        Some(session) => {
            let successor = if session.generation == found.session.generation { &session } else { &found.session };
            Ok(RefreshResponse { tokens: Some(pair(app, successor).await?), replayed: true })
        }
        None => {
            let found = store::find_session(&app.store, presented.session).await?;
            let reason = found.and_then(|found| found.session.ended).map(|(_, reason)| reason);
            Err(Error::Refused(reason.map_or(Outcome::Expired, Outcome::Ended)))
        }
    }
}

/// Ends a session whose token came back old, or is ahead of its row.
async fn end(app: &App, presented: &Presented, found: &Found, outcome: Outcome, origin: Option<Origin>) -> Result<RefreshResponse, Error> {
    let (kind, reason) = match outcome {
        Outcome::Reused => (EventType::SessionReuseDetected, EndReason::Reused),
        _ => (EventType::SessionStateLost, EndReason::StateLost),
    };
    let (trail, personal) = (app.trail.clone(), personal(origin));
    let (generation, held, age) = (presented.generation, found.session.generation, found.now.since(found.session.rotated_at));
    let event = Arc::new(move |_, now| {
        trail.note(kind, now, |event| {
            event
                .actor(Actor::Anonymous) // whoever it was: perhaps not the holder
                .reason(reason.as_str())
                .detail("generation", generation)
                .detail("held", held)
                .detail("age_ms", age)
                .personal(trail.sealing(), &personal)
        })
    });
    let ended = store::end_sessions(&app.store, vec![presented.session], Ending { reason, event }).await?;
    tracing::warn!(session = %presented.session, reason = reason.as_str(), ended = ended.count, "a refresh token that must not exist was presented");
    Err(Error::Refused(outcome))
}

const fn name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Late => "late",
        Outcome::Ended(_) => "ended",
        Outcome::Expired => "expired",
        Outcome::Rotated => "rotated",
        Outcome::Replayed => "replayed",
        Outcome::Reused => "reused",
        Outcome::StateLost => "state_lost",
    }
}

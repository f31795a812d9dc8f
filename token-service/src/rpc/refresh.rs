//! Refresh (S3): one round trip; replayed, reused and state lost one more.

use std::sync::Arc;

use carelink_platform::events::EventType;
use carelink_proto::token::{Origin, RefreshRequest, RefreshResponse};

use super::{pair, personal, plain, read_refresh};
use crate::{
    App, Error,
    domain::{
        presented::Presented,
        refresh::{Found, Outcome, outcome},
        session::{EndReason, Jti},
    },
    store::{self, Ending, Replayed, Rotation},
};

pub(super) async fn refresh(app: &App, request: RefreshRequest) -> Result<RefreshResponse, Error> {
    app.trail.admit().map_err(Error::Backlog)?;
    let presented = read_refresh(app, &request.refresh_token)?;
    let deadline = app.refresh_deadline();
    let rotation = Rotation {
        jti: Jti(app.random.bytes()),
        deadline,
        access_lifetime: app.config.session.access_lifetime,
        access_kid: app.mint.access.current(),
        refresh_kid: app.mint.refresh.current(),
        event: app.trail.note(EventType::SessionRefreshed, app.now(), plain),
    };
    let found = store::refresh(&app.store, &presented, rotation).await?;
    let outcome = outcome(&presented, found.as_ref(), deadline, app.config.session.grace);
    metrics::counter!("carelink_refreshes_total", "outcome" => name(outcome)).increment(1);
    match (outcome, found) {
        (Outcome::Rotated, Some(found)) => Ok(RefreshResponse { tokens: Some(pair(app, &found.session)?), replayed: false }),
        (Outcome::Replayed, Some(found)) => replay(app, &presented, found, request.origin).await,
        (Outcome::Reused, _) => end(app, &presented, outcome, EndReason::Reused, request.origin).await,
        (Outcome::StateLost, _) => end(app, &presented, outcome, EndReason::StateLost, request.origin).await,
        (outcome, _) => Err(Error::Refused(outcome)),
    }
}

async fn replay(app: &App, presented: &Presented, found: Found, origin: Option<Origin>) -> Result<RefreshResponse, Error> {
    let event = app.trail.note(EventType::SessionReplayed, found.now, |event| {
        event
            .detail("generation", presented.generation)
            .detail("age_ms", found.now.since(found.session.rotated_at))
            .personal(app.trail.sealing(), &personal(origin))
    });
    let replayed =
        Replayed { access_lifetime: app.config.session.access_lifetime, access_kid: app.mint.access.current().to_owned(), event };
    match store::record_replay(&app.store, &found.session, replayed).await? {
        Some(session) => Ok(RefreshResponse { tokens: Some(pair(app, &session)?), replayed: true }),
        // It moved on or ended between the two statements: what was one older is now older still, or over.
        None => {
            let found = store::find_session(&app.store, presented.session).await?;
            let reason = found.and_then(|found| found.session.ended).map(|(_, reason)| reason);
            Err(Error::Refused(reason.map_or(Outcome::Late, Outcome::Ended)))
        }
    }
}

/// Ends a session whose token came back old, or is ahead of its row.
async fn end(
    app: &App,
    presented: &Presented,
    outcome: Outcome,
    reason: EndReason,
    origin: Option<Origin>,
) -> Result<RefreshResponse, Error> {
    let kind = if reason == EndReason::Reused { EventType::SessionReuseDetected } else { EventType::SessionStateLost };
    let (trail, generation, personal) = (app.trail.clone(), presented.generation, personal(origin));
    let event = Arc::new(move |now| {
        trail.note(kind, now, |event| event.reason(reason.as_str()).detail("generation", generation).personal(trail.sealing(), &personal))
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

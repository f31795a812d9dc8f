//! Beginning a session for whom a sign-in assertion names (G1, S10).

use std::sync::Arc;

use carelink_platform::{
    errors::Reason,
    events::{Actor, EventType},
    grpc::{Caller, Refused},
};
use carelink_proto::{
    audit::{Outcome, Personal},
    token::{CreateSessionRequest, CreateSessionResponse, SessionMode},
};
use tonic::Extensions;
use uuid::Uuid;

use super::{pair, personal, read_refresh};
use crate::{
    App, Error,
    domain::{
        assertion::Disbelief,
        session::{EndReason, Jti, Mode},
    },
    store::{self, Created, Ending, NewSession},
};

/// What a device or a network is called at most.
const MAX_WORDS_BYTES: usize = 64;
const METHOD: &str = "/carelink.token.v1.TokenService/CreateSession";

pub(super) async fn create_session(
    app: &App,
    extensions: &Extensions,
    request: CreateSessionRequest,
) -> Result<CreateSessionResponse, Error> {
    app.trail.admit().map_err(Error::Backlog)?;
    let now = app.now();
    let caller = extensions.get::<Caller>();
    let presenter = caller.map(Caller::name).ok_or(Disbelief::Addressee)?;
    let asserted = app.pinned.believe(&request.assertion, &presenter, now).inspect_err(|_| {
        let refused = Refused { caller: caller.cloned(), method: METHOD.to_owned(), reason: Reason::AssertionInvalid };
        (app.trail.on_refused())(refused); // perhaps it was taken over
    })?;
    if request.device.len() > MAX_WORDS_BYTES || request.network.len() > MAX_WORDS_BYTES {
        return Err(Error::Input("a device and a network have at most 64 bytes in words"));
    }
    let (subject, personal) = (asserted.subject.id, personal(request.origin));
    let mode = if request.mode == i32::from(SessionMode::Cookies) { Mode::Cookies } else { Mode::Bearer };
    let replaced = replaced(app, &request.replaces_refresh_token).await?;
    let ending = |reason: EndReason| {
        let trail = app.trail.clone();
        let event = Arc::new(move |_, now| {
            trail.note(EventType::SessionEnded, now, |event| event.actor(Actor::User(subject)).reason(reason.as_str()))
        });
        Ending { reason, event }
    };
    let event =
        app.trail.note(EventType::SessionStarted, now, |event| event.actor(Actor::User(subject)).personal(app.trail.sealing(), &personal));
    let held = app.held();
    let new = NewSession {
        id: app.random.uuid_v4(),
        jti: Jti(app.random.bytes()),
        access_kid: held.mint.access.current().to_owned(),
        refresh_kid: held.mint.refresh.current().to_owned(),
        access_lifetime: app.config.session.access_lifetime,
        lifetime: app.config.session.lifetime,
        mode,
        idle_limit: app.config.session.idle_limit(mode),
        device: request.device,
        network: request.network,
        replaces: replaced.map(|id| (id, ending(EndReason::Replaced))),
        cap: app.config.session.cap().map(|most| (most, ending(EndReason::Cap))),
        event,
        // Whoever changed the subject told auth-service, which signed how it is now.
        ended: super::apply_subjects::ended_event(app, Actor::Service("auth-service".to_owned())),
    };
    match store::create_session(&app.store, asserted, new).await? {
        Created::New(session) => {
            Ok(CreateSessionResponse { tokens: Some(pair(app, &session).await?), session: session.id.as_bytes().to_vec() })
        }
        Created::Before(session, now) if session.generation == 0 && session.ended.is_none() && now < session.ends_at => {
            Ok(CreateSessionResponse { tokens: Some(pair(app, &session).await?), session: session.id.as_bytes().to_vec() })
        }
        Created::Before(..) => {
            record_refusal(app, Actor::Anonymous, subject, "assertion_used", &personal).await?;
            Err(Error::AssertionUsed)
        }
        Created::NotAdmitted => {
            record_refusal(app, Actor::User(subject), subject, "not_admitted", &personal).await?;
            Err(Error::NotAdmitted)
        }
    }
}

/// The session that a browser still held (B4); what it held may be anything.
async fn replaced(app: &App, token: &str) -> Result<Option<Uuid>, Error> {
    if token.is_empty() {
        return Ok(None);
    }
    match read_refresh(app, token).await {
        Ok(presented) => Ok(Some(presented.session)),
        Err(Error::Token(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A genuine assertion that begins no session: too late after a change of the subject, or used before.
async fn record_refusal(app: &App, actor: Actor, subject: Uuid, reason: &'static str, personal: &Personal) -> Result<(), Error> {
    let event = app.trail.note(EventType::SessionStarted, app.now(), |event| {
        event.outcome(Outcome::Failure).reason(reason).actor(actor).subject(subject).personal(app.trail.sealing(), personal)
    });
    Ok(app.trail.record(vec![event]).await?)
}

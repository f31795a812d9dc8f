//! Beginning a session for whom a sign-in assertion names (G1, S10).

use carelink_platform::{
    events::{Actor, EventType},
    grpc::Caller,
};
use carelink_proto::token::{CreateSessionRequest, CreateSessionResponse};
use tonic::Extensions;

use super::{pair, personal};
use crate::{
    App, Error,
    domain::{assertion::Disbelief, session::Jti},
    store::{self, Created, NewSession},
};

pub(super) async fn create_session(
    app: &App,
    extensions: &Extensions,
    request: CreateSessionRequest,
) -> Result<CreateSessionResponse, Error> {
    app.trail.admit().map_err(Error::Backlog)?;
    let now = app.now();
    let presenter = extensions.get::<Caller>().map(Caller::name).ok_or(Disbelief::Addressee)?;
    let asserted = app.pinned.believe(&request.assertion, &presenter, now)?;
    let subject = asserted.subject.id;
    let event = app.trail.note(EventType::SessionStarted, now, |event| {
        event.actor(Actor::User(subject)).personal(app.trail.sealing(), &personal(request.origin))
    });
    let new = NewSession {
        id: app.random.uuid_v4(),
        jti: Jti(app.random.bytes()),
        access_kid: app.mint.access.current().to_owned(),
        refresh_kid: app.mint.refresh.current().to_owned(),
        access_lifetime: app.config.session.access_lifetime,
        lifetime: app.config.session.lifetime,
        event,
        // Whoever changed the subject told auth-service, which signed how it is now.
        ended: super::apply_subjects::ended_event(app, Actor::Service("auth-service".to_owned())),
    };
    match store::create_session(&app.store, asserted, new).await? {
        Created::New(session) => Ok(CreateSessionResponse { tokens: Some(pair(app, &session)?), session: session.id.as_bytes().to_vec() }),
        Created::Before(session, now) if session.generation == 0 && session.ended.is_none() && now < session.ends_at => {
            Ok(CreateSessionResponse { tokens: Some(pair(app, &session)?), session: session.id.as_bytes().to_vec() })
        }
        Created::Before(..) => Err(Error::AssertionUsed),
        Created::NotAdmitted => Err(Error::NotAdmitted),
    }
}

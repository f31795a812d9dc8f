//! Sign-out (S9): any genuine token ends its session; of refresh tokens only the current one is told that it did.

use std::sync::Arc;

use carelink_platform::events::{Actor, EventType};
use carelink_proto::token::{SignOutRequest, SignOutResponse};
use uuid::Uuid;

use super::{call, introspect::genuine_access, read_refresh};
use crate::{
    App, Error,
    domain::{
        refresh::Outcome,
        session::{EndReason, Generation, Jti},
    },
    store::{self, Ending},
};

pub(super) async fn sign_out(app: &App, request: SignOutRequest) -> Result<SignOutResponse, Error> {
    let (session, current) = read(app, &request).await?;
    let call = call(&request.call)?;
    let trail = app.trail.clone();
    let event = Arc::new(move |subject, now| {
        trail.note(EventType::SessionSignedOut, now, |event| event.actor(Actor::User(subject)).reason(EndReason::SignedOut.as_str()))
    });
    let ending = Ending { reason: EndReason::SignedOut, event };
    match store::sign_out(&app.store, session, call, ending).await? {
        Some(was) if was.past_its_end => Err(Error::Refused(Outcome::Expired)),
        Some(was) if current.is_none_or(|(generation, jti)| (was.generation, was.jti) == (generation, jti)) => {
            Ok(SignOutResponse { revocation: was.revocation })
        }
        Some(_) => Err(Error::Refused(Outcome::Ended(EndReason::SignedOut))),
        None => {
            let found = store::find_session(&app.store, session).await?;
            let ended = found.and_then(|found| found.session.ended);
            Err(Error::Refused(ended.map_or(Outcome::Expired, |(_, reason)| Outcome::Ended(reason))))
        }
    }
}

/// The session, and what must be current to be told that it ended it; an access token need not be.
async fn read(app: &App, request: &SignOutRequest) -> Result<(Uuid, Option<(Generation, Jti)>), Error> {
    if request.access_token.is_empty() {
        let presented = read_refresh(app, &request.refresh_token).await?;
        return Ok((presented.session, Some((presented.generation, presented.jti))));
    }
    Ok((genuine_access(app, &request.access_token)?.sid, None))
}

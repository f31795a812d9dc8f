//! Sign-out (S9): any genuine refresh token ends its session; only the current one is told that it did.

use std::sync::Arc;

use carelink_platform::events::{Actor, EventType};
use carelink_proto::token::{SignOutRequest, SignOutResponse};

use super::read_refresh;
use crate::{
    App, Error,
    domain::{refresh::Outcome, session::EndReason},
    store::{self, Ending},
};

pub(super) async fn sign_out(app: &App, request: SignOutRequest) -> Result<SignOutResponse, Error> {
    let presented = read_refresh(app, &request.refresh_token).await?;
    let trail = app.trail.clone();
    let event = Arc::new(move |subject, now| {
        trail.note(EventType::SessionSignedOut, now, |event| event.actor(Actor::User(subject)).reason(EndReason::SignedOut.as_str()))
    });
    let ending = Ending { reason: EndReason::SignedOut, event };
    match store::sign_out(&app.store, presented.session, ending).await? {
        Some(was) if was.past_its_end => Err(Error::Refused(Outcome::Expired)),
        Some(was) if (was.generation, was.jti) == (presented.generation, presented.jti) => {
            Ok(SignOutResponse { revocation: was.revocation })
        }
        Some(_) => Err(Error::Refused(Outcome::Ended(EndReason::SignedOut))),
        None => {
            let found = store::find_session(&app.store, presented.session).await?;
            let ended = found.and_then(|found| found.session.ended);
            Err(Error::Refused(ended.map_or(Outcome::Expired, |(_, reason)| Outcome::Ended(reason))))
        }
    }
}

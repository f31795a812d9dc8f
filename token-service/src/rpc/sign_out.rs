//! Sign-out (S9): any genuine refresh token ends its session; only the current one is told that it did.

use std::sync::Arc;

use carelink_platform::events::EventType;
use carelink_proto::token::{SignOutRequest, SignOutResponse};

use super::{plain, read_refresh};
use crate::{
    App, Error,
    domain::{
        refresh::{Outcome, judge},
        session::EndReason,
    },
    store::{self, Ending},
};

pub(super) async fn sign_out(app: &App, request: SignOutRequest) -> Result<SignOutResponse, Error> {
    let presented = read_refresh(app, &request.refresh_token)?;
    let trail = app.trail.clone();
    let event = Arc::new(move |now| trail.note(EventType::SessionSignedOut, now, plain));
    let ending = Ending { reason: EndReason::SignedOut, event };
    match store::sign_out(&app.store, presented.session, ending).await? {
        Some(was) if (was.generation, was.jti) == (presented.generation, presented.jti) => {
            Ok(SignOutResponse { revocation: was.revocation })
        }
        Some(_) => Err(Error::Refused(Outcome::Ended(EndReason::SignedOut))),
        None => {
            let found = store::find_session(&app.store, presented.session).await?;
            let outcome = found.and_then(|found| judge(&presented, &found.session, found.now, app.config.session.grace));
            Err(Error::Refused(outcome.unwrap_or(Outcome::Expired)))
        }
    }
}

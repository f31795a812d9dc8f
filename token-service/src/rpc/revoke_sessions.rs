//! Ending sessions by an administrator or operator.

use std::sync::Arc;

use carelink_platform::events::{Actor, EventType};
use carelink_proto::{
    audit::Personal,
    token::{RevokeSessionsRequest, RevokeSessionsResponse, revoke_sessions_request::Target},
};
use tonic::Extensions;

use super::{MAX_TEXT_BYTES, uuid};
use crate::{
    App, Error,
    domain::session::EndReason,
    store::{self, Ending},
};

pub(super) async fn revoke_sessions(
    app: &App,
    extensions: &Extensions,
    request: RevokeSessionsRequest,
) -> Result<RevokeSessionsResponse, Error> {
    if request.reason.trim().is_empty() {
        return Err(Error::NoReason);
    }
    if request.reason.len() > MAX_TEXT_BYTES {
        return Err(Error::Input("a reason has at most 1,000 bytes"));
    }
    let (trail, actor) = (app.trail.clone(), Actor::of(extensions));
    let personal = Personal { text: request.reason, ..Personal::default() };
    let reason = EndReason::Revoked;
    let event = Arc::new(move |_, now| {
        trail.note(EventType::SessionEnded, now, |event| {
            event.actor(actor.clone()).reason(reason.as_str()).personal(trail.sealing(), &personal)
        })
    });
    let ending = Ending { reason, event };
    let ended = match request.target.ok_or(Error::Input("name a session or a subject"))? {
        Target::Session(id) => {
            let id = uuid(&id, "a session id has 16 bytes")?;
            store::find_session(&app.store, id).await?.ok_or(Error::NoSession)?;
            store::end_sessions(&app.store, vec![id], ending).await?
        }
        Target::Subject(id) => store::end_sessions_of(&app.store, uuid(&id, "a subject id has 16 bytes")?, ending).await?,
    };
    Ok(RevokeSessionsResponse { ended: ended.count, revocation: ended.revocation })
}

//! Ending sessions by their holder, an administrator or an operator.

use std::sync::Arc;

use carelink_platform::{
    events::{Actor, EventType},
    grpc::User,
};
use carelink_proto::{
    audit::Personal,
    token::{RevokeSessionsRequest, RevokeSessionsResponse, revoke_sessions_request::Target},
};
use tonic::Extensions;
use uuid::Uuid;

use super::{MAX_TEXT_BYTES, uuid};
use crate::{
    App, Error,
    domain::session::EndReason,
    store::{self, Ending},
};

/// Who may end anybody's.
const ADMINISTRATORS: &[&str] = &["admin"];

pub(super) async fn revoke_sessions(
    app: &App,
    extensions: &Extensions,
    request: RevokeSessionsRequest,
) -> Result<RevokeSessionsResponse, Error> {
    if request.reason.len() > MAX_TEXT_BYTES {
        return Err(Error::Input("a reason has at most 1,000 bytes"));
    }
    let user = User::of(extensions);
    let target = request.target.ok_or(Error::Input("name a session or a subject"))?;
    let (own, whose) = whose(app, user, &target).await?;
    if !own && request.reason.trim().is_empty() {
        return Err(Error::NoReason);
    }
    let reason = if own { EndReason::SignedOutEverywhere } else { EndReason::Revoked };
    let ending = ending(app, Actor::of(extensions), reason, request.reason);
    let ended = match target {
        Target::Session(id) => store::end_sessions(&app.store, vec![session_id(&id)?], ending).await?,
        Target::Subject(_) => store::end_sessions_of(&app.store, whose, None, ending).await?,
        Target::Others(_) => store::end_sessions_of(&app.store, whose, user.map(|user| user.session), ending).await?,
    };
    Ok(RevokeSessionsResponse { ended: ended.count, revocation: ended.revocation })
}

/// Whose sessions these are, and whether they are those of the user who asks. Of somebody else's an administrator and an operator hear, and
/// nobody else.
async fn whose(app: &App, user: Option<&User>, target: &Target) -> Result<(bool, Uuid), Error> {
    let others_too = user.is_none_or(|user| user.has_any(ADMINISTRATORS));
    let whose = match target {
        Target::Session(id) => {
            let found = store::find_session(&app.store, session_id(id)?).await?.ok_or(Error::NoSession)?;
            let whose = found.session.subject;
            if !others_too && user.is_some_and(|user| user.subject != whose) {
                return Err(Error::NoSession);
            }
            whose
        }
        Target::Subject(id) if id.is_empty() => user.ok_or(Error::Input("a subject id has 16 bytes"))?.subject,
        Target::Subject(id) => uuid(id, "a subject id has 16 bytes")?,
        Target::Others(_) => user.ok_or(Error::Input("others than whose? no user's token came along"))?.subject,
    };
    let own = user.is_some_and(|user| user.subject == whose);
    if own || others_too { Ok((own, whose)) } else { Err(Error::RoleRequired) }
}

fn ending(app: &App, actor: Actor, reason: EndReason, words: String) -> Ending {
    let trail = app.trail.clone();
    let personal = (!words.trim().is_empty()).then(|| Personal { text: words, ..Personal::default() });
    let event = Arc::new(move |_, now| {
        trail.note(EventType::SessionEnded, now, |event| {
            let event = event.actor(actor.clone()).reason(reason.as_str());
            personal.iter().fold(event, |event, personal| event.personal(trail.sealing(), personal))
        })
    });
    Ending { reason, event }
}

fn session_id(id: &[u8]) -> Result<Uuid, Error> {
    uuid(id, "a session id has 16 bytes")
}

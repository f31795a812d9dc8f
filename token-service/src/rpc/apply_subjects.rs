//! Subjects from auth-service (U2).

use std::sync::Arc;

use carelink_platform::events::{Actor, EventType};
use carelink_proto::token::{AppliedSubject, ApplySubjectsRequest, ApplySubjectsResponse};
use tonic::Extensions;

use crate::{
    App, Error,
    domain::subject::Subject,
    store::{self, EndedEvent},
};

const MAX_SUBJECTS: usize = 500;

pub(super) async fn apply_subjects(
    app: &App,
    extensions: &Extensions,
    request: ApplySubjectsRequest,
) -> Result<ApplySubjectsResponse, Error> {
    if request.subjects.len() > MAX_SUBJECTS {
        return Err(Error::Input("at most 500 subjects at a time"));
    }
    let subjects = request.subjects.iter().map(Subject::try_from).collect::<Result<Vec<_>, _>>();
    let subjects = subjects.map_err(|_| Error::Input("a subject wants an id of 16 bytes, a positive user_id and versions in order"))?;
    let ids: Vec<_> = subjects.iter().map(|subject| subject.id).collect();
    let applied = store::apply_subjects(&app.store, subjects, ended_event(app, Actor::of(extensions))).await?;
    let held = ids.iter().zip(applied.held).map(|(id, held_version)| AppliedSubject { id: id.as_bytes().to_vec(), held_version });
    Ok(ApplySubjectsResponse { subjects: held.collect(), revocation: applied.revocation })
}

/// The event of a session that its subject ended.
pub(super) fn ended_event(app: &App, actor: Actor) -> EndedEvent {
    let trail = app.trail.clone();
    Arc::new(move |reason, now| trail.note(EventType::SessionEnded, now, |event| event.actor(actor.clone()).reason(reason.as_str())))
}

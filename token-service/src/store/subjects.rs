//! Subjects, by the one function that applies a snapshot, whoever brings it (U2).

use std::sync::Arc;

use carelink_database::{StoreError, Tx, args, trail::Noted};
use carelink_platform::clock::Timestamp;
use uuid::Uuid;

use super::{
    Ending, Store,
    end_sessions::{Revocation, end_each, live_sessions, revoke},
    statements,
};
use crate::domain::{
    session::EndReason,
    subject::{Agreement, Subject},
};

statements! {
    FIND_SUBJECT = "find_subject";
    PUT_SUBJECT = "put_subject";
    TAKE_ROLES = "take_roles";
}

/// What applying subjects came to.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// The version held now, one per subject.
    pub held: Vec<u64>,
    /// The highest revocation number; 0 for none.
    pub revocation: u64,
}

/// Makes the event of a session that a subject ended.
pub type EndedEvent = Arc<dyn Fn(EndReason, Timestamp) -> Noted + Send + Sync>;

/// Stores what is newer and makes live sessions agree, in one transaction.
///
/// # Errors
/// Those of the database; nothing is applied then.
pub async fn apply_subjects(store: &Store, subjects: Vec<Subject>, event: EndedEvent) -> Result<Applied, StoreError> {
    store
        .revoking("apply_subjects", move |tx| {
            Box::pin(async move {
                let mut order: Vec<usize> = (0..subjects.len()).collect();
                order.sort_by_key(|at| subjects.get(*at).map(|subject| subject.id));
                let mut held = vec![0; subjects.len()];
                let mut revocations = Vec::new();
                for at in order {
                    let (Some(subject), Some(slot)) = (subjects.get(at), held.get_mut(at)) else { continue };
                    *slot = apply(tx, subject, &event, &mut revocations).await?.version;
                }
                let revocation = revoke(tx, revocations).await?;
                Ok(Applied { held, revocation })
            })
        })
        .await
}

/// Applies one snapshot within a transaction; returns what is held now.
pub(super) async fn apply(
    tx: &mut Tx,
    subject: &Subject,
    event: &EndedEvent,
    revocations: &mut Vec<Revocation>,
) -> Result<Subject, StoreError> {
    let known = find(tx, subject.id).await?;
    let put = args![
        subject.id,
        subject.user_id,
        subject.version,
        subject.min_version,
        subject.excepted,
        subject.active,
        &subject.roles,
        subject.end_reason.as_str()
    ];
    let newer = !tx.run(&PUT_SUBJECT, put).await?.is_empty();
    match known {
        None => return Ok(subject.clone()), // nobody has sessions before they are known
        Some(held) if !newer => return Ok(held),
        Some(_) => {}
    }
    // A second statement: it sees what was created before the lock was had.
    for live in live_sessions(tx, subject.id).await? {
        match subject.agree(&live) {
            Agreement::Already => {}
            Agreement::End(reason) => {
                let event = Arc::clone(event);
                let ending = Ending { reason, event: Arc::new(move |_, now| event(reason, now)) };
                end_each(tx, vec![live.id], &ending, revocations).await?;
            }
            agreement @ (Agreement::TakeRoles | Agreement::TakeRolesAndRevoke) => {
                let refuse = agreement == Agreement::TakeRolesAndRevoke;
                for row in tx.run(&TAKE_ROLES, args![live.id, &subject.roles, refuse]).await? {
                    if refuse {
                        let (generation, access_until) = (Some(row.get("generation")?), row.get("access_until")?);
                        revocations.push(Revocation { session: live.id, generation, access_until });
                    }
                }
            }
        }
    }
    Ok(subject.clone())
}

/// A subject as held.
pub(super) async fn find(tx: &mut Tx, id: Uuid) -> Result<Option<Subject>, StoreError> {
    let rows = tx.run(&FIND_SUBJECT, args![id]).await?;
    let subject = |row: &carelink_database::Row| {
        Ok(Subject {
            id: row.get("id")?,
            user_id: row.get("user_id")?,
            version: row.get("version")?,
            min_version: row.get("min_version")?,
            excepted: row.get("excepted_session")?,
            active: row.get("active")?,
            roles: row.get("roles")?,
            end_reason: EndReason::parse(&row.get::<String>("end_reason")?),
        })
    };
    rows.first().map(subject).transpose()
}

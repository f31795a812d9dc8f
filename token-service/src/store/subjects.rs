//! Subjects, by the one function that applies snapshots, whoever brings them (U2).

use std::{collections::BTreeMap, sync::Arc};

use carelink_database::{Row, StoreError, Tx, args, trail::Noted};
use carelink_platform::clock::Timestamp;
use uuid::Uuid;

use super::{
    Store,
    end_sessions::{Revocation, end_rows, live_sessions, revoke},
    statements,
};
use crate::domain::{
    session::EndReason,
    subject::{Agreement, Subject},
};

statements! {
    FIND_SUBJECT = "find_subject" on both;
    PUT_SUBJECT = "put_subject" on both;
    TAKE_ROLES = "take_roles" on both;
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
                let mut revocations = Vec::new();
                let Held { mut before, .. } = apply(tx, &subjects, &event, &mut revocations).await?;
                let revocation = revoke(tx, revocations).await?;
                // As if they had come one after the other: a later one of the same subject is no news to whoever sent both.
                let version = |subject: &Subject| {
                    let held = before.entry(subject.id).or_default();
                    *held = subject.version.max(*held);
                    *held
                };
                Ok(Applied { held: subjects.iter().map(version).collect(), revocation })
            })
        })
        .await
}

/// What is held of subjects.
pub(super) struct Held {
    /// The versions before.
    before: BTreeMap<Uuid, u64>,
    /// What is held now.
    pub(super) now: BTreeMap<Uuid, Subject>,
}

/// Applies snapshots within a transaction. All subjects are locked in the order of ids, then all of their
/// sessions (S11): of several versions of one, only the newest counts.
pub(super) async fn apply(
    tx: &mut Tx,
    subjects: &[Subject],
    event: &EndedEvent,
    revocations: &mut Vec<Revocation>,
) -> Result<Held, StoreError> {
    let mut newest: BTreeMap<Uuid, &Subject> = BTreeMap::new();
    for subject in subjects {
        let kept = newest.entry(subject.id).or_insert(subject);
        if kept.version < subject.version {
            *kept = subject;
        }
    }
    let mut now = find(tx, newest.keys().copied()).await?;
    let version = |(id, held): (&Uuid, &Subject)| (*id, held.version);
    let mut before: BTreeMap<Uuid, u64> = now.iter().map(version).collect();
    newest.retain(|id, subject| now.get(id).is_none_or(|held| held.version < subject.version));
    if newest.is_empty() {
        return Ok(Held { before, now });
    }
    let mut stored = BTreeMap::new();
    for row in tx.run_each(&PUT_SUBJECT, newest.values().map(|subject| put(subject)).collect()).await? {
        let id: Uuid = row.get("id")?;
        if let Some(subject) = newest.remove(&id) {
            stored.insert(id, subject);
        }
    }
    if !newest.is_empty() {
        let meanwhile = find(tx, newest.keys().copied()).await?; // unknown at first, and stored by somebody else since
        before.extend(meanwhile.iter().map(version));
        now.extend(meanwhile);
    }
    agree(tx, &stored, event, revocations).await?;
    now.extend(stored.into_iter().map(|(id, subject)| (id, subject.clone())));
    Ok(Held { before, now })
}

fn put(subject: &Subject) -> Vec<carelink_database::Value> {
    args![
        subject.id,
        subject.user_id,
        subject.version,
        subject.min_version,
        subject.excepted,
        subject.active,
        &subject.roles,
        subject.end_reason.as_str()
    ]
}

/// Makes live sessions agree with their subjects. A statement of its own: it sees what was begun before the locks were had.
async fn agree(
    tx: &mut Tx,
    subjects: &BTreeMap<Uuid, &Subject>,
    event: &EndedEvent,
    revocations: &mut Vec<Revocation>,
) -> Result<(), StoreError> {
    let (mut ends, mut roles) = (BTreeMap::new(), Vec::new());
    for live in live_sessions(tx, subjects.keys().copied()).await? {
        let Some(subject) = subjects.get(&live.subject) else { continue };
        match subject.agree(&live) {
            Agreement::Already => {}
            Agreement::End(reason) => {
                ends.insert(live.id, reason);
            }
            agreement @ (Agreement::TakeRoles | Agreement::TakeRolesAndRevoke) => {
                roles.push(args![live.id, &subject.roles, agreement == Agreement::TakeRolesAndRevoke]);
            }
        }
    }
    if !ends.is_empty() {
        end_rows(tx, ends, None, &|reason, _, now| event(reason, now), revocations).await?;
    }
    if !roles.is_empty() {
        for row in tx.run_each(&TAKE_ROLES, roles).await? {
            if row.get("lost")? {
                let generation = Some(row.get("generation")?);
                revocations.push(Revocation { session: row.get("id")?, generation, access_until: row.get("access_until")? });
            }
        }
    }
    Ok(())
}

/// Subjects as held, locked.
pub(super) async fn find(tx: &mut Tx, ids: impl IntoIterator<Item = Uuid>) -> Result<BTreeMap<Uuid, Subject>, StoreError> {
    let rows = tx.run_each(&FIND_SUBJECT, ids.into_iter().map(|id| args![id]).collect()).await?;
    let subject = |row: &Row| {
        let subject = Subject {
            id: row.get("id")?,
            user_id: row.get("user_id")?,
            version: row.get("version")?,
            min_version: row.get("min_version")?,
            excepted: row.get("excepted_session")?,
            active: row.get("active")?,
            roles: row.get("roles")?,
            end_reason: EndReason::parse(&row.get::<String>("end_reason")?),
        };
        Ok((subject.id, subject))
    };
    rows.iter().map(subject).collect()
}

//! A predecessor's token that no table of it has, at first sight (L3, `legacy.accept = signed`).

use std::{collections::BTreeSet, sync::Arc};

use carelink_database::{StoreError, Tx, args, outbox, trail::Noted};
use carelink_platform::clock::Timestamp;
use uuid::Uuid;

use super::{Store, statements, subjects::find};
use crate::domain::legacy::{Holder, Read};

statements! {
    BEGIN_SIGNED = "begin_signed";
    FIND_HOLDER = "find_holder";
    FORGET_HOLDER = "forget_holder";
    HOLD_HOLDER = "hold_holder" on both;
    REMEMBER_HOLDER = "remember_holder" on both;
}

/// Makes the event of a session that began so, of this subject.
pub type BegunEvent = Arc<dyn Fn(Uuid, Timestamp) -> Noted + Send + Sync>;

/// Remembers who users of a source are here, as they are now; those who may not have sessions are left out.
///
/// # Errors
/// Those of the database; nothing is remembered then.
pub async fn remember_holders(store: &Store, source: String, holders: Vec<(i64, Uuid)>) -> Result<(), StoreError> {
    store
        .db
        .transaction("remember_holders", move |tx| {
            Box::pin(async move {
                let subjects: BTreeSet<Uuid> = holders.iter().map(|(_, subject)| *subject).collect();
                let known = find(tx, subjects).await?;
                let holder = |(legacy_id, subject): &(i64, Uuid)| {
                    let subject = known.get(subject).filter(|subject| subject.active)?;
                    Some(args![&source, *legacy_id, subject.id, subject.version])
                };
                let each: Vec<_> = holders.iter().filter_map(holder).collect();
                if !each.is_empty() {
                    tx.run_each(&REMEMBER_HOLDER, each).await?;
                }
                Ok(())
            })
        })
        .await
}

/// Makes a token the session that it is, if it is to be believed: of an active user whose sessions from back then have not been ended
/// since. Whether it did; of several at once, one does.
///
/// # Errors
/// Those of the database.
pub async fn first_sight(store: &Store, read: Read, until: Timestamp, event: BegunEvent) -> Result<bool, StoreError> {
    store
        .db
        .transaction("first_sight", move |tx| {
            Box::pin(async move {
                let rows = tx.run(&FIND_HOLDER, args![&read.source, read.user]).await?;
                let Some(row) = rows.first() else { return Ok(false) };
                let holder = Holder {
                    subject: row.get("subject")?,
                    version: row.get("version")?,
                    cut_over: row.get("imported_at")?,
                    accepted_until: row.get("accepted_until")?,
                };
                let Some(subject) = find(tx, [holder.subject]).await?.remove(&holder.subject) else { return Ok(false) };
                let now = tx.now().await?;
                let Some(ends_at) = read.session_end(&holder, until, now).filter(|_| subject.admits(holder.version)) else {
                    return Ok(false);
                };
                if tx.run(&HOLD_HOLDER, args![&read.source, read.user]).await?.is_empty() {
                    return Ok(false); // forgotten meanwhile
                }
                let begun = read.issued.unwrap_or(now).min(now);
                let session = args![
                    read.presented.session,
                    subject.id,
                    subject.user_id,
                    holder.version,
                    read.presented.jti.0,
                    &subject.roles,
                    begun,
                    ends_at
                ];
                if tx.run(&BEGIN_SIGNED, session).await?.is_empty() {
                    return Ok(false); // it was one already
                }
                outbox::put(tx, event(subject.id, now).of_session(subject.id, read.presented.session, 1)).await?;
                Ok(true)
            })
        })
        .await
}

/// Believes no token of a subject any longer that is no session yet. To be called before its sessions are looked for, in the same transaction.
///
/// # Errors
/// Those of the database.
pub(super) async fn forget(tx: &mut Tx, subject: Uuid) -> Result<(), StoreError> {
    tx.run(&FORGET_HOLDER, args![subject]).await.map(|_| ())
}

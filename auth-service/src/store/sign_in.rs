//! What a sign-in leaves behind, and what sign-ins are tried against.

use carelink_database::{StoreError, args, trail::Noted};
use carelink_platform::events::{Actor, EventType};
use uuid::Uuid;

use super::{Store, put_event, statements};
use crate::domain::{guessing::NetworkKey, hasher::CostClass, user::StoredHash};

statements! {
    RECORD = "record_sign_in" and postgres;
    UPGRADE = "upgrade_password";
    COST_CLASSES = "cost_classes";
}

/// Records that a user proved who they are, and from which network; guesses before count no more (C5). One round trip.
///
/// # Errors
/// Those of the database.
pub async fn record_sign_in(store: &Store, id: Uuid, network: &NetworkKey, event: Noted) -> Result<(), StoreError> {
    store.db.run(&RECORD, args![id, event.id, event.body, network.hash()]).await.map(|_| ())
}

/// Records that a sign-in failed: the same row whoever was named.
///
/// # Errors
/// Those of the database.
pub async fn record_failure(store: &Store, events: Vec<Noted>) -> Result<(), StoreError> {
    store.trail.record(events).await
}

/// Replaces the hash that a password was verified against by a new one of the same password (C3). Says whether it was still there.
///
/// # Errors
/// Those of the database.
pub async fn upgrade_password(
    store: &Store,
    id: Uuid,
    from: CostClass,
    verified: StoredHash,
    new: StoredHash,
    to: CostClass,
) -> Result<bool, StoreError> {
    let work = store.clone();
    store
        .db
        .transaction("upgrade_password", move |tx| {
            Box::pin(async move {
                let upgraded = tx.run(&UPGRADE, args![id, verified.as_str(), new.as_str(), to.to_string()]).await?;
                if upgraded.is_empty() {
                    return Ok(false);
                }
                let event = work.trail.note(EventType::PasswordUpgraded, tx.now().await?, |event| {
                    event.actor(Actor::User(id)).subject(id).detail("from", from.hasher()).detail("to", to.hasher())
                });
                put_event(tx, event).await.map(|()| true)
            })
        })
        .await
}

/// Which classes of hashes are stored.
///
/// # Errors
/// Those of the database.
pub async fn cost_classes(store: &Store) -> Result<Vec<CostClass>, StoreError> {
    let rows = store.db.query(&COST_CLASSES, args![]).await?;
    let names = rows.iter().map(|row| row.get::<String>("name")).collect::<Result<Vec<_>, _>>()?;
    Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
}

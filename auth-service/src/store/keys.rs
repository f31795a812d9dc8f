//! Which signing keys the trail has heard of.

use carelink_database::{StoreError, args};
use carelink_platform::events::{EventType, Object};

use super::{Store, put_event, statements};

statements! {
    NOTE = "note_key";
}

/// Records a key the first time it is used.
///
/// # Errors
/// Those of the database.
pub async fn note_key(store: &Store, kid: String) -> Result<(), StoreError> {
    let work = store.clone();
    store
        .db
        .transaction("note_key", move |tx| {
            Box::pin(async move {
                if tx.run(&NOTE, args![&kid]).await?.is_empty() {
                    return Ok(());
                }
                let event = work.trail.note(EventType::KeyCreated, tx.now().await?, |event| {
                    event.actor(work.trail.actor()).object(Object::key(&kid)).detail("use", "assertion")
                });
                put_event(tx, event).await
            })
        })
        .await
}

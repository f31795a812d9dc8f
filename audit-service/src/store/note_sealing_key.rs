//! Remembering which keys personal parts were sealed to (A3).

use carelink_database::{Statement, StoreError, Tx, args};

pub(super) static NOTE_SEALING_KEY: Statement = Statement::shared("note_sealing_key", include_str!("sql/note_sealing_key.sql"));

/// Remembers a key. Says whether it is new here.
///
/// # Errors
/// Those of the database.
pub async fn note_sealing_key(tx: &mut Tx, key_id: &str) -> Result<bool, StoreError> {
    Ok(!tx.run(&NOTE_SEALING_KEY, args![key_id]).await?.is_empty())
}

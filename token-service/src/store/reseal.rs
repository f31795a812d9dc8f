//! Everything that is sealed, sealed anew (K3), in one transaction.

use carelink_database::{StoreError, args};

use super::{
    Store,
    keys::{announce, load},
    statements,
};

statements! {
    RESEAL_KEY = "reseal_key";
    RESEAL_SOURCE = "reseal_source";
}

/// Replaces what is sealed of signing keys by kid, and of predecessors' by name, where no key has changed since `version`. Says whether it did.
///
/// # Errors
/// Those of the database; nothing is replaced then.
pub async fn replace_sealed(
    store: &Store,
    version: u64,
    signing: Vec<(String, Vec<u8>)>,
    sources: Vec<(String, Vec<u8>)>,
) -> Result<bool, StoreError> {
    store
        .db
        .transaction("replace_sealed", move |tx| {
            Box::pin(async move {
                if load(tx).await?.version != version {
                    return Ok(false);
                }
                announce(tx).await?;
                for (kid, sealed) in signing {
                    tx.run(&RESEAL_KEY, args![kid, sealed]).await?;
                }
                for (name, sealed) in sources {
                    tx.run(&RESEAL_SOURCE, args![name, sealed]).await?;
                }
                Ok(true)
            })
        })
        .await
}

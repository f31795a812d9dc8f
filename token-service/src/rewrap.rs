//! Another master key (K3): what lies in the database sealed under one is sealed under another, all of it or nothing.
//!
//! For when no token-service runs on the database: one that does holds the old key, and could not open what it loads next.

use carelink_database::{Location, StoreError};
use carelink_platform::{
    clock::Clock,
    random::Random,
    secrets::{MasterKey, SecretError},
};

use crate::{
    Error,
    keys::{SEALED_FOR, SOURCES_SEALED_FOR, context},
    store::{self, Store},
};

/// Seals every signing key and every predecessor's key under `to`. Done twice it changes nothing. Says how many there are.
///
/// # Errors
/// Where the database cannot be used, or something in it is sealed under neither key; nothing is changed then.
pub async fn rewrap(database: Location, from: &MasterKey, to: &MasterKey, random: &Random) -> Result<usize, Error> {
    let store = Store::open(database, Clock::system(), random.clone()).await?;
    let reseal = |purpose: &str, sealed: &[u8], fits: &[u8]| -> Result<Vec<u8>, SecretError> {
        match from.open(purpose, sealed, fits) {
            Ok(plain) => Ok(to.seal(purpose, random, &plain, fits)),
            Err(_) => to.open(purpose, sealed, fits).map(|_| sealed.to_vec()), // done before
        }
    };
    let keys = store::load_keys(&store).await?;
    let mut signing = Vec::new();
    for key in &keys.keys {
        signing.push((key.kid.clone(), reseal(SEALED_FOR, &key.sealed, context(&key.kid, key.purpose).as_bytes())?));
    }
    let mut sources = Vec::new();
    for source in store::load_sources(&store).await? {
        let sealed = reseal(SOURCES_SEALED_FOR, &source.sealed_key, source.name.as_bytes())?;
        sources.push((source.name, sealed));
    }
    let count = signing.len() + sources.len();
    if !store::replace_sealed(&store, keys.version, signing, sources).await? {
        let running = "keys changed meanwhile: stop every token-service first";
        return Err(StoreError::Engine(running.to_owned()).into());
    }
    Ok(count)
}

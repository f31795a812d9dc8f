//! The keys of this service: made at the first start, kept sealed under the master key (K3), opened at every start.

use carelink_database::trail::{Noted, Trail};
use carelink_platform::{
    events::{EventType, Object},
    random::Random,
    secrets::{MasterKey, SecretError},
};
use carelink_proto::token::{KeySet, PublicKey};
use carelink_verifier::key_set_digest;

use crate::{
    Error,
    domain::{
        mint::{AccessKeys, Mint},
        presented::{RefreshKeys, refresh_kid},
    },
    store::{self, Purpose, SealedKey, Store},
};

/// What keys are sealed for.
const SEALED_FOR: &str = "token/signing-keys/v1";
/// What SECRET_KEYs of predecessors are sealed for.
pub(crate) const SOURCES_SEALED_FOR: &str = "token/sources/v1";

/// Opens the keys, or makes them: one that signs access tokens, the next one, already published (K1), and one for refresh tokens.
pub(crate) async fn open(store: &Store, master: &MasterKey, trail: &Trail, random: &Random) -> Result<(AccessKeys, RefreshKeys), Error> {
    let mut stored = store::load_keys(store).await?;
    if stored.is_empty() {
        let new = [
            make(Purpose::Access, 0, master, trail, random)?,
            make(Purpose::Access, 1, master, trail, random)?,
            make(Purpose::Refresh, 0, master, trail, random)?,
        ];
        store::insert_keys(store, new.into()).await?;
        stored = store::load_keys(store).await?;
    }
    let (mut access, mut refresh) = (Vec::new(), Vec::new());
    for key in stored {
        let plain = master.open(SEALED_FOR, &key.sealed, context(&key.kid, key.purpose).as_bytes())?;
        let seed: [u8; 32] = plain.as_slice().try_into().map_err(|_| SecretError::Unreadable)?;
        match key.purpose {
            Purpose::Access => access.push(seed),
            Purpose::Refresh => refresh.push(seed),
        }
    }
    Ok((AccessKeys::new(access)?, RefreshKeys::new(refresh)))
}

fn make(purpose: Purpose, rank: u32, master: &MasterKey, trail: &Trail, random: &Random) -> Result<(SealedKey, Noted), Error> {
    let seed = random.bytes::<32>();
    let kid = match purpose {
        Purpose::Access => AccessKeys::new([seed])?.current().to_owned(),
        Purpose::Refresh => refresh_kid(&seed),
    };
    let sealed = master.seal(SEALED_FOR, random, &seed, context(&kid, purpose).as_bytes());
    let now = trail.now();
    let event = trail
        .note(EventType::KeyCreated, now, |event| event.actor(trail.actor()).object(Object::key(&kid)).detail("use", purpose.as_str()));
    Ok((SealedKey { kid, purpose, rank, sealed }, event))
}

/// A sealed key fits its own row only.
fn context(kid: &str, purpose: Purpose) -> String {
    format!("{}:{kid}", purpose.as_str())
}

/// The public halves, as verifiers get them.
pub(crate) fn key_set(mint: &Mint) -> KeySet {
    let public = |(kid, key): (String, [u8; 32])| PublicKey { kid, algorithm: "EdDSA".to_owned(), public_key: key.to_vec() };
    let keys: Vec<PublicKey> = mint.access.public().into_iter().map(public).collect();
    let digest = key_set_digest(&keys);
    KeySet { keys, digest }
}

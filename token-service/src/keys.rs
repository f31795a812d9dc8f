//! The keys of this service, as this replica holds them: made at the first start, kept sealed under the master key (K3), opened at every
//! start and whenever another replica changed them (K1). Beside them what is known of predecessors, whose keys come and go likewise.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use carelink_database::{StoreError, trail::Trail};
use carelink_platform::{
    events::{Actor, EventType, Object},
    random::Random,
    secrets::{MasterKey, SecretError, SecretString},
};
use carelink_proto::{
    audit::Personal,
    token::{KeySet, PublicKey},
};
use carelink_verifier::key_set_digest;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep_until},
};

use crate::{
    Config, Error,
    domain::{
        keys::State,
        legacy::{self, Source},
        mint::{AccessKeys, Mint},
        presented::{RefreshKeys, refresh_kid},
    },
    store::{self, Change, KeyEvent, NewKey, Purpose, Store},
};

/// What keys are sealed for.
pub(crate) const SEALED_FOR: &str = "token/signing-keys/v1";
/// What SECRET_KEYs of predecessors are sealed for.
pub(crate) const SOURCES_SEALED_FOR: &str = "token/sources/v1";
/// Strangers who present keys that nobody has make us look no more often, and wait so long.
const LOOK_AT_MOST_EVERY: Duration = Duration::from_millis(50);

/// Everything that is signed and read with. One value: nothing is ever made of parts of two.
#[derive(Debug)]
pub(crate) struct Held {
    /// Which of the changes of keys it is.
    version: u64,
    /// Signs.
    pub(crate) mint: Mint,
    /// The public halves, as verifiers get them.
    pub(crate) published: KeySet,
    /// Predecessors.
    pub(crate) sources: Vec<Source>,
}

/// The keys. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    store: Store,
    master: MasterKey,
    config: Arc<Config>,
    held: Arc<ArcSwap<Held>>,
    /// When the last look began that a stranger's key made us take.
    looked: Arc<Mutex<Option<Instant>>>,
}

impl Keys {
    /// Opens the keys, or makes them: those that sign and the next ones, already published (K1).
    pub(crate) async fn open(store: Store, master: MasterKey, config: Arc<Config>, trail: &Trail, random: &Random) -> Result<Self, Error> {
        let stored = store::load_keys(&store).await?;
        if Purpose::ALL.into_iter().any(|purpose| stored.pair(purpose).is_none()) {
            let change = change(&config, &master, trail, random, &trail.actor(), None);
            store::change_keys(&store, change).await?;
        }
        let held = Arc::new(ArcSwap::new(load(&store, &master, &config).await?));
        Ok(Self { store, master, config, held, looked: Arc::default() })
    }

    /// As they are here now.
    pub(crate) fn held(&self) -> Arc<Held> {
        self.held.load_full()
    }

    /// Takes up the keys as they are stored, if another version than ours.
    pub(crate) async fn follow(&self, version: u64) -> Result<(), Error> {
        if self.held.load().version == version { Ok(()) } else { self.reload().await }
    }

    /// Takes up the keys as they are stored.
    pub(crate) async fn reload(&self) -> Result<(), Error> {
        let held = load(&self.store, &self.master, &self.config).await?;
        self.held.rcu(|before| Arc::clone(if before.version > held.version { before } else { &held })); // of two who load, the newest stays
        Ok(())
    }

    /// Somebody brought a token by a key that is not among `held`: perhaps another replica's newest. Says whether there are others now.
    /// One look at a time: who comes while one waits for its turn shares it.
    pub(crate) async fn look_again(&self, held: &Held) -> Result<bool, Error> {
        let came = Instant::now();
        let newer = || self.held.load().version != held.version;
        if newer() || !self.store.db.is_shared() {
            return Ok(newer()); // nobody else changes them, and who does here takes them up
        }
        let mut looked = self.looked.lock().await;
        if looked.is_none_or(|began| began < came) {
            if let Some(began) = *looked {
                sleep_until(began + LOOK_AT_MOST_EVERY).await;
            }
            *looked = Some(Instant::now());
            self.reload().await?;
        }
        Ok(newer())
    }
}

/// What is done about keys by `actor`; nothing but what is due, unless asked for more.
pub(crate) fn change(config: &Config, master: &MasterKey, trail: &Trail, random: &Random, actor: &Actor, reason: Option<&str>) -> Change {
    let (maker, sealer) = (random.clone(), master.clone());
    let (trail, actor) = (trail.clone(), actor.clone());
    let words = reason.map(|text| Personal { text: text.to_owned(), ..Personal::default() });
    Change {
        under: None,
        ask: Vec::new(),
        policy: config.token.key_policy(),
        access_lifetime: config.session.access_lifetime,
        make: Arc::new(move |purpose| make(purpose, &sealer, &maker).map_err(|error| StoreError::Engine(error.to_string()))),
        event: Arc::new(move |what, kid, now| {
            let (kind, purpose) = match what {
                KeyEvent::Created(purpose) => (EventType::KeyCreated, Some(purpose)),
                KeyEvent::Rotated(purpose) => (EventType::KeyRotated, Some(purpose)),
                KeyEvent::Withdrawn(purpose) => (EventType::KeyWithdrawn, Some(purpose)),
                KeyEvent::Deleted => (EventType::KeyDeleted, None),
            };
            trail.note(kind, now, |event| {
                let event = event.actor(actor.clone()).object(Object::key(kid));
                let event = purpose.into_iter().fold(event, |event, purpose| event.detail("use", purpose.as_str()));
                words.iter().fold(event, |event, words| event.personal(trail.sealing(), words))
            })
        }),
    }
}

async fn load(store: &Store, master: &MasterKey, config: &Config) -> Result<Arc<Held>, Error> {
    let stored = store::load_keys(store).await?;
    let (mut access, mut refresh) = (Vec::new(), Vec::new());
    for key in &stored.keys {
        let plain = master.open(SEALED_FOR, &key.sealed, context(&key.kid, key.purpose).as_bytes())?;
        let seed: [u8; 32] = plain.as_slice().try_into().map_err(|_| SecretError::Unreadable)?;
        let keys = if key.purpose == Purpose::Access { &mut access } else { &mut refresh };
        let at = if key.life.state() == State::Signing { 0 } else { keys.len() }; // the first signs
        keys.insert(at, seed);
    }
    let mint = Mint::new(AccessKeys::new(access)?, RefreshKeys::new(refresh), &config.token.issuer, &config.token.audience);
    let published = key_set(&mint);
    Ok(Arc::new(Held { version: stored.version, published, mint, sources: sources(store, master).await? }))
}

async fn sources(store: &Store, master: &MasterKey) -> Result<Vec<Source>, Error> {
    let mut sources = Vec::new();
    for stored in store::load_sources(store).await? {
        let key = master.open(SOURCES_SEALED_FOR, &stored.sealed_key, stored.name.as_bytes())?;
        let secret = SecretString::from(String::from_utf8_lossy(&key).into_owned());
        if let Some(algorithm) = legacy::algorithm(&stored.algorithm) {
            sources.push(Source::new(&stored.name, &secret, algorithm));
        }
    }
    Ok(sources)
}

fn make(purpose: Purpose, master: &MasterKey, random: &Random) -> Result<NewKey, Error> {
    let seed = random.bytes::<32>();
    let kid = match purpose {
        Purpose::Access => AccessKeys::new([seed])?.current().to_owned(),
        Purpose::Refresh => refresh_kid(&seed),
    };
    let sealed = master.seal(SEALED_FOR, random, &seed, context(&kid, purpose).as_bytes());
    Ok(NewKey { kid, sealed })
}

/// A sealed key fits its own row only.
pub(crate) fn context(kid: &str, purpose: Purpose) -> String {
    format!("{}:{kid}", purpose.as_str())
}

fn key_set(mint: &Mint) -> KeySet {
    let public = |(kid, key): (String, [u8; 32])| PublicKey { kid, algorithm: "EdDSA".to_owned(), public_key: key.to_vec() };
    let keys: Vec<PublicKey> = mint.access.public().into_iter().map(public).collect();
    let digest = key_set_digest(&keys);
    KeySet { keys, digest }
}

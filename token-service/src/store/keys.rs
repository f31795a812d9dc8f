//! Keys that sign, sealed under the master key (K3), and their lives (K1).

use std::{sync::Arc, time::Duration};

use carelink_database::{
    Row, StoreError, Tx, args,
    lease::{Epoch, Lease},
    outbox,
    trail::Noted,
};
use carelink_platform::clock::Timestamp;

use super::{Store, micros, statements};
use crate::domain::keys::{Life, Policy, State};

statements! {
    LOAD_KEYS = "load_keys";
    INSERT_KEY = "insert_key";
    ANNOUNCE_KEYS = "announce_keys";
    ROTATE_KEYS = "rotate_keys";
    ASK_KEYS = "ask_keys";
    DELETE_OLD_KEYS = "delete_old_keys";
}

/// A retired key outlives the longest access token by so much.
const KEEP: Duration = Duration::from_secs(600);
/// No session is left of those that began before so long ago, whatever it was imported with.
const LONGEST_SESSION: Duration = Duration::from_secs(31 * 24 * 3_600);

/// What a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Access tokens: Ed25519.
    Access,
    /// Refresh tokens: HMAC.
    Refresh,
}

impl Purpose {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Access, Self::Refresh];

    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Refresh => "refresh",
        }
    }
}

/// A key as it is stored.
#[derive(Clone, Debug)]
pub struct SealedKey {
    /// Its id.
    pub kid: String,
    /// What it signs.
    pub purpose: Purpose,
    /// Keys sign in the order of ranks.
    pub rank: u64,
    /// Only the master key opens it.
    pub sealed: Vec<u8>,
    /// What became of it.
    pub life: Life,
}

/// All keys.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// By purpose, in the order of ranks.
    pub keys: Vec<SealedKey>,
    /// Changes with every change of one.
    pub version: u64,
    /// The database's time.
    pub now: Timestamp,
}

impl Keys {
    fn of(&self, purpose: Purpose, state: State) -> Option<&SealedKey> {
        self.keys.iter().find(|key| key.purpose == purpose && key.life.state() == state)
    }

    /// Keys sign in the order of ranks; the next one's.
    pub(super) fn next_rank(&self, purpose: Purpose) -> u64 {
        self.keys.iter().filter(|key| key.purpose == purpose).map(|key| key.rank + 1).max().unwrap_or(0)
    }

    /// The key that signs, and the next one.
    pub fn pair(&self, purpose: Purpose) -> Option<(&SealedKey, &SealedKey)> {
        self.of(purpose, State::Signing).zip(self.of(purpose, State::Next))
    }

    /// Whether there is anything to do: one is missing, due, or past the last token it signed.
    pub fn want_change(&self, policy: &Policy, access_lifetime: Duration) -> bool {
        let wanting = |purpose| self.pair(purpose).is_none_or(|(signing, next)| policy.is_due(&signing.life, &next.life, self.now));
        let life = |purpose| if purpose == Purpose::Access { access_lifetime + KEEP } else { LONGEST_SESSION };
        let gone = |key: &SealedKey| key.life.retired_at.is_some_and(|at| at + life(key.purpose) <= self.now);
        Purpose::ALL.into_iter().any(wanting) || self.keys.iter().any(gone)
    }
}

/// A key that was just made.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Its id.
    pub kid: String,
    /// Only the master key opens it.
    pub sealed: Vec<u8>,
}

/// What is done about keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyEvent {
    /// One was made.
    Created(Purpose),
    /// One signs in another's place.
    Rotated(Purpose),
    /// One was taken away.
    Withdrawn(Purpose),
    /// One is past the last token it signed.
    Deleted,
}

/// How keys are changed.
#[derive(Clone)]
pub struct Change {
    /// Checked in the same transaction; None: an operator's own doing, or a start.
    pub under: Option<(Lease, Epoch)>,
    /// Whose next key is to sign as soon as it may.
    pub ask: Vec<Purpose>,
    /// How keys follow each other.
    pub policy: Policy,
    /// The longest an access token is good for.
    pub access_lifetime: Duration,
    /// Makes a key.
    pub make: Arc<dyn Fn(Purpose) -> Result<NewKey, StoreError> + Send + Sync>,
    /// Makes the event of what was done to the key of this id.
    pub event: Arc<Tell>,
}

/// Makes the event of what was done to the key of an id.
pub type Tell = dyn Fn(KeyEvent, &str, Timestamp) -> Noted + Send + Sync;

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Change(ask: {:?})", self.ask)
    }
}

/// Every key.
///
/// # Errors
/// Those of the database.
pub async fn load_keys(store: &Store) -> Result<Keys, StoreError> {
    keys(&store.db.query(&LOAD_KEYS, args![]).await?)
}

/// Makes keys that are missing, lets the next ones sign that are due, deletes those past their last token. One change at a time, whichever
/// replica does it. None: the lease has gone to somebody else.
///
/// # Errors
/// Those of the database; nothing is changed then.
pub async fn change_keys(store: &Store, change: Change) -> Result<Option<Keys>, StoreError> {
    store.revoking("change_keys", move |tx| Box::pin(async move { change_within(tx, &change).await })).await
}

async fn change_within(tx: &mut Tx, change: &Change) -> Result<Option<Keys>, StoreError> {
    if let Some((lease, epoch)) = &change.under
        && !lease.holds(tx, *epoch).await?
    {
        return Ok(None);
    }
    announce(tx).await?;
    let held = load(tx).await?;
    for purpose in Purpose::ALL {
        if change.ask.contains(&purpose) {
            tx.run(&ASK_KEYS, args![purpose.as_str()]).await?;
        }
        let mut rank = held.next_rank(purpose);
        for state in [State::Signing, State::Next] {
            if held.of(purpose, state).is_none() {
                insert(tx, change, purpose, rank, state == State::Signing, held.now).await?;
                rank += 1;
            }
        }
        let due = load(tx).await?;
        if due.pair(purpose).is_some_and(|(signing, next)| change.policy.is_due(&signing.life, &next.life, due.now)) {
            rotate(tx, change, purpose, due.now).await?;
            insert(tx, change, purpose, rank, false, due.now).await?;
        }
    }
    let rows = tx.run(&DELETE_OLD_KEYS, args![micros(change.access_lifetime + KEEP), micros(KEEP)]).await?;
    record(tx, change, KeyEvent::Deleted, &rows, held.now).await?;
    load(tx).await.map(Some)
}

/// Tells every replica that keys changed; whoever changes one does this first.
pub(super) async fn announce(tx: &mut Tx) -> Result<(), StoreError> {
    tx.run(&ANNOUNCE_KEYS, args![]).await.map(|_| ())
}

/// The next key signs.
pub(super) async fn rotate(tx: &mut Tx, change: &Change, purpose: Purpose, now: Timestamp) -> Result<(), StoreError> {
    let rows = tx.run(&ROTATE_KEYS, args![purpose.as_str()]).await?;
    record(tx, change, KeyEvent::Rotated(purpose), &rows, now).await
}

pub(super) async fn load(tx: &mut Tx) -> Result<Keys, StoreError> {
    keys(&tx.run(&LOAD_KEYS, args![]).await?)
}

pub(super) async fn insert(
    tx: &mut Tx,
    change: &Change,
    purpose: Purpose,
    rank: u64,
    signs: bool,
    now: Timestamp,
) -> Result<(), StoreError> {
    let NewKey { kid, sealed } = (change.make)(purpose)?;
    let event = (change.event)(KeyEvent::Created(purpose), &kid, now);
    tx.run(&INSERT_KEY, args![kid, purpose.as_str(), rank, sealed, signs]).await?;
    outbox::put(tx, event.outgoing()).await.map(|_| ())
}

pub(super) async fn record(tx: &mut Tx, change: &Change, what: KeyEvent, rows: &[Row], now: Timestamp) -> Result<(), StoreError> {
    for row in rows {
        let kid: String = row.get("kid")?;
        outbox::put(tx, (change.event)(what, &kid, now).outgoing()).await?;
    }
    Ok(())
}

fn keys(rows: &[Row]) -> Result<Keys, StoreError> {
    let (version, now) =
        rows.first().map_or(Ok((0, Timestamp::ZERO)), |row| Ok::<_, StoreError>((row.get("version")?, row.get("now")?)))?;
    let mut keys = Vec::with_capacity(rows.len());
    for row in rows {
        let (Some(kid), Some(purpose)) = (row.get::<Option<String>>("kid")?, row.get::<Option<String>>("purpose")?) else { continue };
        keys.push(SealedKey {
            kid,
            purpose: if purpose == Purpose::Access.as_str() { Purpose::Access } else { Purpose::Refresh },
            rank: row.get("rank")?,
            sealed: row.get("sealed")?,
            life: Life {
                created_at: row.get("created_at")?,
                signs_from: row.get("signs_from")?,
                retired_at: row.get("retired_at")?,
                asked_at: row.get("asked_at")?,
            },
        });
    }
    Ok(Keys { keys, version, now })
}

//! Guesses at accounts, counted where all replicas see them (C4, C5). A try is reserved before it is made, by one conditional statement.

use carelink_database::{Row, StoreError, Value, args, lease::Epoch, lease::Lease};
use carelink_platform::{clock::Timestamp, events::EventType};
use uuid::Uuid;

use super::{Author, Store, links, put_event, rows, statements};
use crate::{
    Error,
    domain::{
        guessing::{Guesses, KNOWN_DEVICES, KNOWN_NETWORKS, NetworkKey, ONE_NETWORK, STRANGERS, Way},
        names,
        user::Credentials,
    },
};

statements! {
    RESERVE = "reserve_sign_in" and postgres;
    RESERVE_OWN = "reserve_own" and postgres;
    REFUND = "refund_try" and postgres;
    OPEN = "open_account";
    SHOW = "show_guessing";
    SWEEP = "sweep_guessing";
}

/// Names that nobody has, and whose guesses are counted all the same.
const NOBODIES: u32 = 100_000;
/// Rows that are swept at a time.
const BATCH: u32 = 1_000;

/// From where a try is made.
#[derive(Clone, Debug)]
pub struct From<'a> {
    /// The network.
    pub network: &'a NetworkKey,
    /// Whom the device is known of.
    pub device: Option<Uuid>,
    /// Whether strangers are turned away whatever they may still guess.
    pub known_only: bool,
}

/// A try at an account.
#[derive(Clone, Debug)]
pub struct Try {
    /// Whose it is: the user's id, or the HMAC of a name that nobody has.
    pub account: Uuid,
    /// By which way they come.
    pub way: Way,
    /// The guesses with this one; none where that way is closed and nothing was counted.
    pub reserved: Option<Guesses>,
    /// The user, with their hash.
    pub found: Option<Credentials>,
}

/// What is known of guesses at an account.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// In a row.
    pub guesses: Guesses,
    /// When the last one was.
    pub last: Option<Timestamp>,
    /// From how many networks the user signs in.
    pub known_networks: u32,
}

/// Reserves a try at whom a name or an e-mail address signs in (C1), and finds them. `unknown` stands for the name where nobody has it.
///
/// # Errors
/// Those of the database.
pub async fn reserve_sign_in(store: &Store, name: &str, unknown: Uuid, from: From<'_>) -> Result<Try, StoreError> {
    let name = if names::possible(name) { name } else { "" }; // nobody's
    let reserved = store.db.run(&RESERVE, bind(args![name, unknown], &from)).await?;
    read(&reserved, unknown)
}

/// Reserves a try at a user's own password, and finds them.
///
/// # Errors
/// Those of the database.
pub async fn reserve_own(store: &Store, id: Uuid, from: From<'_>) -> Result<Try, StoreError> {
    let reserved = store.db.run(&RESERVE_OWN, bind(args![id, id], &from)).await?;
    read(&reserved, id)
}

fn bind(whom: Vec<Value>, from: &From<'_>) -> Vec<Value> {
    let network = from.network;
    let rest = args![network.name(), network.hash(), from.device, from.known_only, STRANGERS, ONE_NETWORK, KNOWN_NETWORKS, KNOWN_DEVICES];
    whom.into_iter().chain(rest).collect()
}

fn read(rows: &[Row], account: Uuid) -> Result<Try, StoreError> {
    let Some(row) = rows.first() else { return Ok(Try { account, way: Way::Strangers, reserved: None, found: None }) };
    let reserved: bool = row.get("reserved")?;
    let found: Option<Uuid> = row.get("id")?;
    Ok(Try {
        account: row.get("account")?,
        way: Way::read(&row.get::<String>("way")?),
        reserved: if reserved { Some(guesses(row)?) } else { None },
        found: if found.is_some() { Some(rows::credentials(row)?) } else { None },
    })
}

fn guesses(row: &Row) -> Result<Guesses, StoreError> {
    Ok(Guesses::new(row.get("strangers")?, row.get("known_networks")?, row.get("known_devices")?, &row.get::<String>("by_network")?))
}

/// Gives back a try that was reserved and not made.
///
/// # Errors
/// Those of the database.
pub async fn refund(store: &Store, account: Uuid, way: Way, network: &NetworkKey) -> Result<(), StoreError> {
    store.db.run(&REFUND, args![account, way.as_str(), network.name()]).await.map(|_| ())
}

/// Opens an account to guesses again. Says which ways were closed; none: there is no such user.
///
/// # Errors
/// Those of the database.
pub async fn unlock_user(store: &Store, id: Uuid, author: Author) -> Result<Option<Vec<Way>>, Error> {
    let work = store.clone();
    store
        .db
        .transaction("unlock_user", move |tx| {
            Box::pin(async move {
                let Some((_, now)) = super::change_user::lock(tx, id).await? else { return Ok(None) };
                let opened = tx.run(&OPEN, args![id]).await?.first().map(guesses).transpose()?.unwrap_or_default();
                let event = work.note(&author, EventType::UserUnlocked, now, |event| {
                    let event = event.subject(id).detail("strangers", opened.strangers);
                    event.detail("known_networks", opened.known_networks).detail("known_devices", opened.known_devices)
                });
                put_event(tx, event).await?;
                Ok(Some(opened.closed()))
            })
        })
        .await
}

/// Forgets what was guessed at an account whose password is a new one.
pub(super) async fn forget(tx: &mut carelink_database::Tx, id: Uuid) -> Result<(), StoreError> {
    tx.run(&OPEN, args![id]).await.map(|_| ())
}

/// What is known of guesses at an account; `user` where it is somebody's.
///
/// # Errors
/// Those of the database.
pub async fn show_guessing(store: &Store, account: Uuid, user: Option<Uuid>) -> Result<Shown, StoreError> {
    let rows = store.db.query(&SHOW, args![account, user]).await?;
    let Some(row) = rows.first() else { return Ok(Shown::default()) };
    let last: Option<Timestamp> = row.get("guessed_at")?;
    let guesses = if last.is_some() { guesses(row)? } else { Guesses::default() };
    Ok(Shown { guesses, last, known_networks: row.get("networks")? })
}

/// Forgets what is too old or too much, of links as well, under the lease.
///
/// # Errors
/// Those of the database.
pub async fn sweep(store: &Store, lease: &Lease, epoch: Epoch) -> Result<(), StoreError> {
    let lease = lease.clone();
    store
        .db
        .transaction("sweep", move |tx| {
            Box::pin(async move {
                if lease.holds(tx, epoch).await? {
                    tx.run(&SWEEP, args![NOBODIES, BATCH]).await?;
                    links::sweep(tx, BATCH).await?;
                }
                Ok(())
            })
        })
        .await
}

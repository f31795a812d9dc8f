//! One-time links: asked for, mailed, and good once.

use std::sync::Arc;

use carelink_database::{Row, StoreError, Tx, args, outbox};
use carelink_platform::{
    clock::Timestamp,
    events::{Actor, EventType, Object},
};
use carelink_proto::audit::Personal;
use uuid::Uuid;

use super::{Author, By, Store, change_user, find_user, put_event, statements};
use crate::{
    Error,
    domain::{
        guessing::NetworkKey,
        link::{PER_NETWORK, PER_USER, Purpose},
        names,
        user::User,
    },
    mail::Mail,
};

statements! {
    FIND = "find_for_letter";
    ASK = "ask_for_link";
    PUT = "put_link";
    FIND_LINK = "find_link";
    DELETE = "delete_link";
    SWEEP = "sweep_links";
}

/// A link to be mailed.
#[derive(Clone, Debug)]
pub(crate) struct NewLink {
    pub(crate) purpose: Purpose,
    /// What is mailed.
    pub(crate) token: String,
    /// What is kept of it.
    pub(crate) digest: [u8; 32],
}

/// Who asks for a new password.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// A name or an e-mail address.
    pub(crate) name: String,
    /// Stands for the name where nobody has it.
    pub(crate) unknown: Uuid,
    pub(crate) network: NetworkKey,
    pub(crate) personal: Personal,
}

/// Invites a user. Returns until when; none: no such user.
///
/// # Errors
/// Where no letter can reach them, and those of the database.
pub(crate) async fn invite_user(
    store: &Store,
    mail: Arc<Mail>,
    id: Uuid,
    link: NewLink,
    author: Author,
) -> Result<Option<Timestamp>, Error> {
    let work = store.clone();
    store
        .db
        .transaction("invite_user", move |tx| {
            Box::pin(async move {
                let Some((user, now)) = change_user::lock(tx, id).await? else { return Ok(None) };
                if !user.subject.active || user.email.is_empty() {
                    return Err(Error::NoLetter);
                }
                let expires_at = put(tx, &mail, &user, &link, now).await?;
                let event = work.note(&author, EventType::UserInvited, now, |event| event.subject(id));
                put_event(tx, event).await?;
                Ok(Some(expires_at))
            })
        })
        .await
}

/// Mails a link for a new password to whoever has this name, if anybody has and a letter can reach them.
///
/// # Errors
/// Where too many were asked for from this network, whoever was named, and those of the database.
pub(crate) async fn request_reset(store: &Store, mail: Arc<Mail>, asked: Asked, link: NewLink) -> Result<(), Error> {
    let work = store.clone();
    store
        .db
        .transaction("request_reset", move |tx| {
            Box::pin(async move {
                let Asked { name, unknown, network, personal } = asked;
                if !may_ask(tx, network.name().into_bytes(), PER_NETWORK).await? {
                    return Err(Error::TooManyLinks);
                }
                let name = if names::possible(&name) { name } else { String::new() };
                let found: Option<Uuid> = tx.run(&FIND, args![name]).await?.first().map(|row| row.get("id")).transpose()?;
                let locked = match found {
                    Some(id) => change_user::lock(tx, id).await?,
                    None => None,
                };
                if !may_ask(tx, found.unwrap_or(unknown).as_bytes().to_vec(), PER_USER).await? {
                    return Ok(());
                }
                let now = tx.now().await?;
                let author = Author { actor: Actor::Anonymous, personal };
                let event = work.note(&author, EventType::PasswordResetRequested, now, |event| match &locked {
                    Some((user, _)) => event.subject(user.subject.id),
                    None => event.object(Object::name_digest(unknown.as_bytes())),
                });
                put_event(tx, event).await?;
                if let Some((user, now)) = locked {
                    put(tx, &mail, &user, &link, now).await?;
                }
                Ok(())
            })
        })
        .await
}

/// Whose link that is, and what for; none where it is not, or no longer, good.
///
/// # Errors
/// Those of the database.
pub(crate) async fn find_link(store: &Store, digest: [u8; 32]) -> Result<Option<(User, Purpose)>, StoreError> {
    let rows = store.db.query(&FIND_LINK, args![digest]).await?;
    let Some((id, purpose)) = rows.first().map(read).transpose()? else { return Ok(None) };
    Ok(find_user(store, By::Id(id)).await?.map(|user| (user, purpose)))
}

/// Whether a link is this user's and still good, where nobody else changes them.
pub(super) async fn fits(tx: &mut Tx, id: Uuid, digest: [u8; 32]) -> Result<bool, StoreError> {
    let rows = tx.run(&FIND_LINK, args![digest]).await?;
    Ok(rows.first().map(read).transpose()?.is_some_and(|(whose, _)| whose == id))
}

/// No link of this user is good any more.
pub(super) async fn forget(tx: &mut Tx, id: Uuid) -> Result<(), StoreError> {
    tx.run(&DELETE, args![id]).await.map(|_| ())
}

/// Forgets what has run out.
pub(super) async fn sweep(tx: &mut Tx, at_most: u32) -> Result<(), StoreError> {
    tx.run(&SWEEP, args![at_most]).await.map(|_| ())
}

/// Puts the link into its place and its letter on its way. The user is locked.
async fn put(tx: &mut Tx, mail: &Mail, user: &User, link: &NewLink, now: Timestamp) -> Result<Timestamp, Error> {
    let expires_at = now + link.purpose.lifetime();
    tx.run(&PUT, args![user.subject.id, link.digest, link.purpose.as_str(), expires_at]).await?;
    outbox::put(tx, mail.letter(user, link.purpose, &link.token, expires_at, now)).await?;
    Ok(expires_at)
}

async fn may_ask(tx: &mut Tx, about: Vec<u8>, most: u32) -> Result<bool, StoreError> {
    Ok(!tx.run(&ASK, args![about, most]).await?.is_empty())
}

fn read(row: &Row) -> Result<(Uuid, Purpose), StoreError> {
    let invitation = row.get::<String>("purpose")? == Purpose::Invitation.as_str();
    Ok((row.get("id")?, if invitation { Purpose::Invitation } else { Purpose::Reset }))
}

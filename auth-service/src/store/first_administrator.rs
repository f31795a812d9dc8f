//! The first administrator (C6): made while none has ever existed, with a password that opens nothing but the setting of one.

use carelink_database::{StoreError, args};
use carelink_platform::{clock::Timestamp, events::EventType};
use carelink_proto::audit::Personal;

use super::{ADMINISTRATOR, Author, Changed, Store, create_user, create_user::NewUser, put_event, rows, statements};
use crate::{
    Error,
    domain::{
        names::UserName,
        roles::{ADMIN, Roles},
    },
};

statements! {
    FIND_MILESTONE = "find_milestone";
    BY_USERNAME = "find_user_by_username";
    FIND_ONE_TIME = "find_one_time_password";
    PUT_ONE_TIME = "put_one_time_password";
}

/// A password that opens nothing but the setting of one.
#[derive(Clone, Debug)]
pub struct OneTimePassword {
    /// SHA-256 of it.
    pub digest: [u8; 32],
    /// When it stops doing even that.
    pub expires_at: Timestamp,
}

/// Makes the first administrator, or gives the one that was made and never used a new one-time password. None: there has been one.
///
/// # Errors
/// Those of the database.
pub async fn first_administrator(store: &Store, username: UserName, password: OneTimePassword) -> Result<Option<Changed>, Error> {
    let work = store.clone();
    store
        .db
        .transaction("first_administrator", move |tx| {
            Box::pin(async move {
                let now = create_user::lock_names(tx).await?;
                if !tx.run(&FIND_MILESTONE, args![ADMINISTRATOR]).await?.is_empty() {
                    return Ok(None);
                }
                let author = Author { actor: work.trail.actor(), personal: Personal::default() };
                let there = tx.run(&BY_USERNAME, args![username.as_str()]).await?.first().map(rows::user).transpose()?;
                let made = match there {
                    Some(user) if tx.run(&FIND_ONE_TIME, args![user.subject.id]).await?.is_empty() => {
                        tracing::warn!("no administrator has ever existed, and somebody else has the first one's name");
                        return Ok(None);
                    }
                    Some(user) => Changed { user, pending: None },
                    None => {
                        let roles = Roles::default().with(ADMIN);
                        let new = NewUser { username, email: String::new(), full_name: String::new(), roles, hash: None };
                        create_user::make(&work, tx, new, &author, now).await?
                    }
                };
                let id = made.user.subject.id;
                tx.run(&PUT_ONE_TIME, args![id, password.digest, password.expires_at]).await?;
                let event =
                    work.note(&author, EventType::PasswordChanged, now, |event| event.subject(id).reason("one_time_password_issued"));
                put_event(tx, event).await?;
                Ok(Some(made))
            })
        })
        .await
}

/// Whether no administrator has ever existed.
///
/// # Errors
/// Those of the database.
pub async fn administrator_missing(store: &Store) -> Result<bool, StoreError> {
    Ok(store.db.query(&FIND_MILESTONE, args![ADMINISTRATOR]).await?.is_empty())
}

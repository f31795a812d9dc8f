//! Changing a user: one transaction for the row, the event and the snapshot for token-service.

use carelink_database::{StoreError, Tx, Value, args, trail::Noted};
use carelink_platform::{
    clock::Timestamp,
    events::{Detail, EventType},
};
use uuid::Uuid;

use super::{Author, Changed, Pending, Store, create_user::reach_administrator, guessing, links, rows, statements};
use crate::{
    Error,
    domain::{
        hasher::CostClass,
        link::Purpose,
        password::PasswordForm,
        roles::Roles,
        subject::{Change, Subject},
        user::{Credentials, StoredHash, User},
    },
};

statements! {
    LOCK = "lock_user" and postgres;
    UPDATE_SUBJECT = "update_subject" and postgres;
    UPDATE_PASSWORD = "update_password" and postgres;
    DELETE_ONE_TIME = "delete_one_time_password";
    ONE_TIME_FITS = "one_time_password_fits";
}

/// The hash of a password that was set here.
#[derive(Clone, Debug)]
pub struct NewHash {
    /// As it will stand in the row.
    pub text: StoredHash,
    /// Its hasher and parameters.
    pub class: CostClass,
}

/// Disables or enables a user. None: no such user.
///
/// # Errors
/// Those of the database.
pub async fn set_user_active(store: &Store, id: Uuid, active: bool, author: Author) -> Result<Option<Changed>, Error> {
    let work = store.clone();
    store
        .db
        .transaction("set_user_active", move |tx| {
            Box::pin(async move {
                let Some((user, now)) = lock(tx, id).await? else { return Ok(None) };
                let decided = User { active_set_here: true, ..user };
                if decided.subject.active == active {
                    update_subject(tx, &decided.subject, true).await?; // from now on it is our word, not the source's
                    return Ok(Some(Changed { user: decided, pending: None }));
                }
                let (change, kind) =
                    if active { (Change::Enabled, EventType::UserEnabled) } else { (Change::Disabled, EventType::UserDisabled) };
                let event = work.note(&author, kind, now, |event| event.subject(id));
                let changed = apply(&work, tx, decided, change, event, now).await?;
                if changed.user.cost_class.is_some() {
                    reach_administrator(tx, &changed.user.subject).await?;
                }
                Ok(Some(changed))
            })
        })
        .await
}

/// A password to be set.
#[derive(Clone, Debug)]
pub struct NewPassword {
    /// Whose.
    pub id: Uuid,
    /// Its hash.
    pub hash: NewHash,
    /// By what right.
    pub proof: Proof,
    /// The one session that goes on.
    pub keeps: Option<Uuid>,
}

/// By what right a password is set; looked at once more where nobody else changes the user.
#[derive(Clone, Debug)]
pub enum Proof {
    /// An operator's or administrator's.
    Authority,
    /// The user knew the current one, which has not been set anew since.
    Current {
        /// When that one was set.
        since: Option<Timestamp>,
    },
    /// A one-time password.
    OneTime {
        /// SHA-256 of it.
        digest: [u8; 32],
    },
    /// A link that was mailed to the user.
    Link {
        /// SHA-256 of what was in it.
        digest: [u8; 32],
        /// What for.
        purpose: Purpose,
    },
}

impl Proof {
    /// As the event says it.
    const fn as_str(&self) -> &'static str {
        match self {
            Self::Authority => "authority",
            Self::Current { .. } => "current_password",
            Self::OneTime { .. } => "one_time_password",
            Self::Link { purpose, .. } => purpose.as_str(),
        }
    }
}

/// Sets a password, which ends the user's sessions but for the one that is kept. None: no such user, or the right to it is gone
/// meanwhile. Says whether it took the place of a one-time password (C6).
///
/// # Errors
/// Those of the database.
pub async fn set_password(store: &Store, new: NewPassword, author: Author) -> Result<Option<(Changed, bool)>, Error> {
    let NewPassword { id, hash, proof, keeps } = new;
    let work = store.clone();
    store
        .db
        .transaction("set_password", move |tx| {
            Box::pin(async move {
                let Some((user, now)) = lock(tx, id).await? else { return Ok(None) };
                let by = proof.as_str();
                if !holds(tx, &user, proof).await? {
                    return Ok(None);
                }
                update_password(tx, id, &hash, PasswordForm::Nfc, true).await?;
                guessing::forget(tx, id).await?;
                links::forget(tx, id).await?;
                let redeemed = !tx.run(&DELETE_ONE_TIME, args![id]).await?.is_empty();
                let event = work.note(&author, EventType::PasswordChanged, now, |event| event.subject(id).detail("by", by));
                let user = User {
                    form: PasswordForm::Nfc,
                    cost_class: Some(hash.class),
                    password_set_here: true,
                    password_changed_at: Some(now),
                    ..user
                };
                let changed = apply(&work, tx, user, Change::PasswordChanged { by: keeps }, event, now).await?;
                reach_administrator(tx, &changed.user.subject).await?;
                Ok(Some((changed, redeemed)))
            })
        })
        .await
}

/// Whether the right to set a password is still one.
async fn holds(tx: &mut Tx, user: &User, proof: Proof) -> Result<bool, Error> {
    let active = user.subject.active;
    Ok(match proof {
        Proof::Authority => true,
        Proof::Current { since } => active && user.password_changed_at == since,
        Proof::Link { digest, .. } => active && links::fits(tx, user.subject.id, digest).await?,
        Proof::OneTime { digest } => active && !tx.run(&ONE_TIME_FITS, args![user.subject.id, digest]).await?.is_empty(),
    })
}

/// Whether a one-time password is this user's and still good.
///
/// # Errors
/// Those of the database.
pub async fn one_time_password_fits(store: &Store, id: Uuid, digest: [u8; 32]) -> Result<bool, StoreError> {
    Ok(!store.db.query(&ONE_TIME_FITS, args![id, digest]).await?.is_empty())
}

/// Grants and takes roles. None: no such user.
///
/// # Errors
/// Where there would be too many, and those of the database.
pub async fn change_roles(store: &Store, id: Uuid, add: Roles, remove: Roles, author: Author) -> Result<Option<Changed>, Error> {
    let work = store.clone();
    store
        .db
        .transaction("change_roles", move |tx| {
            Box::pin(async move {
                let Some((user, now)) = lock(tx, id).await? else { return Ok(None) };
                let (roles, changed) = user.subject.roles.change(&add, &remove)?;
                if roles == user.subject.roles {
                    return Ok(Some(Changed { user, pending: None }));
                }
                let event = work.note(&author, EventType::UserRolesChanged, now, |event| {
                    let event = event.subject(id).detail("roles", Detail::roles(roles.iter()));
                    event.detail("added", Detail::roles(changed.added.iter())).detail("removed", Detail::roles(changed.removed.iter()))
                });
                let changed = apply(&work, tx, user, Change::RolesChanged(roles), event, now).await?;
                if changed.user.cost_class.is_some() {
                    reach_administrator(tx, &changed.user.subject).await?;
                }
                Ok(Some(changed))
            })
        })
        .await
}

/// Raises a user past a version that token-service holds and this database does not know of (U2). None where there is nothing to do.
///
/// # Errors
/// Those of the database.
pub async fn raise_past(store: &Store, id: Uuid, held: u64) -> Result<Option<Pending>, Error> {
    let work = store.clone();
    store
        .db
        .transaction("raise_past", move |tx| {
            Box::pin(async move {
                let Some((user, now)) = lock(tx, id).await? else { return Ok(None) };
                if user.subject.version >= held {
                    return Ok(None); // changed again meanwhile; that snapshot is on its way
                }
                let subject = user.subject.raised_past(held);
                update_subject(tx, &subject, user.active_set_here).await?;
                work.put_with_subject(tx, Vec::new(), subject, now).await.map(Some).map_err(Error::from)
            })
        })
        .await
}

/// A user whom nobody else changes until the transaction ends, and when that began to hold.
pub(super) async fn lock(tx: &mut Tx, id: Uuid) -> Result<Option<(User, Timestamp)>, Error> {
    let rows = tx.run(&LOCK, args![id]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let Credentials { user, .. } = rows::credentials(row)?;
    Ok(Some((user, row.get("now")?)))
}

/// Writes the next version of a user, the event and the snapshot.
async fn apply(store: &Store, tx: &mut Tx, user: User, change: Change, event: Noted, now: Timestamp) -> Result<Changed, Error> {
    let subject = user.subject.after(change);
    update_subject(tx, &subject, user.active_set_here).await?;
    let pending = store.put_with_subject(tx, vec![event], subject.clone(), now).await?;
    Ok(Changed { user: User { subject, ..user }, pending: Some(pending) })
}

async fn update_subject(tx: &mut Tx, subject: &Subject, active_set_here: bool) -> Result<(), Error> {
    update_subjects(tx, vec![bind_subject(subject, active_set_here)]).await
}

/// Writes snapshots into their rows, which are locked.
pub(super) async fn update_subjects(tx: &mut Tx, subjects: Vec<Vec<Value>>) -> Result<(), Error> {
    tx.run_each(&UPDATE_SUBJECT, subjects).await?;
    Ok(())
}

pub(super) fn bind_subject(subject: &Subject, active_set_here: bool) -> Vec<Value> {
    let Subject { id, version, min_version, excepted_session, active, roles, end_reason, .. } = subject;
    args![*id, *version, *min_version, *excepted_session, *active, roles.to_json(), end_reason, active_set_here]
}

async fn update_password(tx: &mut Tx, id: Uuid, hash: &NewHash, form: PasswordForm, set_here: bool) -> Result<(), Error> {
    update_passwords(tx, vec![bind_password(id, hash.text.as_str(), form, Some(hash.class), set_here)]).await
}

/// Writes hashes into their rows, which are locked.
pub(super) async fn update_passwords(tx: &mut Tx, passwords: Vec<Vec<Value>>) -> Result<(), Error> {
    tx.run_each(&UPDATE_PASSWORD, passwords).await?;
    Ok(())
}

pub(super) fn bind_password(id: Uuid, hash: &str, form: PasswordForm, class: Option<CostClass>, set_here: bool) -> Vec<Value> {
    args![id, hash, form.as_str(), class.map(|class| class.to_string()), set_here]
}

//! Making a user.

use carelink_database::{Tx, args};
use carelink_platform::{
    clock::Timestamp,
    events::{Detail, EventType},
};
use uuid::Uuid;

use super::{ADMINISTRATOR, Author, Changed, NewHash, Store, put_event, statements};
use crate::{
    Error,
    domain::{
        names::UserName,
        password::PasswordForm,
        roles::{ADMIN, Roles},
        subject::{Subject, USER_IDS},
        user::User,
    },
};

statements! {
    INSERT = "insert_user";
    TAKEN = "taken";
    NEXT_USER_ID = "next_user_id";
    REACH = "reach_milestone";
}

/// A user to be made here.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// What they sign in with.
    pub username: UserName,
    /// Or empty.
    pub email: String,
    /// Or empty.
    pub full_name: String,
    /// What they may do.
    pub roles: Roles,
    /// None: nobody can sign in until one is set.
    pub hash: Option<NewHash>,
}

/// Makes a user.
///
/// # Errors
/// Where the name is taken, and those of the database.
pub async fn create_user(store: &Store, new: NewUser, author: Author) -> Result<Changed, Error> {
    let work = store.clone();
    store.db.transaction("create_user", move |tx| Box::pin(async move { make(&work, tx, new, &author).await })).await
}

pub(super) async fn make(store: &Store, tx: &mut Tx, new: NewUser, author: &Author) -> Result<Changed, Error> {
    let (name_taken, _) = taken(tx, new.username.as_str(), 0).await?;
    if name_taken {
        return Err(Error::NameTaken);
    }
    let now = tx.now().await?;
    let user_id = next_user_id(tx).await?;
    let user = User {
        subject: Subject::new(store.random.uuid_v7(now), user_id, true, new.roles),
        username: new.username.as_str().to_owned(),
        email: new.email,
        full_name: new.full_name,
        active_set_here: false,
        form: PasswordForm::Nfc,
        cost_class: new.hash.as_ref().map(|hash| hash.class),
        password_set_here: new.hash.is_some(),
        password_changed_at: new.hash.as_ref().map(|_| now),
        last_sign_in_at: None,
        created_at: now,
        source: String::new(),
    };
    insert(tx, &user, new.hash.as_ref().map_or(crate::domain::user::StoredHash::UNUSABLE, |hash| hash.text.as_str())).await?;
    if new.hash.is_some() {
        reach_administrator(tx, &user.subject).await?;
    }
    let id = user.subject.id;
    let event = store
        .note(author, EventType::UserCreated, now, |event| event.subject(id).detail("roles", Detail::roles(user.subject.roles.iter())));
    put_event(tx, event).await?;
    let pending = store.put_subject(tx, user.subject.clone(), now).await?;
    Ok(Changed { user, pending: Some(pending) })
}

/// Inserts a user's row.
pub(super) async fn insert(tx: &mut Tx, user: &User, hash: &str) -> Result<(), Error> {
    let User {
        subject,
        username,
        email,
        full_name,
        form,
        cost_class,
        password_set_here,
        password_changed_at,
        last_sign_in_at,
        created_at,
        source,
        ..
    } = user;
    let args = args![
        subject.id,
        subject.user_id,
        username,
        email,
        full_name,
        subject.active,
        subject.roles.to_json(),
        hash,
        form.as_str(),
        cost_class.map(|class| class.to_string()),
        *password_set_here,
        *password_changed_at,
        *last_sign_in_at,
        *created_at,
        source
    ];
    tx.run(&INSERT, args).await?;
    Ok(())
}

/// Whether a name, and whether a number, is somebody's.
pub(super) async fn taken(tx: &mut Tx, name: &str, user_id: i64) -> Result<(bool, bool), Error> {
    let rows = tx.run(&TAKEN, args![name, user_id]).await?;
    rows.first().map_or(Ok((false, false)), |row| Ok((row.get("name_taken")?, row.get("number_taken")?)))
}

/// The next number of our own range that nobody has (U4).
pub(super) async fn next_user_id(tx: &mut Tx) -> Result<i64, Error> {
    loop {
        let rows = tx.run(&NEXT_USER_ID, args![]).await?;
        let user_id: i64 = rows.first().map_or(Ok(i64::MAX), |row| row.get("user_id"))?;
        if !USER_IDS.contains(&user_id) {
            return Err(Error::NumbersExhausted);
        }
        if !taken(tx, "", user_id).await?.1 {
            return Ok(user_id);
        }
    }
}

/// Notes that an administrator exists who can sign in, and has from now on existed (C6).
pub(super) async fn reach_administrator(tx: &mut Tx, subject: &Subject) -> Result<(), Error> {
    if subject.active && subject.roles.contains(ADMIN) {
        tx.run(&REACH, args![ADMINISTRATOR]).await?;
    }
    Ok(())
}

/// Whose id a new user gets.
pub(super) fn new_id(store: &Store, now: Timestamp) -> Uuid {
    store.random.uuid_v7(now)
}

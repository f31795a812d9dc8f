//! Making a user.

use std::collections::HashSet;

use carelink_database::{FromValue, Row, StoreError, Tx, Value, args};
use carelink_platform::{
    clock::Timestamp,
    events::{Detail, EventType},
};

use super::{ADMINISTRATOR, Author, Changed, NewHash, Store, statements};
use crate::{
    Error,
    domain::{
        look::look,
        names::UserName,
        password::PasswordForm,
        roles::{ADMIN, Roles},
        subject::{Subject, USER_IDS},
        user::{StoredHash, User},
    },
};

statements! {
    LOCK_NAMES = "lock_names" and postgres;
    NAMES_TAKEN = "names_taken" and postgres;
    LOOKS_TAKEN = "looks_taken";
    WITHOUT_LOOK = "names_without_look";
    PUT_LOOK = "put_look" and postgres;
    NUMBERS_TAKEN = "numbers_taken" and postgres;
    NEXT_USER_IDS = "next_user_ids";
    INSERT = "insert_user" and postgres;
    REACH = "reach_milestone";
}

/// Names that are looked at together.
const LOOKED_AT: usize = 1_000;

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
    store
        .db
        .transaction("create_user", move |tx| {
            Box::pin(async move {
                let now = lock_names(tx).await?;
                make(&work, tx, new, &author, now).await
            })
        })
        .await
}

/// Looks at names that an older version wrote. Says whether there may be more.
///
/// # Errors
/// Those of the database.
pub async fn look_at_names(store: &Store) -> Result<bool, StoreError> {
    let rows = store.db.query(&WITHOUT_LOOK, args![LOOKED_AT]).await?;
    let seen = |row: &Row| {
        let (id, name) = (row.get::<uuid::Uuid>("id")?, row.get::<String>("username")?);
        Ok(args![id, &name, look(&name)])
    };
    let looks = rows.iter().map(seen).collect::<Result<Vec<_>, StoreError>>()?;
    let more = looks.len() == LOOKED_AT;
    if !looks.is_empty() {
        store.db.run_each(&PUT_LOOK, looks).await?;
    }
    Ok(more)
}

/// Makes a user; names are locked.
pub(super) async fn make(store: &Store, tx: &mut Tx, new: NewUser, author: &Author, now: Timestamp) -> Result<Changed, Error> {
    let taken = names_taken(tx, [new.username.as_str()]).await?;
    if !taken.is_empty() || !tx.run(&LOOKS_TAKEN, args![look(new.username.as_str())]).await?.is_empty() {
        return Err(Error::NameTaken);
    }
    let user_id = next_user_ids(tx, 1, &HashSet::new()).await?.pop().ok_or(Error::NumbersExhausted)?;
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
    let hash = new.hash.as_ref().map_or(StoredHash::UNUSABLE, |hash| hash.text.as_str());
    insert(tx, vec![bind(&user, hash)]).await?;
    if new.hash.is_some() {
        reach_administrator(tx, &user.subject).await?;
    }
    let id = user.subject.id;
    let event = store
        .note(author, EventType::UserCreated, now, |event| event.subject(id).detail("roles", Detail::roles(user.subject.roles.iter())));
    let pending = store.put_with_subject(tx, vec![event], user.subject.clone(), now).await?;
    Ok(Changed { user, pending: Some(pending) })
}

/// Inserts users' rows.
pub(super) async fn insert(tx: &mut Tx, users: Vec<Vec<Value>>) -> Result<(), Error> {
    tx.run_each(&INSERT, users).await?;
    Ok(())
}

/// A user's row.
pub(super) fn bind(user: &User, hash: &str) -> Vec<Value> {
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
    args![
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
        source,
        look(username)
    ]
}

/// Keeps everybody else from giving away a name or a number until the transaction ends. Returns when that began to hold.
pub(super) async fn lock_names(tx: &mut Tx) -> Result<Timestamp, Error> {
    let locked = tx.run(&LOCK_NAMES, args![]).await?;
    let row = locked.first().ok_or_else(|| StoreError::Engine("user_number has no row".to_owned()))?;
    Ok(row.get("now")?)
}

/// Which of these names are somebody's.
pub(super) async fn names_taken<'a>(tx: &mut Tx, names: impl IntoIterator<Item = &'a str>) -> Result<HashSet<String>, Error> {
    let taken = tx.run_each(&NAMES_TAKEN, names.into_iter().map(|name| args![name]).collect()).await?;
    column(&taken, "username")
}

/// Which of these numbers are somebody's.
pub(super) async fn numbers_taken(tx: &mut Tx, numbers: impl IntoIterator<Item = i64>) -> Result<HashSet<i64>, Error> {
    let taken = tx.run_each(&NUMBERS_TAKEN, numbers.into_iter().map(|number| args![number]).collect()).await?;
    column(&taken, "user_id")
}

fn column<T: FromValue + std::hash::Hash + Eq>(rows: &[Row], name: &str) -> Result<HashSet<T>, Error> {
    Ok(rows.iter().map(|row| row.get(name)).collect::<Result<_, _>>()?)
}

/// The next numbers of our own range that nobody has or is about to get (U4); the least is the last. Names are locked.
pub(super) async fn next_user_ids(tx: &mut Tx, count: usize, spoken_for: &HashSet<i64>) -> Result<Vec<i64>, Error> {
    let mut free = Vec::with_capacity(count);
    while free.len() < count {
        let missing = i64::try_from(count - free.len()).unwrap_or(i64::MAX);
        let rows = tx.run(&NEXT_USER_IDS, args![missing]).await?;
        let first: i64 = rows.first().map_or(Ok(i64::MAX), |row| row.get("first"))?;
        let numbers = first..first.saturating_add(missing);
        if !USER_IDS.contains(&first) || numbers.end > USER_IDS.end {
            return Err(Error::NumbersExhausted);
        }
        let taken = numbers_taken(tx, numbers.clone()).await?;
        free.extend(numbers.filter(|number| !taken.contains(number) && !spoken_for.contains(number)));
    }
    free.reverse();
    Ok(free)
}

/// Notes that an administrator exists who can sign in, and has from now on existed (C6).
pub(super) async fn reach_administrator(tx: &mut Tx, subject: &Subject) -> Result<(), Error> {
    if is_administrator(subject) { note_administrator(tx).await } else { Ok(()) }
}

/// Whether somebody may administer.
pub(super) fn is_administrator(subject: &Subject) -> bool {
    subject.active && subject.roles.contains(ADMIN)
}

/// Notes that an administrator has existed.
pub(super) async fn note_administrator(tx: &mut Tx) -> Result<(), Error> {
    tx.run(&REACH, args![ADMINISTRATOR]).await?;
    Ok(())
}

//! Taking a batch of a predecessor's users, in one transaction (L1, L2, L5). A dry run does the same and is undone.

use carelink_database::{StoreError, Tx, args};
use carelink_platform::{
    clock::Timestamp,
    events::{Detail, EventType, Object},
};
use uuid::Uuid;

use super::{Author, Pending, Store, change_user::update_subject, create_user, put_event, rows, statements};
use crate::{
    Error,
    domain::{
        import::{LastRead, Ours, Read, RowRefused, Rules, Update},
        names::UserName,
        password::PasswordForm,
        roles::Roles,
        subject::{Change, Subject, USER_IDS},
        user::User,
    },
};

statements! {
    FIND = "find_legacy_user";
    PUT = "put_legacy_user";
    UPDATE_PROFILE = "update_profile";
    UPDATE_PASSWORD = "update_password";
}

/// A row that could be read.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// Its key in the source.
    pub legacy_id: i64,
    /// Since when the user is there; zero for unknown.
    pub joined: Timestamp,
    /// What it says.
    pub read: Read,
}

/// A batch.
#[derive(Clone, Debug)]
pub struct Import {
    /// The source's name.
    pub source: String,
    /// In order; those that could not be read are refused already.
    pub rows: Vec<Result<Incoming, RowRefused>>,
    /// What the operator decided.
    pub rules: Rules,
    /// Decide, but write nothing.
    pub dry_run: bool,
    /// On whose behalf.
    pub author: Author,
}

/// What became of a row.
#[derive(Clone, Debug)]
pub struct RowOutcome {
    /// What was done.
    pub result: RowResult,
    /// The user here; none where refused.
    pub user: Option<(Uuid, i64)>,
    /// Fields that were changed here too and are kept.
    pub kept: Vec<&'static str>,
}

/// What was done with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowResult {
    /// A new user.
    Imported,
    /// Something of it was applied.
    Updated,
    /// Nothing.
    Unchanged,
    /// Not taken.
    Refused(RowRefused),
}

/// Why a batch was not written.
enum Undone {
    Failed(Error),
    DryRun(Vec<RowOutcome>),
}

impl From<StoreError> for Undone {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Error> for Undone {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Takes a batch: one outcome for each row, and the snapshots to be delivered.
///
/// # Errors
/// Those of the database; nothing of the batch was written then.
pub async fn import_users(store: &Store, import: Import) -> Result<(Vec<RowOutcome>, Vec<Pending>), Error> {
    let work = store.clone();
    let done = store.db.transaction("import_users", move |tx| {
        Box::pin(async move {
            let (mut outcomes, mut pending) = (Vec::with_capacity(import.rows.len()), Vec::new());
            let batch = Batch { store: &work, import: &import, now: tx.now().await? };
            for row in &import.rows {
                let outcome = match row {
                    Ok(incoming) => batch.take(tx, incoming, &mut pending).await?,
                    Err(refused) => RowOutcome::refused(*refused),
                };
                outcomes.push(outcome);
            }
            if import.dry_run { Err(Undone::DryRun(outcomes)) } else { Ok((outcomes, pending)) }
        })
    });
    match done.await {
        Ok(done) => Ok(done),
        Err(Undone::DryRun(outcomes)) => Ok((outcomes, Vec::new())),
        Err(Undone::Failed(error)) => Err(error),
    }
}

impl RowOutcome {
    fn refused(refused: RowRefused) -> Self {
        Self { result: RowResult::Refused(refused), user: None, kept: Vec::new() }
    }
}

/// What all rows of a batch share.
struct Batch<'a> {
    store: &'a Store,
    import: &'a Import,
    now: Timestamp,
}

/// A row that was read before, and whom it became.
struct Known {
    last: LastRead,
    ours: Ours,
    subject: Subject,
}

impl Batch<'_> {
    async fn take(&self, tx: &mut Tx, incoming: &Incoming, pending: &mut Vec<Pending>) -> Result<RowOutcome, Error> {
        let found = tx.run(&FIND, args![&self.import.source, incoming.legacy_id]).await?;
        match found.first().map(known).transpose()? {
            None => self.insert(tx, incoming, pending).await,
            Some(known) => self.update(tx, incoming, known, pending).await,
        }
    }

    async fn insert(&self, tx: &mut Tx, incoming: &Incoming, pending: &mut Vec<Pending>) -> Result<RowOutcome, Error> {
        let Incoming { legacy_id, joined, read } = incoming;
        let own_number = USER_IDS.contains(legacy_id);
        let (name_taken, number_taken) = create_user::taken(tx, read.username.as_str(), *legacy_id).await?;
        let name = if name_taken { self.qualified(tx, &read.username).await? } else { Some(read.username.clone()) };
        let Some(name) = name else { return Ok(RowOutcome::refused(RowRefused::NameTaken)) };
        let user_id = if own_number && !number_taken { *legacy_id } else { create_user::next_user_id(tx).await? };
        let admin = read.admin(self.import.rules, None);
        let user = User {
            subject: Subject::new(create_user::new_id(self.store, self.now), user_id, read.active, read.granted(admin)),
            username: name.as_str().to_owned(),
            email: read.email.clone(),
            full_name: read.full_name.clone(),
            active_set_here: false,
            form: PasswordForm::Raw,
            cost_class: read.stored.cost_class(),
            password_set_here: false,
            password_changed_at: None,
            last_sign_in_at: (read.last_login > Timestamp::ZERO).then_some(read.last_login),
            created_at: if *joined > Timestamp::ZERO { *joined } else { self.now },
            source: self.import.source.clone(),
        };
        create_user::insert(tx, &user, &read.hash).await?;
        if user.cost_class.is_some() {
            create_user::reach_administrator(tx, &user.subject).await?;
        }
        self.remember(tx, *legacy_id, user.subject.id, &read.remembered(admin)).await?;
        self.tell(tx, &user.subject, EventType::UserImported, "imported").await?;
        let outcome = RowOutcome { result: RowResult::Imported, user: Some((user.subject.id, user_id)), kept: Vec::new() };
        pending.push(self.store.put_subject(tx, user.subject, self.now).await?);
        Ok(outcome)
    }

    async fn update(&self, tx: &mut Tx, incoming: &Incoming, known: Known, pending: &mut Vec<Pending>) -> Result<RowOutcome, Error> {
        let Incoming { legacy_id, read, .. } = incoming;
        let Known { last, ours, subject } = known;
        let mut update = Update::decide(read, &last, &ours, self.import.rules, &self.import.source);
        let mut remembered = read.remembered(update.admin);
        if let Some(wanted) = update.username.take() {
            update.username = self.free(tx, &wanted).await?;
            if update.username.is_none() {
                update.kept.push("username");
                remembered.username.clone_from(&last.username); // tried again next time
            }
        }
        let user = Some((subject.id, subject.user_id));
        if remembered != last {
            self.remember(tx, *legacy_id, subject.id, &remembered).await?;
        }
        if update.is_empty() {
            return Ok(RowOutcome { result: RowResult::Unchanged, user, kept: update.kept });
        }
        self.apply_profile(tx, &subject, &update, &ours).await?;
        let before = subject.version;
        let subject = self.apply_subject(tx, subject, &update, &ours).await?;
        self.tell(tx, &subject, EventType::UserImported, "updated").await?;
        if subject.version != before {
            pending.push(self.store.put_subject(tx, subject, self.now).await?);
        }
        Ok(RowOutcome { result: RowResult::Updated, user, kept: update.kept })
    }

    async fn apply_profile(&self, tx: &mut Tx, subject: &Subject, update: &Update, ours: &Ours) -> Result<(), Error> {
        let name = update.username.as_ref().map_or(ours.username.as_str(), UserName::as_str);
        let email = update.email.as_deref().unwrap_or(&ours.email);
        let full_name = update.full_name.as_deref().unwrap_or(&ours.full_name);
        tx.run(&UPDATE_PROFILE, args![subject.id, name, email, full_name, update.last_login]).await?;
        if let Some((hash, stored)) = &update.hash {
            let class = stored.cost_class().map(|class| class.to_string());
            tx.run(&UPDATE_PASSWORD, args![subject.id, hash, PasswordForm::Raw.as_str(), class, false]).await?;
        }
        Ok(())
    }

    /// Disabling, enabling and other roles are changes of the subject, with their own events.
    async fn apply_subject(&self, tx: &mut Tx, subject: Subject, update: &Update, ours: &Ours) -> Result<Subject, Error> {
        let mut after = subject;
        if let Some(active) = update.active {
            let (change, kind) =
                if active { (Change::Enabled, EventType::UserEnabled) } else { (Change::Disabled, EventType::UserDisabled) };
            after = after.after(change);
            self.tell(tx, &after, kind, "source").await?;
        }
        if let Some(roles) = &update.roles {
            after = after.after(Change::RolesChanged(roles.clone()));
            self.tell(tx, &after, EventType::UserRolesChanged, "source").await?;
        }
        if update.active.is_some() || update.roles.is_some() {
            update_subject(tx, &after, ours.active_set_here && update.active.is_none()).await?;
            create_user::reach_administrator(tx, &after).await?;
        }
        Ok(after)
    }

    /// A name that is free: as it is, or with its source where that was asked for.
    async fn free(&self, tx: &mut Tx, wanted: &UserName) -> Result<Option<UserName>, Error> {
        let (taken, _) = create_user::taken(tx, wanted.as_str(), 0).await?;
        if taken { self.qualified(tx, wanted).await } else { Ok(Some(wanted.clone())) }
    }

    async fn qualified(&self, tx: &mut Tx, name: &UserName) -> Result<Option<UserName>, Error> {
        let Some(qualified) = self.import.rules.qualify.then(|| name.qualified(&self.import.source).ok()).flatten() else {
            return Ok(None);
        };
        let (taken, _) = create_user::taken(tx, qualified.as_str(), 0).await?;
        Ok((!taken).then_some(qualified))
    }

    async fn remember(&self, tx: &mut Tx, legacy_id: i64, id: Uuid, last: &LastRead) -> Result<(), Error> {
        let LastRead { username, email, full_name, hash_digest, active, roles, admin, last_login } = last;
        let args = args![
            &self.import.source,
            legacy_id,
            id,
            username,
            email,
            full_name,
            *hash_digest,
            *active,
            roles.to_json(),
            *admin,
            *last_login
        ];
        tx.run(&PUT, args).await?;
        Ok(())
    }

    async fn tell(&self, tx: &mut Tx, subject: &Subject, kind: EventType, reason: &'static str) -> Result<(), Error> {
        let event = self.store.note(&self.import.author, kind, self.now, |event| {
            let event = event.subject(subject.id).reason(reason).object(Object::source(&self.import.source));
            event.detail("user_id", subject.user_id).detail("roles", Detail::roles(subject.roles.iter()))
        });
        Ok(put_event(tx, event).await?)
    }
}

fn known(row: &carelink_database::Row) -> Result<Known, StoreError> {
    let subject = rows::subject(row, row.get("id")?)?;
    let last = LastRead {
        username: row.get("last_username")?,
        email: row.get("last_email")?,
        full_name: row.get("last_full_name")?,
        hash_digest: row.get("hash_digest")?,
        active: row.get("last_active")?,
        roles: Roles::from_json(&row.get::<String>("last_roles")?),
        admin: row.get("admin")?,
        last_login: row.get("last_login_at")?,
    };
    let ours = Ours {
        username: row.get("username")?,
        email: row.get("email")?,
        full_name: row.get("full_name")?,
        password_set_here: row.get("password_set_here")?,
        active: subject.active,
        active_set_here: row.get("active_set_here")?,
        roles: subject.roles.clone(),
    };
    Ok(Known { last, ours, subject })
}

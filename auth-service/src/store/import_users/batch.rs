//! One batch: everything is read at once, decided row by row in memory, and written at once. Names are locked, and whom it concerns.

use std::collections::{HashMap, HashSet};

use carelink_database::{
    Row, StoreError, Tx, Value, args,
    outbox::{self, Outgoing},
    trail::Noted,
};
use carelink_platform::{
    clock::Timestamp,
    events::{Detail, EventType, Object},
};
use uuid::Uuid;

use super::{FIND, Import, Incoming, PUT, RowOutcome, RowResult, UPDATE_PROFILE};
use crate::{
    Error,
    domain::{
        import::{LastRead, Ours, RowRefused, Update},
        names::UserName,
        password::PasswordForm,
        roles::Roles,
        subject::{Change, Subject, USER_IDS},
        user::User,
    },
    store::{Pending, Store, change_user, create_user, rows},
};

/// Rows whose keys are all different, and what there is of them here.
pub(super) struct Batch<'a> {
    store: &'a Store,
    import: &'a Import,
    rows: &'a [Result<Incoming, RowRefused>],
    now: Timestamp,
    known: HashMap<i64, (Known, Update)>,
    names: Names,
    numbers: HashSet<i64>,
    writes: Writes,
}

/// A row that was read before, and whom it became.
struct Known {
    legacy_id: i64,
    last: LastRead,
    ours: Ours,
    subject: Subject,
}

/// What is to be done with a row.
enum Decision<'a> {
    Refuse(RowRefused),
    /// A number of its own, where it can keep that.
    Insert(&'a Incoming, UserName, Option<i64>),
    /// With what is remembered of it, at its turn among those who change names.
    Update(Box<(Known, Update, LastRead)>, usize),
}

/// What is to be written, each in one round trip, in this order.
#[derive(Default)]
struct Writes {
    /// By turns: a name that somebody gives up comes free before somebody else gets it.
    profiles: Vec<Vec<Vec<Value>>>,
    passwords: Vec<Vec<Value>>,
    subjects: Vec<Vec<Value>>,
    users: Vec<Vec<Value>>,
    legacy: Vec<Vec<Value>>,
    outgoing: Vec<Outgoing>,
    /// The snapshots among `outgoing`, by their place.
    snapshots: Vec<(usize, Subject)>,
    administrator: bool,
}

impl<'a> Batch<'a> {
    /// Reads what there is of these rows. Names are locked.
    pub(super) async fn read(
        tx: &mut Tx,
        store: &'a Store,
        import: &'a Import,
        rows: &'a [Result<Incoming, RowRefused>],
        now: Timestamp,
    ) -> Result<Self, Error> {
        let readable = || rows.iter().filter_map(|row| row.as_ref().ok());
        let found = tx.run_each(&FIND, readable().map(|row| args![&import.source, row.legacy_id]).collect()).await?;
        let mut found = found.iter().map(known).collect::<Result<HashMap<_, _>, _>>()?;
        let mut known = HashMap::new();
        let (mut wanted, mut numbers) = (HashSet::new(), Vec::new());
        for Incoming { legacy_id, read, .. } in readable() {
            let name = match found.remove(legacy_id) {
                Some(before) => {
                    let update = Update::decide(read, &before.last, &before.ours, import.rules, &import.source);
                    let name = update.username.clone();
                    known.insert(*legacy_id, (before, update));
                    name
                }
                None => {
                    numbers.extend(USER_IDS.contains(legacy_id).then_some(*legacy_id));
                    Some(read.username.clone())
                }
            };
            let qualified = name.as_ref().and_then(|name| qualified(import, name));
            wanted.extend(name.into_iter().chain(qualified));
        }
        let names = Names { taken: create_user::names_taken(tx, wanted.iter().map(UserName::as_str)).await?, freed: HashMap::new() };
        let numbers = create_user::numbers_taken(tx, numbers).await?;
        Ok(Self { store, import, rows, now, known, names, numbers, writes: Writes::default() })
    }

    /// Decides and writes: one outcome for each row. Returns the snapshots to be delivered.
    pub(super) async fn take(mut self, tx: &mut Tx, outcomes: &mut Vec<RowOutcome>) -> Result<Vec<Pending>, Error> {
        let decisions: Vec<_> = self.rows.iter().map(|row| self.decide(row)).collect();
        let own = |decision: &Decision<'_>| match decision {
            Decision::Insert(_, _, number) => Some(*number),
            _ => None,
        };
        let kept: HashSet<i64> = decisions.iter().filter_map(own).flatten().collect();
        let missing = decisions.iter().filter_map(own).filter(Option::is_none).count();
        let mut numbers = create_user::next_user_ids(tx, missing, &kept).await?;
        for decision in decisions {
            outcomes.push(match decision {
                Decision::Refuse(refused) => RowOutcome::refused(refused),
                Decision::Insert(incoming, name, number) => {
                    let number = number.or_else(|| numbers.pop()).ok_or(Error::NumbersExhausted)?;
                    self.insert(incoming, &name, number)
                }
                Decision::Update(what, turn) => self.update(*what, turn),
            });
        }
        self.writes.write(tx).await
    }

    /// What becomes of a row; names go to whoever comes first.
    fn decide(&mut self, row: &'a Result<Incoming, RowRefused>) -> Decision<'a> {
        let incoming = match row {
            Ok(incoming) => incoming,
            Err(refused) => return Decision::Refuse(*refused),
        };
        let Incoming { legacy_id, read, .. } = incoming;
        let Some((known, mut update)) = self.known.remove(legacy_id) else {
            let Some((name, _)) = self.claim(&read.username) else { return Decision::Refuse(RowRefused::NameTaken) };
            let number = Some(*legacy_id).filter(|number| USER_IDS.contains(number) && !self.numbers.contains(number));
            return Decision::Insert(incoming, name, number);
        };
        let (mut remembered, mut turn) = (read.remembered(update.admin), 0);
        if let Some(wanted) = update.username.take() {
            match self.claim(&wanted) {
                Some((name, when)) => {
                    self.names.give_up(&known.ours.username, when);
                    (update.username, turn) = (Some(name), when);
                }
                None => {
                    update.kept.push("username");
                    remembered.username.clone_from(&known.last.username); // tried again next time
                }
            }
        }
        Decision::Update(Box::new((known, update, remembered)), turn)
    }

    /// A name that is free: as it is, or with its source where that was asked for; and at which turn.
    fn claim(&mut self, wanted: &UserName) -> Option<(UserName, usize)> {
        if let Some(turn) = self.names.claim(wanted.as_str()) {
            return Some((wanted.clone(), turn));
        }
        let qualified = qualified(self.import, wanted)?;
        self.names.claim(qualified.as_str()).map(|turn| (qualified, turn))
    }

    fn insert(&mut self, incoming: &Incoming, name: &UserName, user_id: i64) -> RowOutcome {
        let Incoming { legacy_id, joined, read } = incoming;
        let admin = read.admin(self.import.rules, None);
        let user = User {
            subject: Subject::new(self.store.random.uuid_v7(self.now), user_id, read.active, read.granted(admin)),
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
        self.writes.users.push(create_user::bind(&user, &read.hash));
        self.writes.administrator |= user.cost_class.is_some() && create_user::is_administrator(&user.subject);
        self.remember(*legacy_id, user.subject.id, &read.remembered(admin));
        self.tell(&user.subject, EventType::UserImported, "imported");
        let outcome = RowOutcome { result: RowResult::Imported, user: Some((user.subject.id, user_id)), kept: Vec::new() };
        self.deliver(&user.subject);
        outcome
    }

    fn update(&mut self, (known, update, remembered): (Known, Update, LastRead), turn: usize) -> RowOutcome {
        let Known { legacy_id, last, ours, subject } = known;
        let user = Some((subject.id, subject.user_id));
        if remembered != last {
            self.remember(legacy_id, subject.id, &remembered);
        }
        if update.is_empty() {
            return RowOutcome { result: RowResult::Unchanged, user, kept: update.kept };
        }
        self.apply_profile(&subject, &update, &ours, turn);
        let before = subject.version;
        let subject = self.apply_subject(subject, &update, &ours);
        self.tell(&subject, EventType::UserImported, "updated");
        if subject.version != before {
            self.deliver(&subject);
        }
        RowOutcome { result: RowResult::Updated, user, kept: update.kept }
    }

    fn apply_profile(&mut self, subject: &Subject, update: &Update, ours: &Ours, turn: usize) {
        let name = update.username.as_ref().map_or(ours.username.as_str(), UserName::as_str);
        let email = update.email.as_deref().unwrap_or(&ours.email);
        let full_name = update.full_name.as_deref().unwrap_or(&ours.full_name);
        let turns = &mut self.writes.profiles;
        turns.resize_with(turns.len().max(turn + 1), Vec::new);
        if let Some(profiles) = turns.get_mut(turn) {
            profiles.push(args![subject.id, name, email, full_name, update.last_login]);
        }
        if let Some((hash, stored)) = &update.hash {
            self.writes.passwords.push(change_user::bind_password(subject.id, hash, PasswordForm::Raw, stored.cost_class(), false));
        }
    }

    /// Disabling, enabling and other roles are changes of the subject, with their own events.
    fn apply_subject(&mut self, subject: Subject, update: &Update, ours: &Ours) -> Subject {
        let mut after = subject;
        if let Some(active) = update.active {
            let (change, kind) =
                if active { (Change::Enabled, EventType::UserEnabled) } else { (Change::Disabled, EventType::UserDisabled) };
            after = after.after(change);
            self.tell(&after, kind, "source");
        }
        if let Some(roles) = &update.roles {
            after = after.after(Change::RolesChanged(roles.clone()));
            self.tell(&after, EventType::UserRolesChanged, "source");
        }
        if update.active.is_some() || update.roles.is_some() {
            self.writes.subjects.push(change_user::bind_subject(&after, ours.active_set_here && update.active.is_none()));
            self.writes.administrator |= create_user::is_administrator(&after);
        }
        after
    }

    fn remember(&mut self, legacy_id: i64, id: Uuid, last: &LastRead) {
        let LastRead { username, email, full_name, hash_digest, active, roles, admin, last_login } = last;
        let source = &self.import.source;
        let roles = roles.to_json();
        let last = args![source, legacy_id, id, username, email, full_name, *hash_digest, *active, roles, *admin, *last_login];
        self.writes.legacy.push(last);
    }

    fn tell(&mut self, subject: &Subject, kind: EventType, reason: &'static str) {
        let event: Noted = self.store.note(&self.import.author, kind, self.now, |event| {
            let event = event.subject(subject.id).reason(reason).object(Object::source(&self.import.source));
            event.detail("user_id", subject.user_id).detail("active", subject.active).detail("roles", Detail::roles(subject.roles.iter()))
        });
        self.writes.outgoing.push(event.outgoing());
    }

    fn deliver(&mut self, subject: &Subject) {
        self.writes.snapshots.push((self.writes.outgoing.len(), subject.clone()));
        self.writes.outgoing.push(self.store.snapshot(subject, self.now));
    }
}

impl Writes {
    async fn write(self, tx: &mut Tx) -> Result<Vec<Pending>, Error> {
        for profiles in self.profiles {
            tx.run_each(&UPDATE_PROFILE, profiles).await?;
        }
        change_user::update_passwords(tx, self.passwords).await?;
        change_user::update_subjects(tx, self.subjects).await?;
        create_user::insert(tx, self.users).await?;
        tx.run_each(&PUT, self.legacy).await?;
        if self.administrator {
            create_user::note_administrator(tx).await?;
        }
        let places = outbox::put_all(tx, self.outgoing).await?;
        let pending = |(at, subject)| Some(Pending { outbox_id: *places.get(at)?, subject });
        Ok(self.snapshots.into_iter().filter_map(pending).collect())
    }
}

/// Which names are somebody's while a batch goes on.
struct Names {
    taken: HashSet<String>,
    /// Names given up within the batch, and at which turn.
    freed: HashMap<String, usize>,
}

impl Names {
    /// Takes a name that nobody has. Returns the turn at which it can be written: after whoever gives it up.
    fn claim(&mut self, name: &str) -> Option<usize> {
        let free = self.taken.insert(name.to_owned());
        free.then(|| self.freed.remove(name).map_or(0, |turn| turn.saturating_add(1)))
    }

    fn give_up(&mut self, name: &str, turn: usize) {
        self.taken.remove(name);
        self.freed.insert(name.to_owned(), turn);
    }
}

/// The same name with its source, where that was asked for.
fn qualified(import: &Import, name: &UserName) -> Option<UserName> {
    import.rules.qualify.then(|| name.qualified(&import.source).ok()).flatten()
}

fn known(row: &Row) -> Result<(i64, Known), StoreError> {
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
    let legacy_id = row.get("legacy_id")?;
    Ok((legacy_id, Known { legacy_id, last, ours, subject }))
}

//! What auth-service persists, one function per use case. Nothing is decided here.
//!
//! Whoever changes what token-service must know writes the snapshot into the outbox in the same transaction (U3), and returns it with its
//! place there, for whoever delivers it at once.

mod change_user;
mod create_user;
mod find_user;
mod first_administrator;
mod guessing;
mod import_users;
mod keys;
mod links;
mod list_users;
mod rows;
mod sign_in;

use carelink_database::{
    Db, DbOptions, Location, Migration, Statement, StoreError, Tx,
    backlog::BacklogConfig,
    outbox::{self, Outgoing},
    trail::{Noted, Trail},
};
use carelink_platform::{
    clock::{Clock, Timestamp},
    events::{Actor, EventBuilder, EventType},
    random::Random,
    seal::SealingPublicKey,
};
use carelink_proto::{audit::Personal, token as proto};
use prost::Message;

pub(crate) use self::links::{Asked, NewLink, find_link, invite_user, request_reset};
pub use self::{
    change_user::{NewHash, NewPassword, Proof, change_roles, one_time_password_fits, raise_past, set_password, set_user_active},
    create_user::{NewUser, create_user, look_at_names},
    find_user::{By, find_user},
    first_administrator::{OneTimePassword, administrator_missing, first_administrator},
    guessing::{From, Shown, Try, refund, reserve_own, reserve_sign_in, show_guessing, sweep, unlock_user},
    import_users::{Import, Incoming, RowOutcome, RowResult, import_users},
    keys::note_key,
    list_users::{Order, Page, list_users},
    sign_in::{cost_classes, record_failure, record_sign_in, upgrade_password},
};
use crate::domain::{subject::Subject, user::User};

/// The schema, in order.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        name: "0001_users",
        sqlite: include_str!("../../migrations/sqlite/0001_users.sql"),
        postgres: include_str!("../../migrations/postgres/0001_users.sql"),
    },
    Migration {
        name: "0002_expand_guessing",
        sqlite: include_str!("../../migrations/sqlite/0002_expand_guessing.sql"),
        postgres: include_str!("../../migrations/postgres/0002_expand_guessing.sql"),
    },
    Migration {
        name: "0003_expand_accounts",
        sqlite: include_str!("../../migrations/sqlite/0003_expand_accounts.sql"),
        postgres: include_str!("../../migrations/postgres/0003_expand_accounts.sql"),
    },
];
/// Whose database it is.
pub const SCHEMA: &str = "auth";

/// Every statement, for the test that prepares all on every engine.
pub static STATEMENTS: &[&[&Statement]] = &[
    change_user::STATEMENTS,
    create_user::STATEMENTS,
    find_user::STATEMENTS,
    first_administrator::STATEMENTS,
    guessing::STATEMENTS,
    import_users::STATEMENTS,
    keys::STATEMENTS,
    links::STATEMENTS,
    list_users::STATEMENTS,
    sign_in::STATEMENTS,
];

/// The outbox destination of snapshots.
pub const SUBJECTS: &str = "subjects";
/// The milestone of C6.
const ADMINISTRATOR: &str = "administrator";

/// The database, and what is written into the trail by. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    /// The database.
    pub db: Db,
    /// Events.
    pub trail: Trail,
    /// Ids.
    pub random: Random,
}

/// On whose behalf something is changed; ends up in the event.
#[derive(Clone, Debug)]
pub struct Author {
    /// Who.
    pub actor: Actor,
    /// Where from and why: sealed.
    pub personal: Personal,
}

/// A user after a change, and the snapshot that token-service must get, if it must.
#[derive(Clone, Debug)]
pub struct Changed {
    /// As they are now.
    pub user: User,
    /// What is to be delivered.
    pub pending: Option<Pending>,
}

/// A snapshot that waits in the outbox.
#[derive(Clone, Debug)]
pub struct Pending {
    /// Its place there.
    pub outbox_id: i64,
    /// The snapshot.
    pub subject: Subject,
}

impl Store {
    /// Opens the database and brings its schema up to date.
    ///
    /// # Errors
    /// Where it cannot be opened, or was written by a newer version.
    pub async fn open(
        at: Location,
        clock: Clock,
        random: Random,
        sealing: SealingPublicKey,
        backlog: BacklogConfig,
    ) -> Result<Self, StoreError> {
        let db = Db::open(DbOptions { at, schema: SCHEMA, migrations: MIGRATIONS, clock }).await?;
        let trail = Trail::new(db.clone(), "auth", "auth-service", random.clone(), sealing).under(backlog);
        Ok(Self { db, trail, random })
    }

    /// An event of a change, by its author.
    fn note(&self, author: &Author, kind: EventType, now: Timestamp, tell: impl FnOnce(EventBuilder) -> EventBuilder) -> Noted {
        let sealing = self.trail.sealing();
        self.trail.note(kind, now, |event| tell(event.actor(author.actor.clone()).personal(sealing, &author.personal)))
    }

    /// A snapshot on its way.
    fn snapshot(&self, subject: &Subject, now: Timestamp) -> Outgoing {
        Outgoing {
            destination: SUBJECTS,
            event_id: self.random.uuid_v7(now),
            subject: Some(subject.id),
            session: None,
            counter: None,
            body: proto::Subject::from(subject).encode_to_vec(),
        }
    }

    /// Puts events and then the snapshot into the outbox. One round trip.
    async fn put_with_subject(&self, tx: &mut Tx, events: Vec<Noted>, subject: Subject, now: Timestamp) -> Result<Pending, StoreError> {
        let mut all: Vec<Outgoing> = events.into_iter().map(Noted::outgoing).collect();
        all.push(self.snapshot(&subject, now));
        let outbox_id = outbox::put_all(tx, all).await?.pop().unwrap_or_default();
        Ok(Pending { outbox_id, subject })
    }
}

/// Puts an event into the outbox.
async fn put_event(tx: &mut Tx, event: Noted) -> Result<(), StoreError> {
    outbox::put(tx, event.outgoing()).await.map(|_| ())
}

/// Declares statements whose texts are files beside; some with another text for PostgreSQL.
macro_rules! statements {
    ($($name:ident = $file:literal $(and $engine:ident)?;)*) => {
        $(static $name: carelink_database::Statement = crate::store::statements!(@ $file $($engine)?);)*
        /// The statements of this file.
        pub(super) static STATEMENTS: &[&carelink_database::Statement] = &[$(&$name,)*];
    };
    (@ $file:literal) => { carelink_database::Statement::shared($file, include_str!(concat!("sql/", $file, ".sql"))) };
    (@ $file:literal postgres) => {
        carelink_database::Statement::per_engine(
            $file,
            include_str!(concat!("sql/", $file, ".sql")),
            include_str!(concat!("sql/", $file, ".postgres.sql")),
        )
    };
}
use statements;

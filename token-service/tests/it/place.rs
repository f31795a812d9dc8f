//! Where a bench keeps its database, on either engine, and the hand of the one clock that everybody obeys.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};

use carelink_database::{DatabaseConfig, Location, Postgres, migrate};
use carelink_platform::{
    clock::{ManualClock, Timestamp},
    random::Random,
    secrets::SecretString,
};
use carelink_servers::{Engine, TestDatabase, postgres};
use tempfile::TempDir;
use token_service::store;

use crate::{ENGINE, bench::START};

/// Where the database is.
pub struct Place {
    pub dir: TempDir,
    pub database: Option<TestDatabase>,
}

/// The hand of the clock, of the process's and of the database's alike.
pub struct Hand {
    manual: ManualClock,
    /// What PostgreSQL reads.
    file: Option<PathBuf>,
    now: std::sync::Mutex<Timestamp>,
}

impl Hand {
    pub fn set(&self, at: Timestamp) {
        if let Some(file) = &self.file {
            let beside = file.with_extension("new");
            fs::write(&beside, at.as_micros().to_string()).unwrap();
            fs::rename(beside, file).unwrap();
        }
        *self.now.lock().unwrap() = at;
        self.manual.set(at);
    }

    pub fn advance(&self, by: Duration) {
        let at = *self.now.lock().unwrap() + by;
        self.set(at);
    }
}

/// The database's clock is the hand, and its pulse never stops: sessions are judged by what the test says and nothing else.
const OBEY: &str = "
CREATE FUNCTION carelink_token.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE SECURITY DEFINER
AS $$ SELECT timestamptz 'epoch' + pg_read_file('HAND')::bigint * interval '1 microsecond' $$;
DO $$ BEGIN
    EXECUTE format('ALTER ROLE carelink_token IN DATABASE %I SET search_path = carelink_token, pg_catalog', current_database());
END $$;
ALTER TABLE carelink_token.pulse RENAME TO pulse_row;
CREATE VIEW carelink_token.pulse AS
SELECT one, beats, carelink_token.clock_timestamp() AS beaten_at, NULL::timestamptz AS outage_began, NULL::timestamptz AS outage_ended
FROM carelink_token.pulse_row;
CREATE FUNCTION carelink_token.beat() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
AS $$ BEGIN UPDATE carelink_token.pulse_row SET beats = NEW.beats; RETURN NEW; END $$;
CREATE TRIGGER beat INSTEAD OF UPDATE ON carelink_token.pulse FOR EACH ROW EXECUTE FUNCTION carelink_token.beat();
GRANT SELECT, UPDATE ON carelink_token.pulse TO carelink_token;";

/// A database whose schema is made.
pub async fn migrated() -> TestDatabase {
    let database = postgres().await.database().await;
    let owner = Postgres { url: SecretString::from(database.url("carelink_token_owner")), config: DatabaseConfig::default() };
    migrate::postgres(&owner, store::SCHEMA, store::MIGRATIONS, &Random::system()).await.unwrap();
    database
}

impl Place {
    pub async fn make(manual: ManualClock) -> (Self, Hand) {
        let dir = directory();
        let (mut database, mut file) = (None, None);
        if ENGINE == Engine::Postgres {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap(); // PostgreSQL is somebody else
            let at = dir.path().join("hand");
            let made = migrated().await;
            made.sql(&OBEY.replace("HAND", at.to_str().unwrap()));
            (database, file) = (Some(made), Some(at));
        }
        let hand = Hand { manual, file, now: std::sync::Mutex::default() };
        hand.set(Timestamp::from_secs(START));
        (Self { dir, database }, hand)
    }

    pub fn location(&self) -> Location {
        match &self.database {
            None => Location::File(self.dir.path().join("token.sqlite3")),
            Some(database) => {
                // As behind a pooler the role's settings decide, and with them the hand.
                let config = DatabaseConfig { max_connections: 8, pooler: true, ..DatabaseConfig::default() };
                Location::Postgres(Postgres { url: SecretString::from(database.url("carelink_token")), config })
            }
        }
    }
}

/// In memory where the system has such a place: nothing here pulls the plug.
pub fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

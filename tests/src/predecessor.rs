//! The predecessor: the two databases in `fixtures/predecessor`, and a small one that a test writes itself.

use std::{
    fs,
    path::{Path, PathBuf},
};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rusqlite::Connection;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Carelink, Said};

/// A database in `fixtures/predecessor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Predecessor(&'static str);

/// Django's own users.
pub const AUTH_USER: Predecessor = Predecessor("auth-user");
/// Users of an app's own, who sign in by e-mail.
pub const ACCOUNT_USER: Predecessor = Predecessor("account-user");

/// Somebody in it.
#[derive(Clone, Debug)]
pub struct Known {
    /// What they sign in with.
    pub username: String,
    /// Their password; empty where there is none.
    pub password: String,
    /// How it is stored, in the words of the list.
    pub hasher: String,
    /// Whether they may sign in.
    pub active: bool,
}

impl Known {
    /// Whether their password opens anything.
    pub fn usable(&self) -> bool {
        self.hasher != "unusable"
    }

    /// Their password with another last character.
    pub fn almost(&self) -> String {
        let mut chars: Vec<_> = self.password.chars().collect();
        // Blanks at the end are not part of what is compared at last: the one before them is changed.
        let last = chars.iter().rposition(|c| *c != ' ').unwrap();
        chars[last] = if chars[last] == '0' { '1' } else { '0' };
        chars.into_iter().collect()
    }
}

/// A refresh token that was out there.
#[derive(Clone, Debug, Deserialize)]
pub struct Outstanding {
    /// Whose.
    pub user: String,
    /// `live`, `blacklisted`, `expired` or `inactive-user`.
    pub state: String,
    /// The token.
    pub refresh: String,
}

/// A folder of `fixtures`.
pub fn fixtures(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(folder)
}

impl Predecessor {
    /// What the import calls it.
    pub fn name(self) -> &'static str {
        self.0
    }

    fn file(self, ending: &str) -> PathBuf {
        fixtures("predecessor").join(format!("{}.{ending}", self.0))
    }

    /// The database.
    pub fn database(self) -> PathBuf {
        self.file("sqlite3")
    }

    /// The file with its SECRET_KEY.
    pub fn secret_key_file(self) -> PathBuf {
        self.file("secret_key")
    }

    /// Everybody.
    pub fn people(self) -> Vec<Known> {
        let text = fs::read_to_string(self.file("users.csv")).unwrap();
        let line = |line: &str| {
            let [username, password, hasher, active, _] = line.split(',').collect::<Vec<_>>().try_into().unwrap();
            Known { username: username.into(), password: password.into(), hasher: hasher.into(), active: active == "1" }
        };
        assert!(!text.contains('"'), "nothing in the list is quoted");
        text.lines().skip(1).map(line).collect()
    }

    /// One of them.
    pub fn person(self, name: &str) -> Known {
        self.people().into_iter().find(|known| known.username == name).unwrap()
    }

    /// The refresh tokens that were out.
    pub fn tokens(self) -> Vec<Outstanding> {
        #[derive(Deserialize)]
        struct File {
            tokens: Vec<Outstanding>,
        }
        serde_json::from_str::<File>(&fs::read_to_string(self.file("tokens.json")).unwrap()).unwrap().tokens
    }
}

impl Carelink {
    /// Imports one of the two, with its tokens; gives the report.
    pub async fn import(&self, source: Predecessor) -> Value {
        self.import_with(source, &[]).await.json()
    }

    /// Imports one of the two, with more arguments.
    pub async fn import_with(&self, source: Predecessor, args: &[&str]) -> Said {
        self.import_from(&source.database(), &source.secret_key_file(), &[&["--json"], args].concat()).await
    }

    /// Imports any database.
    pub async fn import_from(&self, database: &Path, secret_key: &Path, args: &[&str]) -> Said {
        let (database, secret_key) = (database.to_str().unwrap(), secret_key.to_str().unwrap());
        self.cli(&[&["import", "django", database, "--secret-key-file", secret_key], args].concat()).await
    }
}

/// A predecessor's database that a test writes.
#[derive(Debug)]
pub struct Source {
    folder: PathBuf,
    connection: Connection,
}

/// The password of everybody in one.
pub const PASSWORD: &str = "correct horse battery staple";
/// It, as an old Django with few iterations stored it.
const PASSWORD_HASH: &str = "pbkdf2_sha256$1000$carelinktests$d+f9jn+XXR7XsqRpX+lsDUA4xgHcJi1gAorsyS2/EUc=";
/// The SECRET_KEY of one.
pub const SECRET_KEY: &str = "a secret key that only tests know";

/// 2040-01-01, when nothing here is out of date yet.
pub const FAR: i64 = 2_208_988_800;

const SCHEMA: &str = "
    CREATE TABLE auth_user (id integer NOT NULL PRIMARY KEY AUTOINCREMENT, password varchar(128) NOT NULL, last_login datetime NULL,
        is_superuser bool NOT NULL, username varchar(150) NOT NULL UNIQUE, last_name varchar(150) NOT NULL, email varchar(254) NOT NULL,
        is_staff bool NOT NULL, is_active bool NOT NULL, date_joined datetime NOT NULL, first_name varchar(150) NOT NULL);
    CREATE TABLE auth_group (id integer NOT NULL PRIMARY KEY AUTOINCREMENT, name varchar(150) NOT NULL UNIQUE);
    CREATE TABLE auth_user_groups (id integer NOT NULL PRIMARY KEY AUTOINCREMENT, user_id integer NOT NULL, group_id integer NOT NULL);
    CREATE TABLE token_blacklist_outstandingtoken (id integer NOT NULL PRIMARY KEY AUTOINCREMENT, token text NOT NULL,
        created_at datetime NULL, expires_at datetime NOT NULL, user_id integer NULL, jti varchar(255) NOT NULL UNIQUE);
    CREATE TABLE token_blacklist_blacklistedtoken (id integer NOT NULL PRIMARY KEY AUTOINCREMENT, blacklisted_at datetime NOT NULL,
        token_id bigint NOT NULL UNIQUE);";

impl Source {
    /// An empty one in this folder.
    pub fn create(folder: &Path) -> Self {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("secret_key"), SECRET_KEY).unwrap();
        let connection = Connection::open(folder.join("db.sqlite3")).unwrap();
        connection.execute_batch(SCHEMA).unwrap();
        Self { folder: folder.to_owned(), connection }
    }

    /// Adds somebody, with the password that everybody has here.
    pub fn add(&self, id: i64, username: &str, active: bool) {
        let sql = "INSERT INTO auth_user VALUES ($1, $2, NULL, 0, $3, '', '', 0, $4, '2025-06-14 06:00:00', '')";
        self.connection.execute(sql, (id, PASSWORD_HASH, username, active)).unwrap();
    }

    /// Changes something, as Django would.
    pub fn change(&self, sql: &str) {
        self.connection.execute_batch(sql).unwrap();
    }

    /// Writes a token into the table of those that are out.
    pub fn outstanding(&self, user: i64, token: &str) {
        let jti = crate::person::claims(token)["jti"].as_str().unwrap().to_owned();
        let sql = "INSERT INTO token_blacklist_outstandingtoken VALUES (NULL, $1, '2025-06-14 06:00:00', '2040-01-01 00:00:00', $2, $3)";
        self.connection.execute(sql, (token, user, jti)).unwrap();
    }

    /// The database.
    pub fn database(&self) -> PathBuf {
        self.folder.join("db.sqlite3")
    }

    /// The file with its SECRET_KEY.
    pub fn secret_key_file(&self) -> PathBuf {
        self.folder.join("secret_key")
    }

    /// Imports it.
    pub async fn import_into(&self, ward: &Carelink) -> Value {
        ward.import_from(&self.database(), &self.secret_key_file(), &["--json"]).await.json()
    }
}

/// The claims of a good refresh token; a test changes what it is about.
pub fn refresh_claims(jti: &str, user: Value) -> Value {
    json!({"token_type": "refresh", "exp": FAR, "iat": 1_749_877_200, "jti": jti, "user_id": user})
}

/// Signs a token as the predecessor would.
pub fn signed(claims: &Value, algorithm: Algorithm, secret: &str) -> String {
    encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

/// The same with what it always used.
pub fn legacy(claims: &Value) -> String {
    signed(claims, Algorithm::HS256, SECRET_KEY)
}

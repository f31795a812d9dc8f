//! Sources that are not what they say, and rows that are not what they should be.

use std::fs;

use carelink_platform::clock::Clock;
use importer::{Location, Source, Wanted, run};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::{
    fixtures::{Made, SCHEMA, options, refusal},
    recorder::Recorder,
};

#[tokio::test]
async fn a_source_that_is_no_database_gets_a_sentence() {
    let folder = TempDir::new().unwrap();
    let file = async |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        refusal(&path).await
    };
    assert_eq!(refusal(&folder.path().join("none.sqlite3")).await, "there is no file none.sqlite3");
    assert!(refusal(folder.path()).await.ends_with("is not a file; name the SQLite database itself"));
    assert_eq!(file("empty.sqlite3", b"").await, "empty.sqlite3 is empty, so it is not the predecessor's database");
    assert_eq!(file("users.csv", b"username,password\n").await, "users.csv is not a SQLite database (or it is an encrypted one)");
    assert_eq!(file("short.sqlite3", b"SQLite format 3\0").await, "short.sqlite3 is not a SQLite database (or it is an encrypted one)");
    let garbage = [b"SQLite format 3\0".as_slice(), &[0xff; 4096]].concat();
    assert_eq!(file("garbage.sqlite3", &garbage).await, "garbage.sqlite3 is not a SQLite database (or it is an encrypted one)");
}

#[tokio::test]
async fn a_database_without_users_gets_a_sentence() {
    assert_eq!(
        Made::with("CREATE TABLE notes (id integer PRIMARY KEY, body text)").sentence().await,
        "no table of users found; name it with --users-table (tables seen: notes)"
    );
}

#[tokio::test]
async fn a_truncated_database_gets_a_sentence() {
    let made = Made::copy("auth-user");
    let whole = fs::read(&made.path).unwrap();
    fs::write(&made.path, &whole[..8192]).unwrap();
    let sentence = made.sentence().await;
    assert!(sentence.starts_with("auth-user.sqlite3 is damaged ("), "{sentence}");
}

#[tokio::test]
async fn a_database_damaged_in_its_rows_stops_the_import_with_a_sentence() {
    let made = Made::copy("auth-user");
    let mut bytes = fs::read(&made.path).unwrap();
    let root: u32 = Connection::open(&made.path)
        .unwrap()
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'auth_user'", [], |row| row.get(0))
        .unwrap();
    let root = usize::try_from(root).unwrap();
    bytes[(root - 1) * 4096..root * 4096].fill(0xee);
    fs::write(&made.path, bytes).unwrap();
    let opened = Source::open(&Location::file(&made.path), &Wanted::default()).await;
    let sentence = match opened {
        Err(error) => error.to_string(),
        Ok(source) => {
            run(source, options("auth-user"), Recorder::default().services(), &Clock::system(), |_| {}).await.unwrap_err().to_string()
        }
    };
    assert!(sentence.contains("is damaged ("), "{sentence}");
}

#[tokio::test]
async fn a_wal_that_cannot_be_read_gets_a_sentence() {
    let made = Made::copy("auth-user");
    made.execute("PRAGMA journal_mode = WAL");
    fs::create_dir(made.folder.path().join("auth-user.sqlite3-wal")).unwrap();
    let sentence = made.sentence().await;
    assert!(
        sentence.starts_with("auth-user.sqlite3 is in WAL mode and auth-user.sqlite3-wal or auth-user.sqlite3-shm beside it"),
        "{sentence}"
    );
}

#[tokio::test]
async fn a_database_left_in_the_middle_of_a_write_gets_a_sentence() {
    let (made, copy) = (Made::copy("auth-user"), TempDir::new().unwrap());
    let writer = Connection::open(&made.path).unwrap();
    writer.execute_batch("PRAGMA cache_size = 1; BEGIN; UPDATE auth_user SET first_name = hex(randomblob(200));").unwrap();
    for file in ["auth-user.sqlite3", "auth-user.sqlite3-journal"] {
        fs::copy(made.folder.path().join(file), copy.path().join(file)).unwrap();
    }
    let sentence = refusal(&copy.path().join("auth-user.sqlite3")).await;
    assert!(sentence.starts_with("auth-user.sqlite3 was left in the middle of a write;"), "{sentence}");
}

#[tokio::test]
async fn a_locked_database_gets_a_sentence() {
    let made = Made::copy("auth-user");
    let writer = Connection::open(&made.path).unwrap();
    writer.execute_batch("BEGIN EXCLUSIVE").unwrap();
    assert_eq!(made.sentence().await, "auth-user.sqlite3 is locked by another process that is writing to it; try again");
}

#[tokio::test]
async fn what_a_wal_holds_is_read_too() {
    let made = Made::copy("auth-user");
    let writer = Connection::open(&made.path).unwrap();
    writer
        .execute_batch(
            "PRAGMA journal_mode = WAL; DELETE FROM token_blacklist_blacklistedtoken; DELETE FROM token_blacklist_outstandingtoken;",
        )
        .unwrap();
    assert_eq!(made.source().await.totals().tokens, 0);
}

#[tokio::test]
async fn a_malformed_row_is_refused_with_a_reason_and_the_others_come() {
    let made = Made::with(SCHEMA);
    made.execute(
        "INSERT INTO auth_user (id, username, password) VALUES
            (-5, 'negative', '!'), (0, 'zero', '!'), (1, 'fine', '!'), (2, NULL, 'argon2$x'), (3, '', '!'),
            (2147483647, 'last', '!'), (2147483648, 'large', '!');
         INSERT INTO auth_user (id, username, password, last_login) VALUES (10, 'a', '!', 'yesterday'), (11, 'b', '!', 12345);
         INSERT INTO auth_user (id, username, password, is_active) VALUES (12, 'c', '!', 'yes'), (13, 'd', '!', 7);
         INSERT INTO auth_user (id, username, password) VALUES (14, x'ff00', '!'), (15, CAST(x'66c3ff' AS TEXT), '!'), (16, 'e', zeroblob(3));
         INSERT INTO auth_user (id, username, password) VALUES (17, replace(hex(zeroblob(40000)), '0', 'n'), '!'), (18, 'nobody', NULL);
         INSERT INTO token_blacklist_outstandingtoken (jti, token, user_id, created_at, expires_at) VALUES
            ('a', '', 1, NULL, '2040-01-01 00:00:00'), ('b', '', 1, NULL, 'never'), ('', '', 1, NULL, '2040-01-01 00:00:00'),
            ('c', '', NULL, NULL, '2040-01-01 00:00:00'), ('d', '', -5, NULL, '2040-01-01 00:00:00');",
    );
    let recorder = Recorder::default();
    let report = run(made.source().await, options("s"), recorder.services(), &Clock::system(), |_| {}).await.unwrap();
    let names: Vec<String> = recorder.record().users.values().map(|user| user.username.clone()).collect();
    assert_eq!(names, ["fine", "nobody", "last"]);
    let refused = &report.users["unusable"].refused;
    let reasons: Vec<_> = refused.iter().map(|(reason, count)| (reason.as_str(), *count)).collect();
    assert_eq!(
        reasons,
        [("date_malformed", 2), ("flag_malformed", 2), ("id_invalid", 3), ("text_malformed", 2), ("too_long", 1), ("username_missing", 1)]
    );
    assert_eq!(report.users["argon2"].refused["username_missing"], 1);
    assert_eq!(report.users["unknown"].refused["text_malformed"], 1);
    assert_eq!((report.tokens.live, report.tokens.unknown_user), (1, 2));
    assert_eq!((report.tokens.refused["date_malformed"], report.tokens.refused["jti_malformed"]), (1, 1));
}

#[tokio::test]
async fn odd_identifiers_of_the_source_are_quoted() {
    let made = Made::with(
        r#"CREATE TABLE "my ""users"" -- x" ("the id" integer PRIMARY KEY, password text, last_login datetime, "user'name" varchar(9) UNIQUE);
           INSERT INTO "my ""users"" -- x" VALUES (1, '!', NULL, 'amina');"#,
    );
    let recorder = Recorder::default();
    run(made.source().await, options("s"), recorder.services(), &Clock::system(), |_| {}).await.unwrap();
    assert_eq!(recorder.record().users[&1].username, "amina");
    assert!(recorder.record().users[&1].active);
}

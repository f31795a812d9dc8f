use std::{collections::BTreeMap, path::Path};

use carelink_platform::{clock::Clock, location::Location};
use rusqlite::Connection;

use super::{
    format::{FormatError, Header, Item, Reader, SchemaHead, Writer},
    *,
};
use crate::{Migration, StoreError};

const MIGRATIONS: &[Migration] = &[Migration {
    name: "0001_ward",
    sqlite: "CREATE TABLE bed (id BLOB NOT NULL PRIMARY KEY, patient BLOB REFERENCES patient (id), since INTEGER) STRICT;
        CREATE TABLE patient (id BLOB NOT NULL PRIMARY KEY, name TEXT NOT NULL, active INTEGER NOT NULL) STRICT;
        CREATE TABLE counter (one INTEGER NOT NULL PRIMARY KEY, number INTEGER NOT NULL) STRICT;
        INSERT INTO counter VALUES (1, 0);
        CREATE TABLE secret (id INTEGER PRIMARY KEY) STRICT;",
    postgres: "",
}];
const SCOPE: Scope = Scope { schema: "ward", without: &["secret"] };

fn full(path: &Path, patients: u32) {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch("PRAGMA journal_mode = WAL").unwrap();
    connection.create_scalar_function("clock_timestamp", 0, rusqlite::functions::FunctionFlags::SQLITE_UTF8, |_| Ok(1_i64)).unwrap();
    crate::migrate::run(&connection, "ward", MIGRATIONS).unwrap();
    for number in 0..patients {
        let id = u128::from(number).to_be_bytes();
        let name = format!("né \"{number}\"\n");
        connection.execute("INSERT INTO patient VALUES (?1, ?2, 1)", (&id, &name)).unwrap();
        connection.execute("INSERT INTO bed VALUES (?1, ?1, ?2)", (&id, (number % 2 == 0).then_some(i64::MAX))).unwrap();
    }
    connection.execute_batch("UPDATE counter SET number = 41; INSERT INTO secret VALUES (7)").unwrap();
}

async fn written(path: &Path) -> Vec<u8> {
    let mut picture = Picture::take(&Location::File(path.into()), SCOPE, &Clock::system()).await.unwrap();
    let mut writer = Writer::begin(Vec::new(), &Header::new("0.1.0", picture.taken())).unwrap();
    let head = SchemaHead { schema: "ward".into(), migrations: picture.migrations().to_vec(), taken_us: picture.taken().as_micros() };
    writer.schema(&head).unwrap();
    let mut at = None;
    while let Some(chunk) = picture.next().await.unwrap() {
        if at != Some(chunk.table) {
            writer.table(&picture.tables()[chunk.table]).unwrap();
            at = Some(chunk.table);
        }
        chunk.rows.iter().for_each(|row| writer.row(row).unwrap());
    }
    writer.end("ward").unwrap();
    let (bytes, rows) = writer.finish().unwrap();
    assert_eq!(rows, picture.rows());
    bytes
}

async fn restored(bytes: &[u8], path: &Path) -> Result<(), StoreError> {
    let (mut reader, _) = Reader::begin(bytes).unwrap();
    let mut target = Target::begin(&Location::File(path.into()), SCOPE, MIGRATIONS, &Clock::system()).await?;
    let mut table = None;
    while let Some(item) = reader.next_item().unwrap() {
        match item {
            Item::Table(next) => {
                target.empty(&next.name).await?;
                table = Some(next);
            }
            Item::Row(row) => target.put(table.as_ref().unwrap(), vec![row]).await?,
            Item::Schema(_) | Item::End(_) => {}
        }
    }
    target.finish().await
}

#[tokio::test]
async fn a_schema_comes_back_row_for_row_without_what_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from.sqlite3"), dir.path().join("to.sqlite3"));
    full(&from, 1_000);
    let bytes = written(&from).await;
    restored(&bytes, &to).await.unwrap();
    assert_eq!(written(&to).await.split(|byte| *byte == b'\n').skip(2).count(), bytes.split(|byte| *byte == b'\n').skip(2).count());
    let rows = |path: &Path, sql: &str| Connection::open(path).unwrap().query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(rows(&to, "SELECT count(*) FROM bed JOIN patient ON patient = patient.id WHERE since = 9223372036854775807"), 500);
    assert_eq!((rows(&to, "SELECT number FROM counter"), rows(&to, "SELECT count(*) FROM secret")), (41, 0));
    let strip = |bytes: &[u8]| {
        String::from_utf8(bytes.to_vec()).unwrap().lines().filter(|line| line.starts_with('[')).map(String::from).collect::<Vec<_>>()
    };
    assert_eq!(strip(&written(&to).await), strip(&bytes));
}

#[tokio::test]
async fn a_picture_shows_one_moment_and_holds_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.sqlite3");
    full(&path, 2_000);
    let mut picture = Picture::take(&Location::File(path.clone()), SCOPE, &Clock::system()).await.unwrap();
    Connection::open(&path).unwrap().execute_batch("DELETE FROM bed; DELETE FROM patient; UPDATE counter SET number = 99").unwrap();
    let mut rows = 0;
    while let Some(chunk) = picture.next().await.unwrap() {
        rows += chunk.rows.len();
    }
    assert_eq!(rows, 4_001);
}

#[tokio::test]
async fn whatever_is_changed_or_missing_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.sqlite3");
    full(&path, 3);
    let bytes = written(&path).await;
    let read = |bytes: &[u8]| -> Result<u64, FormatError> {
        let (mut reader, _) = Reader::begin(bytes)?;
        while reader.next_item()?.is_some() {}
        Ok(reader.rows())
    };
    assert_eq!(read(&bytes).unwrap(), 7);
    for at in 0..bytes.len() {
        assert!(read(&bytes[..at]).is_err(), "cut off at {at}");
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(read(&changed).is_err(), "byte {at} changed");
    }
    assert!(matches!(read(&[&bytes[..], b"x"].concat()), Err(FormatError::Damaged { .. })));
    assert!(matches!(read(&bytes[..bytes.len() - 1]), Err(FormatError::CutOff)));
    assert!(matches!(read(b"PK\x03\x04"), Err(FormatError::Foreign)));
    let newer = String::from_utf8(bytes).unwrap().replacen("\"format\":1", "\"format\":2", 1);
    assert!(read(newer.as_bytes()).unwrap_err().to_string().contains("format 2"));
}

#[tokio::test]
async fn a_row_that_refers_to_nobody_does_not_come_in() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.sqlite3");
    full(&path, 1);
    Connection::open(&path).unwrap().execute_batch("PRAGMA foreign_keys = OFF; DELETE FROM patient").unwrap();
    let error = restored(&written(&path).await, &dir.path().join("to.sqlite3")).await.unwrap_err();
    assert_eq!(error.to_string(), "bed: a row refers to one that is not there");
}

#[test]
fn what_is_referred_to_comes_first() {
    let refers = |pairs: &[(&str, &[&str])]| {
        let map: BTreeMap<String, Vec<String>> =
            pairs.iter().map(|(name, others)| ((*name).to_owned(), others.iter().map(ToString::to_string).collect())).collect();
        ordered(map)
    };
    assert_eq!(refers(&[("a", &["b"]), ("b", &["c", "b"]), ("c", &[]), ("d", &["gone"])]), ["c", "d", "b", "a"]);
    assert_eq!(refers(&[("a", &["b"]), ("b", &["a"])]).len(), 2);
}

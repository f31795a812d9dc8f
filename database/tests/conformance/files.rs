//! What only a file has: a clock that can be turned, a disk that fills, a process that owns it.

use carelink_database::{Db, DbOptions, Statement, StoreError, args, lease::Lease};
use carelink_platform::{
    clock::{Clock, Timestamp},
    errors::{Failure, Reason},
    random::Random,
};
use carelink_servers::Engine;

use crate::bench::{Bench, INSERT, SCHEMA, count, insert};

static FILL: Statement = Statement::shared("fill", "INSERT INTO thing (name, value, body) VALUES ($1, 0, zeroblob($2));");
static LIMIT: Statement = Statement::shared("limit", "PRAGMA max_page_count = 40;");

async fn reopened(bench: Bench) -> (carelink_servers::Place, Db) {
    let Bench { db, place, .. } = bench;
    drop(db);
    let (clock, _) = Clock::manual(Timestamp::from_secs(1_000_000));
    let at = place.directory().join("t.sqlite3").into();
    let again = Db::open(DbOptions { at, schema: "token", migrations: SCHEMA, clock }).await.unwrap();
    (place, again)
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_something_else_inside_a_transaction_is_an_error() {
    let bench = Bench::on(Engine::Sqlite).await;
    let outcome = bench
        .db
        .transaction("waits", |tx| {
            Box::pin(async move {
                insert(tx, "x", 1).await?;
                std::future::pending::<()>().await;
                Ok::<_, StoreError>(())
            })
        })
        .await;
    assert!(outcome.is_err());
    assert_eq!(bench.count().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_fails_cleanly_and_what_was_acknowledged_stays() {
    let bench = Bench::on(Engine::Sqlite).await;
    bench.db.run(&LIMIT, vec![]).await.unwrap();
    let mut stored = 0;
    let error = loop {
        match bench.db.run(&FILL, args![format!("f{stored}"), 8_000]).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 1_000);
    };
    assert!(matches!(error, StoreError::Full), "{error}");
    assert_eq!(Failure::from(error).reason(), Reason::StorageFull);
    assert!(stored > 0);
    assert_eq!(bench.count().await, stored);
    let (_place, again) = reopened(bench).await;
    assert_eq!(count(&again).await, stored);
}

#[tokio::test(flavor = "multi_thread")]
async fn a5_a_lease_of_a_process_that_died_is_free_when_its_file_is_opened_again() {
    let bench = Bench::on(Engine::Sqlite).await;
    Lease::new("work", &Random::seeded(1)).acquire(&bench.db).await.unwrap().unwrap();
    let (_place, again) = reopened(bench).await;
    assert!(Lease::new("work", &Random::seeded(2)).acquire(&again).await.unwrap().is_some());
}

#[tokio::test]
async fn what_is_no_database_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("things.sqlite3");
    std::fs::write(&path, "a letter to the auditors, and long enough to have a header").unwrap();
    let options = DbOptions { at: path.clone().into(), schema: "things", migrations: SCHEMA, clock: Clock::system() };
    let error = Db::open(options).await.map(|_| ()).unwrap_err().to_string();
    assert_eq!(error, format!("{}: file is not a database", path.display()));
}

#[tokio::test(flavor = "multi_thread")]
async fn r2_after_a_checkpoint_the_file_alone_is_whole() {
    let bench = Bench::on(Engine::Sqlite).await;
    bench.db.run(&INSERT, args!["x", 1]).await.unwrap();
    bench.db.checkpoint().await;
    let copy = bench.place.directory().join("copy.sqlite3");
    std::fs::copy(bench.place.directory().join("t.sqlite3"), &copy).unwrap();
    let copied = Db::open(DbOptions { at: copy.into(), schema: "test", migrations: SCHEMA, clock: Clock::system() }).await.unwrap();
    assert_eq!(count(&copied).await, 1);
}

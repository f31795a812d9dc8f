#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)] // a test
//! What every store leans on, whichever engine is behind it.

use std::{sync::Arc, time::Duration};

use carelink_database::{
    Db, DbOptions, Migration, Statement, StoreError, args,
    lease::Lease,
    outbox::{self, Outgoing, Relay},
};
use carelink_platform::{
    clock::{Clock, ManualClock, Timestamp},
    errors::{Failure, Reason},
    lifecycle::Shutdown,
    random::Random,
};
use tempfile::TempDir;
use tokio::sync::Mutex;
use uuid::Uuid;

const SCHEMA: &[Migration] = &[Migration {
    name: "0001_things",
    sqlite: "CREATE TABLE thing (name TEXT NOT NULL PRIMARY KEY, value INTEGER NOT NULL, body BLOB) STRICT",
    postgres: "",
}];
static INSERT: Statement = Statement::shared("insert", "INSERT INTO thing (name, value) VALUES ($1, $2);");
static FILL: Statement = Statement::shared("fill", "INSERT INTO thing (name, value, body) VALUES ($1, 0, zeroblob($2));");
static COUNT: Statement = Statement::shared("count", "SELECT count(*) AS n FROM thing;");
static SWAPPED: Statement = Statement::shared("swapped", "SELECT $2 AS second, $1 AS first;");
static LIMIT: Statement = Statement::shared("limit", "PRAGMA max_page_count = 40;");
static NOW: Statement = Statement::shared("now", "SELECT clock_timestamp() AS now;");

struct Bench {
    dir: TempDir,
    db: Db,
    hand: ManualClock,
}

async fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let (clock, hand) = Clock::manual(Timestamp::from_secs(1_000_000));
    let db = Db::open(DbOptions { at: dir.path().join("t.sqlite3").into(), schema: "test", migrations: SCHEMA, clock }).await.unwrap();
    Bench { dir, db, hand }
}

async fn count(db: &Db) -> i64 {
    db.query(&COUNT, vec![]).await.unwrap()[0].get("n").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_bind_by_number_and_the_clock_is_the_one_given() {
    let Bench { db, hand, dir: _dir } = bench().await;
    let row = &db.query(&SWAPPED, args!["one", "two"]).await.unwrap()[0];
    assert_eq!((row.get::<String>("first").unwrap(), row.get::<String>("second").unwrap()), ("one".into(), "two".into()));
    hand.set(Timestamp::from_secs(42));
    assert_eq!(db.query(&NOW, vec![]).await.unwrap()[0].get::<Timestamp>("now").unwrap(), Timestamp::from_secs(42));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_item_undoes_itself_and_nothing_else() {
    let Bench { db, dir: _dir, .. } = bench().await;
    let items = (0..200).map(|n: i64| {
        let db = db.clone();
        tokio::spawn(async move {
            db.transaction("item", move |tx| {
                Box::pin(async move {
                    tx.run(&INSERT, args![format!("a{n}"), n]).await?;
                    tx.run(&INSERT, args![format!("b{}", n / 2), n]).await?; // every second one is there already
                    Ok::<_, StoreError>(())
                })
            })
            .await
        })
    });
    let mut failed = 0;
    for item in items.collect::<Vec<_>>() {
        match item.await.unwrap() {
            Ok(()) => {}
            Err(StoreError::Conflict { .. }) => failed += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(failed, 100);
    assert_eq!(count(&db).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panicking_item_takes_nobody_with_it() {
    let Bench { db, dir: _dir, .. } = bench().await;
    let panicking = db.transaction("panicking", |tx| {
        Box::pin(async move {
            tx.run(&INSERT, args!["x", 1]).await?;
            assert_eq!(1, 2, "as it must");
            Ok::<_, StoreError>(())
        })
    });
    let (bad, good) = tokio::join!(panicking, db.run(&INSERT, args!["y", 2]));
    assert!(bad.is_err());
    good.unwrap();
    assert_eq!(count(&db).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swallowed_error_still_ends_the_transaction() {
    let Bench { db, dir: _dir, .. } = bench().await;
    let outcome = db
        .transaction("swallow", |tx| {
            Box::pin(async move {
                tx.run(&INSERT, args!["x", 1]).await?;
                let _ = tx.run(&INSERT, args!["x", 2]).await;
                Ok::<_, StoreError>(())
            })
        })
        .await;
    assert!(matches!(outcome, Err(StoreError::Conflict { .. })));
    assert_eq!(count(&db).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_something_else_inside_a_transaction_is_an_error() {
    let Bench { db, dir: _dir, .. } = bench().await;
    let outcome = db
        .transaction("waits", |tx| {
            Box::pin(async move {
                tx.run(&INSERT, args!["x", 1]).await?;
                std::future::pending::<()>().await;
                Ok::<_, StoreError>(())
            })
        })
        .await;
    assert!(outcome.is_err());
    assert_eq!(count(&db).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_fails_cleanly_and_what_was_acknowledged_stays() {
    let Bench { db, dir, .. } = bench().await;
    db.run(&LIMIT, vec![]).await.unwrap();
    let mut stored = 0;
    let error = loop {
        match db.run(&FILL, args![format!("f{stored}"), 8_000]).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 1_000);
    };
    assert!(matches!(error, StoreError::Full), "{error}");
    assert_eq!(Failure::from(error).reason(), Reason::StorageFull);
    assert!(stored > 0);
    assert_eq!(count(&db).await, stored);
    drop(db);
    let (clock, _) = Clock::manual(Timestamp::ZERO);
    let again = Db::open(DbOptions { at: dir.path().join("t.sqlite3").into(), schema: "test", migrations: SCHEMA, clock }).await.unwrap();
    assert_eq!(count(&again).await, stored);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_or_altered_schema_is_refused_with_a_sentence() {
    let Bench { db, dir, .. } = bench().await;
    assert_eq!(db.applied(), ["0000_platform", "0001_things"]);
    drop(db);
    let open =
        |migrations| Db::open(DbOptions { at: dir.path().join("t.sqlite3").into(), schema: "test", migrations, clock: Clock::system() });
    assert!(open(SCHEMA).await.unwrap().applied().is_empty());
    let error = open(&[]).await.unwrap_err();
    assert!(error.to_string().contains("newer version"), "{error}");
    let error = open(&[Migration { name: "0001_things", sqlite: "SELECT 1", postgres: "" }]).await.unwrap_err();
    assert!(matches!(error, StoreError::Altered { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a5_a_lease_is_held_by_one_and_passes_on_when_it_runs_out() {
    let Bench { db, hand, dir: _dir } = bench().await;
    let (one, two) = (Lease::new("work", &Random::seeded(1)), Lease::new("work", &Random::seeded(2)));
    let first = one.acquire(&db).await.unwrap().unwrap();
    assert_eq!(two.acquire(&db).await.unwrap(), None);
    assert_eq!(one.acquire(&db).await.unwrap(), Some(first), "renewing keeps the epoch");
    hand.advance(Duration::from_secs(16));
    assert!(two.acquire(&db).await.unwrap().is_some());
    let holds = db.transaction("check", move |tx| Box::pin(async move { one.holds(tx, first).await })).await;
    assert!(!holds.unwrap(), "a holder that slept cannot write any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a5_a_lease_of_a_process_that_died_is_free_when_its_file_is_opened_again() {
    let Bench { db, dir, .. } = bench().await;
    Lease::new("work", &Random::seeded(1)).acquire(&db).await.unwrap().unwrap();
    drop(db);
    let (clock, _) = Clock::manual(Timestamp::from_secs(1_000_000));
    let again = Db::open(DbOptions { at: dir.path().join("t.sqlite3").into(), schema: "test", migrations: SCHEMA, clock }).await.unwrap();
    assert!(Lease::new("work", &Random::seeded(2)).acquire(&again).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a5_a_lease_that_lies_absurdly_far_ahead_can_be_taken() {
    let Bench { db, hand, dir: _dir } = bench().await;
    hand.set(Timestamp::from_secs(9_000_000_000));
    Lease::new("work", &Random::seeded(1)).acquire(&db).await.unwrap().unwrap();
    hand.set(Timestamp::from_secs(1_000_000));
    assert!(Lease::new("work", &Random::seeded(2)).acquire(&db).await.unwrap().is_some());
}

fn fact(random: &Random, body: &str) -> Outgoing {
    Outgoing { destination: "there", event_id: random.uuid_v4(), subject: None, session: None, counter: None, body: body.into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a1_a_relay_delivers_everything_in_order_though_delivery_fails_at_times() {
    let Bench { db, dir: _dir, .. } = bench().await;
    let random = Random::seeded(3);
    for n in 0..1_200 {
        let out = fact(&random, &n.to_string());
        db.transaction("put", move |tx| Box::pin(async move { outbox::put(tx, out).await })).await.unwrap();
    }
    let got: Arc<Mutex<(u32, Vec<String>)>> = Arc::default();
    let seen = Arc::clone(&got);
    let relay = Relay::new(db.clone(), "there", random, move |rows| {
        let seen = Arc::clone(&seen);
        Box::pin(async move {
            let mut seen = seen.lock().await;
            seen.0 += 1;
            if seen.0 % 2 == 1 {
                return Err(Failure::new(Reason::Unready));
            }
            seen.1.extend(rows.iter().map(|row| String::from_utf8_lossy(&row.body).into_owned()));
            Ok(())
        })
    });
    let shutdown = Shutdown::new();
    let running = tokio::spawn(relay.run(shutdown.clone()));
    while outbox::backlog(&db, "there").await.unwrap().0 > 0 {
        tokio::task::yield_now().await;
    }
    shutdown.request();
    running.await.unwrap();
    let expected: Vec<String> = (0..1_200).map(|n| n.to_string()).collect();
    assert_eq!(got.lock().await.1, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a1_a_fact_of_a_change_that_failed_does_not_exist() {
    let Bench { db, dir: _dir, .. } = bench().await;
    let out = fact(&Random::seeded(4), "never");
    let failed = db
        .transaction("change", move |tx| {
            Box::pin(async move {
                outbox::put(tx, out).await?;
                tx.run(&INSERT, args![Uuid::nil(), "not a number"]).await?;
                Ok::<_, StoreError>(())
            })
        })
        .await;
    assert!(failed.is_err());
    assert_eq!(outbox::backlog(&db, "there").await.unwrap().0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_of_the_crate_can_be_prepared() {
    let Bench { db, dir: _dir, .. } = bench().await;
    db.check(outbox::STATEMENTS).await.unwrap();
    db.check(carelink_database::lease::STATEMENTS).await.unwrap();
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
    let Bench { db, dir, .. } = bench().await;
    db.run(&INSERT, args!["x", 1]).await.unwrap();
    db.checkpoint().await;
    let copy = dir.path().join("copy.sqlite3");
    std::fs::copy(dir.path().join("t.sqlite3"), &copy).unwrap();
    let copied = Db::open(DbOptions { at: copy.into(), schema: "test", migrations: SCHEMA, clock: Clock::system() }).await.unwrap();
    assert_eq!(count(&copied).await, 1);
}

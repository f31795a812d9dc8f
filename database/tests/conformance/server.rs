//! What only a server has: connections that are lost, stalls, races across processes, poolers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use carelink_database::{DatabaseConfig, Db, Statement, StoreError, args};
use carelink_servers::{Engine, Pgbouncer, Postgres, TestDatabase, postgres};
use futures::future::join_all;
use tokio::{
    sync::{Barrier, Notify},
    time::{Instant, sleep, timeout},
};

use crate::bench::{ADD, Bench, INSERT, SCHEMA, configured, count, insert, migrated, open, patient};

static SLEEP: Statement = Statement::shared("sleep", "SELECT true AS slept FROM pg_sleep(cast($1 AS double precision));");
static NAMES: Statement = Statement::shared("names", "SELECT name FROM thing ORDER BY name COLLATE \"C\";");

fn small(max_connections: u32) -> DatabaseConfig {
    let (acquire_timeout, statement_timeout) = (Duration::from_millis(800), Duration::from_secs(2));
    DatabaseConfig { max_connections, acquire_timeout, statement_timeout, pooler: false }
}

async fn opened(database: &TestDatabase, config: DatabaseConfig) -> Db {
    migrated(database).await;
    open(configured(database.url("carelink_token"), config), SCHEMA).await.unwrap()
}

/// A call that holds a connection, in a transaction that has locked a row, until it is told.
async fn holding(db: &Db, row: &'static str) -> (Arc<Notify>, tokio::task::JoinHandle<Result<(), StoreError>>) {
    let (holds, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (told, db, until) = (Arc::clone(&holds), db.clone(), Arc::clone(&go));
    let call = tokio::spawn(async move {
        db.transaction("holding", move |tx| {
            Box::pin(async move {
                tx.run(&ADD, args![row, 1]).await?;
                told.notify_one();
                until.notified().await;
                Ok(())
            })
        })
        .await
    });
    holds.notified().await;
    (go, call)
}

async fn succeeds(db: &Db, what: &str) {
    let end = Instant::now() + Duration::from_secs(60);
    let mut number = 0;
    while let Err(error) = db.run(&INSERT, args![format!("{what} {number}"), 0]).await {
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
        assert!(Instant::now() < end, "still {error}");
        sleep(Duration::from_millis(20)).await;
        number += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s11_a_deadlock_is_run_again_and_both_succeed() {
    let bench = Bench::on(Engine::Postgres).await;
    for name in ["x", "y"] {
        bench.db.run(&INSERT, args![name, 0]).await.unwrap();
    }
    let (both, runs) = (Arc::new(Barrier::new(2)), Arc::new(AtomicU32::new(0)));
    let calls = [["x", "y"], ["y", "x"]].map(|[first, second]| {
        let (both, runs) = (Arc::clone(&both), Arc::clone(&runs));
        bench.db.transaction("deadlock", move |tx| {
            Box::pin(async move {
                let run = runs.fetch_add(1, Ordering::Relaxed);
                tx.run(&ADD, args![first, 1]).await?;
                if run < 2 {
                    both.wait().await; // each has one and wants the other's
                }
                tx.run(&ADD, args![second, 1]).await.map(|_| ())
            })
        })
    });
    join_all(calls).await.into_iter().for_each(|done: Result<(), StoreError>| done.unwrap());
    assert!(runs.load(Ordering::Relaxed) > 2, "one of them ran again");
    for name in ["x", "y"] {
        assert_eq!(bench.db.run(&ADD, args![name, 0]).await.unwrap()[0].get::<i64>("value").unwrap(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_call_leaves_no_half_behind_and_its_connection_goes_on() {
    let database = postgres().await.database().await;
    let db = opened(&database, DatabaseConfig { max_connections: 2, ..patient() }).await;
    let mut done = 0;
    for n in 0..150_i64 {
        let call = db.transaction("dropped", move |tx| {
            Box::pin(async move {
                insert(tx, format!("{n} a"), n).await?;
                insert(tx, format!("{n} b"), n).await
            })
        });
        done += i64::from(matches!(timeout(Duration::from_micros(n.unsigned_abs() * 20), call).await, Ok(Ok(()))));
    }
    for n in 0..20_i64 {
        let forever = db.transaction("forever", move |tx| {
            Box::pin(async move {
                insert(tx, format!("{n} never"), n).await?;
                std::future::pending::<Result<(), StoreError>>().await
            })
        });
        timeout(Duration::from_millis(5), forever).await.unwrap_err();
    }
    succeeds(&db, "z").await;
    let names = db.query(&NAMES, vec![]).await.unwrap();
    let names: Vec<String> = names.iter().map(|row| row.get("name").unwrap()).collect();
    assert!(names.iter().all(|name| !name.ends_with("never")), "{names:?}");
    let halves = |half: &str| names.iter().filter(|name| name.ends_with(half)).count();
    assert_eq!(halves(" a"), halves(" b"), "{names:?}");
    assert!(halves(" a") >= usize::try_from(done).unwrap());
    let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'carelink_token'";
    assert!(database.sql(open).parse::<u32>().unwrap() <= 2, "no more connections than were allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn t4_locks_statements_and_the_wait_for_a_connection_have_their_limits() {
    let database = postgres().await.database().await;
    let db = opened(&database, small(2)).await;
    for row in ["x", "y"] {
        db.run(&INSERT, args![row, 0]).await.unwrap();
    }
    let slow = db.query(&SLEEP, args![30]).await;
    assert!(matches!(&slow, Err(StoreError::Unavailable(why)) if why.contains("57014")), "{slow:?}");
    let (go, call) = holding(&db, "x").await;
    let locked = db.run(&ADD, args!["x", 1]).await.unwrap_err();
    assert!(matches!(&locked, StoreError::Unavailable(why) if why.contains("55P03")), "{locked}");
    let (other, another) = holding(&db, "y").await;
    let crowded = join_all((0..200).map(|_| db.query(&NAMES, vec![]))).await;
    let refused = crowded.into_iter().map(|answer| answer.unwrap_err().to_string()).collect::<Vec<_>>();
    assert!(refused.iter().any(|why| why.contains("too many are waiting")), "the queue is bounded");
    assert!(refused.iter().any(|why| why.contains("no connection came free in time")), "and so is the wait");
    go.notify_one();
    other.notify_one();
    call.await.unwrap().unwrap();
    another.await.unwrap().unwrap();
    assert_eq!(db.run(&ADD, args!["x", 0]).await.unwrap()[0].get::<i64>("value").unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn fewer_connections_than_wanted_are_shared_by_all() {
    let database = postgres().await.database().await;
    migrated(&database).await;
    database.sql(&format!("ALTER DATABASE {} CONNECTION LIMIT 2", database.name()));
    let db = open(configured(database.url("carelink_token"), patient()), SCHEMA).await.unwrap();
    db.run(&INSERT, args!["x", 0]).await.unwrap();
    let calls = (0..100).map(|_| {
        let db = db.clone();
        tokio::spawn(async move { db.run(&ADD, args!["x", 1]).await })
    });
    join_all(calls).await.into_iter().for_each(|done| drop(done.unwrap().unwrap()));
    assert_eq!(db.run(&ADD, args!["x", 0]).await.unwrap()[0].get::<i64>("value").unwrap(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a3_a_database_does_not_show_its_password() {
    let database = postgres().await.database().await;
    migrated(&database).await;
    let url = database.url("carelink_token:s3cret");
    let at = configured(url, DatabaseConfig::default());
    let shown = format!("{at:?} {:?}", open(at.clone(), SCHEMA).await.unwrap());
    assert!(shown.contains("Pool(token)") && !shown.contains("s3cret"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_server_is_told_from_a_slow_one_and_used_again_when_it_goes_on() {
    let cluster = Postgres::start_own().await;
    let database = cluster.database().await;
    let db = opened(&database, small(4)).await;
    succeeds(&db, "before").await;
    db.ping().await.unwrap();
    cluster.stall();
    let mut refused = Vec::new();
    // Each ends by itself, however many come and however long it lasts; in the end they are refused at once.
    while !refused.iter().any(|why: &String| why.contains("a moment ago")) {
        let calls = join_all((0..50).map(|n| db.run(&INSERT, args![format!("stalled {n}"), 0]))).await;
        refused.extend(calls.into_iter().map(|answer| answer.expect_err("nobody is there to answer").to_string()));
    }
    db.ping().await.unwrap_err();
    cluster.resume();
    succeeds(&db, "after").await;
    db.ping().await.unwrap();
    let calls = join_all((0..50).map(|n| db.run(&INSERT, args![format!("after all {n}"), 0]))).await;
    assert!(calls.iter().all(Result::is_ok), "{:?}", calls.iter().find(|call| call.is_err()));
}

#[tokio::test(flavor = "multi_thread")]
async fn r2_nothing_acknowledged_is_lost_when_the_server_is_killed_and_nobody_needs_an_operator() {
    let cluster = Postgres::start_own().await;
    let database = cluster.database().await;
    let db = opened(&database, DatabaseConfig { max_connections: 8, ..DatabaseConfig::default() }).await;
    let stop = Arc::new(AtomicU32::new(0));
    let writers: Vec<_> = (0..16)
        .map(|writer| {
            let (db, stop) = (db.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) == 1 {
                        break;
                    }
                    let name = format!("{writer} {n}");
                    match db.run(&INSERT, args![&name, 0]).await {
                        Ok(_) => acknowledged.push(name),
                        Err(error) => {
                            assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
                            sleep(Duration::from_millis(10)).await;
                        }
                    }
                }
                acknowledged
            })
        })
        .collect();
    for round in 0..3 {
        let before = count(&db).await;
        while count(&db).await < before + 50 {
            sleep(Duration::from_millis(5)).await;
        }
        if round == 1 {
            cluster.stop().await;
        } else {
            cluster.kill().await;
        }
        cluster.start().await;
        succeeds(&db, &format!("round {round}")).await;
    }
    stop.store(1, Ordering::Relaxed);
    let names = {
        let acknowledged = join_all(writers).await;
        succeeds(&db, "last").await;
        let rows = db.query(&NAMES, vec![]).await.unwrap();
        let names: std::collections::BTreeSet<String> = rows.iter().map(|row| row.get("name").unwrap()).collect();
        for name in acknowledged.into_iter().flat_map(Result::unwrap) {
            assert!(names.contains(&name), "{name} was acknowledged and is not there");
        }
        names
    };
    assert!(names.len() > 150);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_works_through_a_pooler_that_keeps_no_prepared_statements() {
    let cluster = postgres().await;
    let database = cluster.database().await;
    let direct = opened(&database, patient()).await;
    let bouncer = Pgbouncer::start(&cluster, 3).await;
    let url = bouncer.url("carelink_token", &database);
    let error = open(configured(url.clone(), DatabaseConfig::default()), SCHEMA).await.unwrap_err().to_string();
    assert!(error.contains("database.pooler"), "{error}");
    let db = open(configured(url, DatabaseConfig { pooler: true, ..patient() }), SCHEMA).await.unwrap();
    db.run(&INSERT, args!["x", 0]).await.unwrap();
    let calls = (0..150).map(|n: i64| {
        let db = db.clone();
        tokio::spawn(async move {
            match n % 3 {
                0 => db.run(&ADD, args!["x", 1]).await.map(|_| ()),
                1 => db.query(&NAMES, vec![]).await.map(|_| ()),
                _ => {
                    db.transaction("several", move |tx| {
                        Box::pin(async move {
                            insert(tx, format!("n{n}"), n).await?;
                            tx.run(&ADD, args!["x", 1]).await.map(|_| ())
                        })
                    })
                    .await
                }
            }
        })
    });
    join_all(calls).await.into_iter().for_each(|done| done.unwrap().unwrap());
    assert_eq!(db.run(&ADD, args!["x", 0]).await.unwrap()[0].get::<i64>("value").unwrap(), 100);
    assert_eq!(count(&direct).await, 51);
    let slow = db.query(&SLEEP, args![30]).await;
    assert!(matches!(&slow, Err(StoreError::Unavailable(why)) if why.contains("57014")), "the role's own limits hold: {slow:?}");
    for n in 0..30_i64 {
        let call = db.transaction("dropped", move |tx| Box::pin(async move { insert(tx, format!("d{n}"), n).await }));
        let _ = timeout(Duration::from_micros(n.unsigned_abs() * 50), call).await; // wherever it was
    }
    db.ping().await.unwrap();
    succeeds(&db, "last").await;
}

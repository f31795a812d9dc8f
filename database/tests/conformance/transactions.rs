//! Transactions: what fails undoes itself and nothing else, on either engine.

use carelink_database::{Row, Statement, StoreError, args, lease, outbox};
use carelink_platform::clock::Timestamp;
use carelink_servers::{Engine, on_both_engines};
use futures::future::join_all;
use uuid::Uuid;

use crate::bench::{ADD, Bench, INSERT, insert, one};

static SWAPPED: Statement = Statement::shared("swapped", "SELECT cast($2 AS text) AS second, cast($1 AS text) AS first;");
static NOW: Statement = Statement::shared("now", "SELECT clock_timestamp() AS now;");
static TWO: Statement = Statement::shared(
    "two",
    "INSERT INTO thing (name, value) VALUES ($1, 1);\nINSERT INTO thing (name, value) VALUES ($3, $2) RETURNING value;",
);
static EACH: Statement = Statement::per_engine(
    "each",
    "INSERT INTO thing (name, value, body) VALUES ($1, $2, $3) RETURNING name, value, body;",
    "INSERT INTO thing (name, value, body) SELECT name, value, body
     FROM unnest(cast($1 AS text[]), cast($2 AS bigint[]), cast($3 AS bytea[])) AS given (name, value, body) RETURNING name, value, body;",
);
static ALL_KINDS: Statement = Statement::per_engine(
    "all_kinds",
    "SELECT $1 AS int, $2 AS bool, $3 AS text, $4 AS bytes, $5 AS uuid, $6 AS time, $7 AS absent;",
    "SELECT cast($1 AS bigint) AS int, cast($2 AS boolean) AS bool, cast($3 AS text) AS text, cast($4 AS bytea) AS bytes,
     cast($5 AS uuid) AS uuid, cast($6 AS timestamptz) AS time, cast($7 AS text) AS absent;",
);
static LATER: Statement =
    Statement::shared("later", "SELECT later(cast($1 AS timestamptz), $2) AS later, later(cast($3 AS timestamptz), 1) AS absent;");
static LATER_SQLITE: Statement = Statement::shared("later", "SELECT later($1, $2) AS later, later($3, 1) AS absent;");

on_both_engines!(
    arguments_bind_by_number_and_values_come_back_as_they_went,
    a_failing_item_undoes_itself_and_nothing_else,
    a_panicking_item_takes_nobody_with_it,
    a_swallowed_error_still_ends_the_transaction,
    a_text_of_several_parts_is_one_transaction,
    many_rows_go_in_one_statement,
    racing_changes_of_one_row_all_count,
    whoever_reads_after_an_answer_sees_it,
    a_conflict_is_a_conflict_and_names_its_constraint,
    every_statement_of_the_crate_can_be_prepared,
);

async fn arguments_bind_by_number_and_values_come_back_as_they_went(engine: Engine) {
    let bench = Bench::on(engine).await;
    let rows = bench.db.query(&SWAPPED, args!["one", "two"]).await.unwrap();
    assert_eq!((one::<String>(&rows, "first"), one::<String>(&rows, "second")), ("one".into(), "two".into()));
    for time in [Timestamp::ZERO, Timestamp::from_micros(-1), Timestamp::from_micros(1_795_518_000_123_456), Timestamp::MAX] {
        let (uuid, nothing) = (Uuid::from_u128(7), None::<String>);
        let given = args![i64::MIN, true, "é'$1", vec![0_u8, 255], uuid, time, nothing.clone()];
        let rows = bench.db.query(&ALL_KINDS, given).await.unwrap();
        assert_eq!((one::<i64>(&rows, "int"), one::<bool>(&rows, "bool"), one::<String>(&rows, "text")), (i64::MIN, true, "é'$1".into()));
        assert_eq!((one::<Vec<u8>>(&rows, "bytes"), one::<Uuid>(&rows, "uuid"), one(&rows, "time")), (vec![0, 255], uuid, time));
        assert_eq!(one::<Option<String>>(&rows, "absent"), nothing);
        assert!(rows[0].get::<String>("elsewhere").is_err() && rows[0].get::<Uuid>("text").is_err());
    }
    let later = if engine == Engine::Sqlite { &LATER_SQLITE } else { &LATER };
    for micros in [1, -1, 10_000_000_000_000_000] {
        let rows = bench.db.query(later, args![Timestamp::from_secs(5), micros, None::<Timestamp>]).await.unwrap();
        assert_eq!(one::<Timestamp>(&rows, "later").as_micros(), 5_000_000 + micros);
        assert_eq!(one::<Option<Timestamp>>(&rows, "absent"), None);
    }
    bench.db.query(later, args![Timestamp::from_secs(5), i64::MAX, None::<Timestamp>]).await.unwrap();
    if engine == Engine::Sqlite {
        bench.hand().set(Timestamp::from_secs(42));
        assert_eq!(one::<Timestamp>(&bench.db.query(&NOW, vec![]).await.unwrap(), "now"), Timestamp::from_secs(42));
    }
}

async fn a_failing_item_undoes_itself_and_nothing_else(engine: Engine) {
    let bench = Bench::on(engine).await;
    let items = (0..200).map(|n: i64| {
        let db = bench.db.clone();
        tokio::spawn(async move {
            db.transaction("item", move |tx| {
                Box::pin(async move {
                    insert(tx, format!("a{n}"), n).await?;
                    insert(tx, format!("b{}", n / 2), n).await // every second one is there already
                })
            })
            .await
        })
    });
    let mut failed = 0;
    for item in items.collect::<Vec<_>>() {
        match item.await.unwrap() {
            Ok(()) => {}
            Err(error) => {
                assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
                failed += 1;
            }
        }
    }
    assert_eq!(failed, 100);
    assert_eq!(bench.count().await, 200);
}

async fn a_panicking_item_takes_nobody_with_it(engine: Engine) {
    let bench = Bench::on(engine).await;
    for round in 0..20 {
        let panicking = bench.db.transaction("panicking", move |tx| {
            Box::pin(async move {
                insert(tx, format!("x{round}"), 1).await?;
                assert_eq!(1, 2, "as it must");
                Ok::<_, StoreError>(())
            })
        });
        let (bad, good) = tokio::join!(panicking, bench.db.run(&INSERT, args![format!("y{round}"), 2]));
        assert!(bad.unwrap_err().to_string().contains("panicking"));
        good.unwrap();
        assert_eq!(bench.count().await, round + 1);
    }
}

async fn a_swallowed_error_still_ends_the_transaction(engine: Engine) {
    let bench = Bench::on(engine).await;
    let outcome = bench
        .db
        .transaction("swallow", |tx| {
            Box::pin(async move {
                insert(tx, "x", 1).await?;
                let _ = insert(tx, "x", 2).await;
                assert!(matches!(insert(tx, "y", 2).await, Err(StoreError::Conflict { .. })), "nothing runs after an error");
                Ok::<_, StoreError>(())
            })
        })
        .await;
    assert!(matches!(outcome, Err(StoreError::Conflict { .. })));
    assert_eq!(bench.count().await, 0);
}

async fn a_text_of_several_parts_is_one_transaction(engine: Engine) {
    let bench = Bench::on(engine).await;
    let rows = bench.db.run(&TWO, args!["a", 7, "b"]).await.unwrap();
    assert_eq!(one::<i64>(&rows, "value"), 7);
    assert!(matches!(bench.db.run(&TWO, args!["c", 7, "b"]).await, Err(StoreError::Conflict { .. })));
    assert_eq!(bench.count().await, 2, "the first part of what failed is not there");
}

async fn many_rows_go_in_one_statement(engine: Engine) {
    let bench = Bench::on(engine).await;
    let row = |n: i64| args![format!("n{n:03}"), n, (n % 2 == 0).then(|| vec![1_u8; 3])];
    let names = |rows: &[Row]| {
        let mut names: Vec<(String, i64, Option<Vec<u8>>)> =
            rows.iter().map(|row| (row.get("name").unwrap(), row.get("value").unwrap(), row.get("body").unwrap())).collect();
        names.sort();
        names
    };
    let expected =
        |range: std::ops::Range<i64>| -> Vec<_> { range.map(|n| (format!("n{n:03}"), n, (n % 2 == 0).then(|| vec![1_u8; 3]))).collect() };
    assert_eq!(names(&bench.db.run_each(&EACH, (0..300).map(row).collect()).await.unwrap()), expected(0..300));
    let within = (300..310).map(row).collect::<Vec<_>>();
    let rows = bench.db.transaction("each", move |tx| Box::pin(async move { tx.run_each(&EACH, within).await })).await.unwrap();
    assert_eq!(names(&rows), expected(300..310));
    assert!(bench.db.run_each(&EACH, Vec::new()).await.unwrap().is_empty());
    let all_null = vec![args!["null", 1, None::<Vec<u8>>]];
    assert_eq!(bench.db.run_each(&EACH, all_null).await.unwrap().len(), 1);
    let one_is_there = vec![row(400), row(5), row(401)];
    assert!(matches!(bench.db.run_each(&EACH, one_is_there).await, Err(StoreError::Conflict { .. })));
    assert_eq!(bench.count().await, 311, "of many rows all are stored or none");
    // What takes no arrays is repeated.
    bench.db.run_each(&INSERT, vec![args!["r1", 1], args!["r2", 2]]).await.unwrap();
    assert_eq!(bench.count().await, 313);
}

async fn racing_changes_of_one_row_all_count(engine: Engine) {
    let bench = Bench::on(engine).await;
    bench.db.run(&INSERT, args!["x", 0]).await.unwrap();
    let (one_process, another) = (bench.db.clone(), bench.again().await);
    let calls = (0..100).map(|n: u32| {
        let db = if n.is_multiple_of(2) { one_process.clone() } else { another.clone() };
        tokio::spawn(async move {
            match n % 3 {
                0 => db.run(&ADD, args!["x", 1]).await.map(|_| ()),
                _ => db.transaction("add", |tx| Box::pin(async move { tx.run(&ADD, args!["x", 1]).await.map(|_| ()) })).await,
            }
        })
    });
    join_all(calls).await.into_iter().for_each(|done| done.unwrap().unwrap());
    assert_eq!(one::<i64>(&bench.db.run(&ADD, args!["x", 0]).await.unwrap(), "value"), 100);
}

async fn whoever_reads_after_an_answer_sees_it(engine: Engine) {
    let bench = Bench::on(engine).await;
    let mut commits = bench.db.commits();
    for n in 0..50 {
        commits.mark_unchanged();
        bench.db.transaction("put", move |tx| Box::pin(async move { insert(tx, format!("n{n}"), n).await })).await.unwrap();
        assert!(commits.has_changed().unwrap(), "a commit is told");
        assert_eq!(bench.count().await, n + 1);
    }
}

async fn a_conflict_is_a_conflict_and_names_its_constraint(engine: Engine) {
    let bench = Bench::on(engine).await;
    bench.db.run(&INSERT, args!["x", 1]).await.unwrap();
    let error = bench.db.run(&INSERT, args!["x", 1]).await.unwrap_err();
    assert!(matches!(&error, StoreError::Conflict { constraint } if constraint.contains("thing")), "{error}");
    let error = bench.db.run(&INSERT, args!["y"]).await.unwrap_err();
    assert!(matches!(error, StoreError::Engine(_)), "an argument that is not given is a programming error: {error}");
}

async fn every_statement_of_the_crate_can_be_prepared(engine: Engine) {
    let bench = Bench::on(engine).await;
    bench.db.check(outbox::STATEMENTS).await.unwrap();
    bench.db.check(lease::STATEMENTS).await.unwrap();
    bench.db.ping().await.unwrap();
}

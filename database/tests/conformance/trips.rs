//! How often an operation goes to the server and back: counted on the wire, and by the metric that budgets are held to.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use carelink_database::{DatabaseConfig, Db, Statement, StoreError, args};
use carelink_platform::telemetry;
use carelink_servers::{Engine, on_both_engines, postgres};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::bench::{Bench, COUNT, SCHEMA, configured, insert, migrated, open, patient};

static PUT: Statement = Statement::shared("trips_put", "INSERT INTO thing (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING;");
static EACH: Statement = Statement::per_engine(
    "trips_each",
    "INSERT INTO thing (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING;",
    "INSERT INTO thing (name, value) SELECT * FROM unnest(cast($1 AS text[]), cast($2 AS bigint[])) ON CONFLICT (name) DO NOTHING;",
);

on_both_engines!(every_operation_is_counted);

fn counted(operation: &str) -> u64 {
    let name = format!("carelink_database_round_trips_total{{operation=\"{operation}\"}} ");
    let text = telemetry::metrics_handle().render();
    text.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().unwrap())
}

async fn every_operation_is_counted(engine: Engine) {
    let bench = Bench::on(engine).await;
    let before = ["trips_put", "trips_transaction", "trips_each"].map(counted);
    bench.db.run(&PUT, args!["a", 1]).await.unwrap();
    bench.db.run_each(&EACH, vec![args!["b", 1], args!["c", 1]]).await.unwrap();
    bench
        .db
        .transaction("trips_transaction", |tx| {
            Box::pin(async move {
                insert(tx, "d", 1).await?;
                insert(tx, "e", 1).await
            })
        })
        .await
        .unwrap();
    let expected = if engine == Engine::Sqlite { [1, 1, 1] } else { [1, 4, 1] };
    let after = ["trips_put", "trips_transaction", "trips_each"].map(counted);
    assert_eq!([0, 1, 2].map(|at| after[at] - before[at]), expected);
}

/// Counts how often a client speaks after the server did.
async fn counting(to: (String, u16)) -> (u16, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, turns) = (listener.local_addr().unwrap().port(), Arc::new(AtomicU64::new(0)));
    let count = Arc::clone(&turns);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = TcpStream::connect((to.0.as_str(), to.1)).await.unwrap().into_split();
            let answered = Arc::new(AtomicBool::new(true));
            let (count, asked) = (Arc::clone(&count), Arc::clone(&answered));
            tokio::spawn(async move {
                let mut buffer = vec![0; 65_536];
                while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
                    if asked.swap(false, Ordering::SeqCst) {
                        count.fetch_add(1, Ordering::SeqCst);
                    }
                    to_server.write_all(&buffer[..read]).await.unwrap();
                }
            });
            tokio::spawn(async move {
                let mut buffer = vec![0; 65_536];
                while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
                    answered.store(true, Ordering::SeqCst);
                    if to_client.write_all(&buffer[..read]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (port, turns)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_metric_counts_is_what_goes_over_the_wire() {
    const TIMES: u64 = 50;
    let cluster = postgres().await;
    let database = cluster.database().await;
    migrated(&database).await;
    let (port, turns) = counting(cluster.address()).await;
    let url = database.url("carelink_token").replace(&format!(":{}/", cluster.address().1), &format!(":{port}/"));
    for pooler in [false, true] {
        let config = DatabaseConfig { max_connections: 1, pooler, ..patient() };
        let db = open(configured(url.clone(), config), SCHEMA).await.unwrap();
        let transaction = |db: Db| async move {
            let work = db.transaction("wire", |tx| {
                Box::pin(async move {
                    tx.run(&PUT, args!["x", 1]).await?;
                    tx.run(&COUNT, args![]).await.map(|_| ())
                })
            });
            work.await as Result<(), StoreError>
        };
        // Once before: what is prepared is prepared once.
        transaction(db.clone()).await.unwrap();
        db.run_each(&EACH, vec![args!["x", 1]]).await.unwrap();
        let measured = async |budget: u64, operation: &str, run: &dyn Fn() -> futures::future::BoxFuture<'static, ()>| {
            let (wire, metric) = (turns.load(Ordering::SeqCst), counted(operation));
            let began = tokio::time::Instant::now();
            for _ in 0..TIMES {
                run().await;
            }
            // An idle connection is asked once a second whether it lives.
            let asked = began.elapsed().as_secs() + 1;
            let (wire, metric) = (turns.load(Ordering::SeqCst) - wire, counted(operation) - metric);
            assert_eq!(metric, TIMES * budget, "{operation}, pooler = {pooler}");
            assert!((metric..=metric + asked).contains(&wire), "{operation}, pooler = {pooler}: {wire} on the wire, {metric} counted");
        };
        let each = if pooler { 2 } else { 1 };
        let around = if pooler { 2 } else { 0 };
        let own = db.clone();
        measured(around + each, "trips_put", &move || {
            let db = own.clone();
            Box::pin(async move { drop(db.run(&PUT, args!["x", 1]).await.unwrap()) })
        })
        .await;
        let own = db.clone();
        measured(around + each, "count", &move || {
            let db = own.clone();
            Box::pin(async move { drop(db.query(&COUNT, args![]).await.unwrap()) })
        })
        .await;
        let own = db.clone();
        measured(around + each, "trips_each", &move || {
            let db = own.clone();
            Box::pin(async move { drop(db.run_each(&EACH, (0..100).map(|n| args![format!("n{n}"), n]).collect()).await.unwrap()) })
        })
        .await;
        let own = db.clone();
        measured(2 + 2 * each, "wire", &move || {
            let db = own.clone();
            Box::pin(async move { transaction(db).await.unwrap() })
        })
        .await;
    }
}

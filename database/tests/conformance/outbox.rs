//! The outbox and its relay (A1), on either engine.

use std::sync::Arc;

use carelink_database::{
    Db, StoreError, args,
    outbox::{self, Outgoing, Relay},
};
use carelink_platform::{
    errors::{Failure, Reason},
    lifecycle::Shutdown,
    random::Random,
};
use carelink_servers::{Engine, on_both_engines};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::bench::{Bench, INSERT};

on_both_engines!(
    a1_a_relay_delivers_everything_in_order_though_delivery_fails_at_times,
    a1_a_fact_of_a_change_that_failed_does_not_exist,
    facts_are_numbered_in_the_order_given,
);

pub(crate) fn fact(random: &Random, body: &str) -> Outgoing {
    Outgoing { destination: "there", event_id: random.uuid_v4(), subject: None, session: None, counter: None, body: body.into() }
}

async fn put(db: &Db, facts: Vec<Outgoing>) {
    outbox::put_alone(db, facts).await.unwrap();
}

async fn a1_a_relay_delivers_everything_in_order_though_delivery_fails_at_times(engine: Engine) {
    let bench = Bench::on(engine).await;
    let random = Random::seeded(3);
    put(&bench.db, (0..1_200).map(|n| fact(&random, &n.to_string())).collect()).await;
    let got: Arc<Mutex<(u32, Vec<String>)>> = Arc::default();
    let seen = Arc::clone(&got);
    let relay = Relay::new(bench.db.clone(), "there", random, move |rows| {
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
    while outbox::backlog(&bench.db, "there").await.unwrap().0 > 0 {
        tokio::task::yield_now().await;
    }
    shutdown.request();
    running.await.unwrap();
    let expected: Vec<String> = (0..1_200).map(|n| n.to_string()).collect();
    assert_eq!(got.lock().await.1, expected);
}

async fn a1_a_fact_of_a_change_that_failed_does_not_exist(engine: Engine) {
    let bench = Bench::on(engine).await;
    let out = fact(&Random::seeded(4), "never");
    let failed = bench
        .db
        .transaction("change", move |tx| {
            Box::pin(async move {
                outbox::put(tx, out).await?;
                tx.run(&INSERT, args![Uuid::nil(), "not a number"]).await?;
                Ok::<_, StoreError>(())
            })
        })
        .await;
    assert!(failed.is_err());
    assert_eq!(outbox::backlog(&bench.db, "there").await.unwrap().0, 0);
}

async fn facts_are_numbered_in_the_order_given(engine: Engine) {
    let bench = Bench::on(engine).await;
    let random = Random::seeded(5);
    let facts: Vec<Outgoing> = (0_u32..100)
        .map(|n| Outgoing { session: n.is_multiple_of(2).then(|| random.uuid_v4()), ..fact(&random, &(n * 7_919 % 100).to_string()) })
        .collect();
    let within = facts.clone();
    let places = bench.db.transaction("all", move |tx| Box::pin(async move { outbox::put_all(tx, within).await })).await.unwrap();
    assert!(places.len() == 100 && places.is_sorted(), "{places:?}");
    let got = Arc::new(Mutex::new(Vec::<(Option<Uuid>, Vec<u8>)>::new()));
    let seen = Arc::clone(&got);
    let relay = Relay::new(bench.db.clone(), "there", random, move |rows| {
        let seen = Arc::clone(&seen);
        Box::pin(async move {
            seen.lock().await.extend(rows.into_iter().map(|row| (row.session, row.body)));
            Ok(())
        })
    });
    let stopped = Shutdown::new();
    stopped.request();
    relay.run(stopped).await;
    let expected: Vec<_> = facts.into_iter().map(|fact| (fact.session, fact.body)).collect();
    assert_eq!(*got.lock().await, expected);
}

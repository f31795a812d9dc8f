//! Passwords sprayed from everywhere, ten times as many as can be tried: those who are in go on, and memory ends somewhere (C3, C4).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use carelink_tests::{Carelink, Pair, Start, figure, fleet::Times, size};
use futures::future::join_all;
use http::Method;
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep},
};

/// Who is in and refreshes, and how long each of them pauses.
const AT_WORK: usize = 8;
const PAUSE: Duration = Duration::from_millis(20);
/// So much more than calm it may take, in MiB: for connections and a short queue.
const MEMORY: u64 = 128;

async fn from(ward: &Carelink, network: usize, path: &str, body: &serde_json::Value) -> Option<carelink_tests::Answer> {
    let address = format!("10.{}.{}.7", network / 256 % 256, network % 256);
    let headers = [("content-type", "application/json"), ("x-forwarded-for", address.as_str())];
    ward.try_ask(Method::POST, path, &headers, body.to_string()).await.ok()
}

/// Everybody at work refreshes for so long; how long it took them.
async fn at_work(ward: &Carelink, held: &mut [Pair], over: impl Fn() -> bool + Copy) -> Times {
    let times = join_all(held.iter_mut().map(async |pair| {
        let mut times = Vec::new();
        while !over() {
            let began = Instant::now();
            let answer = ward.post("/account/token/refresh/", &json!({"refresh": pair.refresh})).await;
            times.push(began.elapsed());
            *pair = Pair::of(answer).unwrap_or_else(|answer| panic!("signed out: {} {}", answer.status, answer.text()));
            sleep(PAUSE).await;
        }
        times
    }));
    Times::of(times.await.into_iter().flatten())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c3_a_spray_of_ten_times_what_can_be_tried_signs_nobody_out_and_takes_no_memory() {
    let ward = Arc::new(Start::unconfigured().set("gateway.trusted_proxies", "[127.0.0.1]").set("password.threads", "1").up().await);
    let mut held = Vec::new();
    for at in 0..AT_WORK {
        held.push(ward.somebody(&format!("nurse{at}")).await.held());
    }
    let before = ward.metrics().await;
    let (hashed, took) = (before.sum("carelink_hash_seconds_count", &[]), before.sum("carelink_hash_seconds_sum", &[]));
    let (rate, lasting) = (10.0 * hashed / took, Duration::from_secs(size(4, 30).try_into().unwrap()));
    let until = |end: Instant| move || Instant::now() >= end;
    let calm = at_work(&ward, &mut held, until(Instant::now() + lasting)).await;
    let memory = ward.memory("VmHWM");

    let over = Arc::new(AtomicBool::new(false));
    let spraying = tokio::spawn({
        let (ward, over) = (Arc::clone(&ward), Arc::clone(&over));
        async move {
            let (mut tries, mut ticks, mut sent) = (JoinSet::new(), interval(Duration::from_secs_f64(1.0 / rate)), 0);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            while !over.load(Ordering::Relaxed) {
                ticks.tick().await;
                let (ward, guess) = (Arc::clone(&ward), json!({"username": format!("somebody{sent}"), "password": "Summer2026!"}));
                tries.spawn(async move { from(&ward, sent, "/account/token/", &guess).await.map(|answer| answer.status) });
                sent += 1;
            }
            let answers = tries.join_all().await;
            let count = |status: Option<u16>| answers.iter().filter(|answer| **answer == status).count();
            (sent, count(Some(401)), count(Some(429)), count(None))
        }
    });
    let flooded = at_work(&ward, &mut held, until(Instant::now() + lasting)).await;
    over.store(true, Ordering::Relaxed);
    let (sent, tried, turned_away, unanswered) = spraying.await.unwrap();
    let most = ward.memory("VmHWM");
    figure(&format!(
        "refreshes of {AT_WORK} callers calm: {}; in a spray of {rate:.0} sign-ins/s from as many networks, ten times capacity: {}; ratio of \
         p99 {:.1}; {sent} guesses, {tried} tried, {turned_away} turned away, {unanswered} without an answer; {memory} MiB before, {most} MiB at most",
        calm.text(),
        flooded.text(),
        flooded.per_mille(990) / calm.per_mille(990)
    ));
    assert!(turned_away > 0 && most < memory + MEMORY, "{turned_away} turned away, {memory} MiB, then {most} MiB");
}

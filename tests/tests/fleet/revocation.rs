//! What was revoked at one token-service is refused at the gateway of another (V1, V2, V3, S3).

use std::time::Duration;

use carelink_tests::{
    eventually,
    fault::Fault,
    figure,
    fleet::{Nurse, Plan, Service, Times},
    size,
};
use futures::{StreamExt, stream};
use serde_json::json;
use tokio::time::Instant;

/// Signs out at the first gateway; gives how long it takes until the second refuses, counted from before it was asked to.
async fn from_one_to_the_other(nurse: &Nurse) -> Duration {
    for gateway in 0..2 {
        nurse.verify_at(gateway).await.unwrap().expect(200);
    }
    let began = Instant::now();
    nurse.doors.post(0, "/account/token/blacklist/", &json!({"refresh": nurse.held().refresh})).await.unwrap().expect(200);
    while nurse.verify_at(1).await.unwrap().status != 401 {
        assert!(began.elapsed() < Duration::from_secs(30), "{} is still in", nurse.name);
    }
    began.elapsed()
}

#[tokio::test]
async fn v2_a_revocation_is_known_to_every_gateway_whichever_token_service_it_was_made_at() {
    let fleet = Plan::default().pinned().proxied().set("verifier.max_staleness", "8s").up().await;
    let nurses = fleet.nurses("nurse", size(60, 1_000) + 2).await;
    let (last, nurses) = nurses.split_at(2);
    let mut times = Vec::new();
    for nurse in nurses {
        times.push(from_one_to_the_other(nurse).await);
    }
    let times = Times::of(times);
    figure(&format!("{} sign-outs at one token-service until the gateway of the other refuses: {}", nurses.len(), times.text()));

    // The second gateway hears nothing any more, and nobody is there whom it could ask.
    fleet.proxy(Service::Token, 1).set(Fault::HalfOpen);
    let began = Instant::now();
    last[0].doors.post(0, "/account/token/blacklist/", &json!({"refresh": last[0].held().refresh})).await.unwrap().expect(200);
    let answer = eventually("the gateway that hears nothing lets nobody pass", async || {
        Some(last[0].verify_at(1).await.unwrap()).filter(|answer| answer.status != 200)
    })
    .await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    figure(&format!(
        "the stream and every way to ask cut: a revoked token is accepted for {:.1} s more (bound: 8 s of verifier.max_staleness)",
        began.elapsed().as_secs_f64()
    ));
    fleet.proxy(Service::Token, 1).set(Fault::Cut);
    fleet.proxy(Service::Token, 1).set(Fault::None);
    eventually("it is refused for what it is", async || Some(last[0].verify_at(1).await.unwrap()).filter(|answer| answer.status == 401))
        .await;
    eventually("and who is in is let pass", async || Some(last[1].verify_at(1).await.unwrap()).filter(|answer| answer.status == 200)).await;
}

#[tokio::test]
async fn s3_a_token_that_comes_back_ends_its_session_at_every_gateway() {
    let fleet = Plan::default().set("session.grace", "10s").up().await;
    let nurses = fleet.nurses("nurse", size(60, 1_000)).await;
    let stolen: Vec<String> = nurses.iter().map(|nurse| nurse.held().refresh).collect();
    // Half of them move on twice: their first token is older than one older. The others' is one older, and grace runs out.
    let twice = nurses.len() / 2;
    stream::iter(nurses.iter().enumerate())
        .for_each_concurrent(8, async |(at, nurse)| {
            nurse.stays().await;
            if at < twice {
                nurse.stays().await;
            }
        })
        .await;
    tokio::time::sleep(Duration::from_secs(11)).await;
    let dead = stream::iter(nurses.iter().zip(&stolen))
        .map(async |(nurse, token)| {
            let answer = nurse.doors.post_until_answered("/account/token/refresh/", &json!({"refresh": token})).await;
            assert_eq!((answer.status, answer.json()["detail"].clone()), (401, json!("Token is blacklisted")));
            nurse.is_out_everywhere().await;
            assert_eq!(nurse.refresh().await.unwrap_err().status, 401, "the successor is dead, too");
        })
        .buffer_unordered(8)
        .count()
        .await;
    let trail = fleet.whole_trail().await;
    let told = trail.count("session.reuse_detected");
    figure(&format!("reuse outside grace: {dead} of {} sessions dead at both gateways, {told} events", nurses.len()));
    assert_eq!((dead, told), (nurses.len(), nurses.len()));
    assert_eq!(trail.disorderly(), Vec::<&str>::new());
}

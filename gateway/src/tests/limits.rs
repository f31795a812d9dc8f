//! Who is turned away, what they are told, and what the trail hears of it.

use std::time::Duration;

use axum::body::Body;
use carelink_platform::{
    clock::{Clock, Timestamp},
    errors::Reason,
    lifecycle::Shutdown,
    random::Random,
};
use carelink_proto::audit::{Event, Outcome};
use http::Method;
use serde_json::json;
use tokio::{sync::watch, time::Instant};
use tower::ServiceExt;

use super::{Answer, NOW, Played, Ward, refresh_token, request, sealing};
use crate::{Budget, trail};

const WRONG: &str = r#"{"username":"amina","password":"x"}"#;

async fn sign_in(ward: &Ward, from: &str) -> Answer {
    let asked = request(Method::POST, "/account/token/")
        .header("content-type", "application/json")
        .header("x-forwarded-for", from)
        .header("user-agent", "curl/8");
    ward.ask(asked.body(Body::from(WRONG)).unwrap()).await
}

/// Behind a proxy at the address that requests without a connection seem to come from.
fn proxied() -> Ward {
    Ward::configured(|config| config.gateway.trusted_proxies = vec!["0.0.0.0".parse().unwrap()])
}

#[tokio::test(start_paused = true)]
async fn one_account_in_a_network_is_throttled_with_the_true_time_and_nobody_else() {
    let ward = proxied();
    for _ in 0..20 {
        assert_eq!(sign_in(&ward, "192.0.2.1").await.status, 401);
    }
    let answer = sign_in(&ward, "192.0.2.1").await;
    let wait: u64 = answer.header("retry-after").parse().unwrap();
    assert!(answer.status == 429 && (1..=3).contains(&wait), "{answer:?}");
    let text = format!("Request was throttled. Expected available in {wait} second{}.", if wait == 1 { "" } else { "s" });
    assert_eq!(answer.json(), json!({"detail": text, "code": "throttled"}));
    assert_eq!(answer.header("ratelimit-policy"), "\"account\";q=20;w=60");
    assert_eq!(answer.header("ratelimit"), format!("\"account\";r=0;t={wait}"));
    assert_eq!(ward.played.script().passwords.len(), 20, "a throttled try reaches nobody");
    assert_eq!(ward.played.script().passwords[0].network, "192.0.2.1");
    assert_eq!(sign_in(&ward, "192.0.2.2").await.status, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_give_one_account_one_budget_and_the_same_answer() {
    let redis = carelink_servers::Redis::start().await;
    let shutdown = Shutdown::new();
    let gateway = || {
        let ward = Ward::configured(|config| config.limits.redis_url = Some(redis.url().parse().unwrap()));
        let router = ward.router();
        (router, tokio::spawn(ward.gateway.serve(shutdown.clone())))
    };
    let ((one, serving_one), (other, serving_other)) = (gateway(), gateway());
    let ask = async |router: &axum::Router, name: &str| {
        let body = Body::from(json!({"username": name, "password": "x"}).to_string());
        let asked = request(Method::POST, "/account/token/").header("content-type", "application/json").body(body).unwrap();
        super::read(router.clone().oneshot(asked).await.unwrap()).await
    };
    let mut connection = redis::Client::open(redis.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    for router in [&one, &other] {
        let _: () = redis::cmd("FLUSHALL").query_async(&mut connection).await.unwrap();
        let charged = redis::cmd("KEYS").arg("carelink:*:sign_in:*").to_owned();
        while charged.query_async::<Vec<String>>(&mut connection).await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
            ask(router, "as soon as it shares").await;
        }
    }
    let mut passed = 0;
    loop {
        let answers = [ask(&one, "amina").await, ask(&other, "amina").await];
        passed += answers.iter().map(|answer| u32::from(answer.status == 401)).sum::<u32>();
        if answers.iter().all(|answer| answer.status == 429) {
            for answer in answers {
                let wait: u64 = answer.header("retry-after").parse().unwrap();
                assert!((1..=3).contains(&wait) && answer.json()["code"] == "throttled", "{answer:?}");
            }
            break;
        }
    }
    assert!((20..30).contains(&passed), "{passed}: one more every three seconds");
    shutdown.request();
    serving_one.await.unwrap();
    serving_other.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn c4_where_a_networks_budget_is_used_up_those_who_are_known_there_sign_in_and_others_do_not() {
    let ward = Ward::configured(|config| config.limits.sign_in.network = Budget { burst: 3, per_minute: 1 });
    let ask = async |name: &str, password: &str| {
        let answer = ward.post("/account/token/", json!({"username": name, "password": password}).to_string()).await;
        let known_only = ward.played.script().passwords.last().unwrap().known_origins_only;
        (answer, known_only)
    };
    for name in ["a", "b", "c"] {
        let (answer, known_only) = ask(name, "x").await;
        assert_eq!((answer.status, known_only), (401, false));
    }
    for _ in 0..5 {
        let (answer, known_only) = ask("alice", "correct horse battery staple").await;
        assert_eq!((answer.status, known_only), (200, true), "who succeeds costs the network nothing");
    }
    ward.played.script().fails = Some(Reason::Throttled);
    let (answer, known_only) = ask("d", "x").await;
    assert_eq!((answer.status, known_only, answer.header("retry-after")), (429, true, "60"));
    assert_eq!((answer.header("ratelimit-policy"), answer.header("ratelimit")), ("\"network\";q=3;w=180", "\"network\";r=0;t=60"));
    let asked = ward.played.script().passwords.len();
    for name in ["e", "f", "g"] {
        assert_eq!(ask(name, "x").await.0.status, 429);
    }
    assert_eq!(ward.played.script().passwords.len(), asked + 2, "and in the end nobody asks for a stranger");
}

#[tokio::test(start_paused = true)]
async fn without_a_trusted_proxy_nobody_chooses_their_address() {
    let ward = Ward::new();
    for n in 0..20 {
        assert_eq!(sign_in(&ward, &format!("192.0.2.{n}")).await.status, 401);
    }
    assert_eq!(sign_in(&ward, "192.0.2.99").await.status, 429);
}

#[tokio::test(start_paused = true)]
async fn a_client_in_a_loop_is_held_back_and_other_sessions_are_not() {
    let ward = Ward::new();
    let refresh = async |token: &str| ward.post("/account/token/refresh/", json!({"refresh": token}).to_string()).await;
    let mut answers = Vec::new();
    while answers.len() < 5_000 && answers.last().is_none_or(|answer: &Answer| answer.status == 200) {
        answers.push(refresh(&refresh_token("good")).await);
    }
    assert!(answers.len() > 1_000, "{}", answers.len());
    let answer = answers.pop().unwrap();
    assert_eq!((answer.status, answer.json()["code"].as_str(), answer.header("retry-after")), (429, Some("throttled"), "1"));
    assert_eq!(refresh("e30.eyJzaWQiOiJvdGhlciJ9.x").await.status, 401);
}

#[tokio::test]
async fn switched_off_a_load_test_passes() {
    let ward = Ward::configured(|config| config.limits.enabled = false);
    for _ in 0..200 {
        assert_eq!(ward.post("/account/token/", WRONG).await.status, 401);
    }
}

#[tokio::test(start_paused = true)]
async fn throttled_sign_ins_are_one_event_a_minute_and_hold_no_name() {
    let ward = Ward::configured(|config| {
        config.gateway.trusted_proxies = vec!["0.0.0.0".parse().unwrap()];
        config.limits.sign_in.account.per_minute = 1;
    });
    for _ in 0..30 {
        sign_in(&ward, "192.0.2.1").await;
    }
    let router = ward.router();
    let Ward { played, gateway } = ward;
    let shutdown = Shutdown::new();
    let serving = tokio::spawn(gateway.serve(shutdown.clone()));
    tokio::time::sleep(Duration::from_secs(3)).await;
    {
        let script = played.script();
        let throttled = throttled(&script.events);
        let [event] = throttled.as_slice() else { panic!("{:?}", script.events) };
        assert_eq!((event.r#type.as_str(), event.outcome(), event.reason.as_str()), ("sign_in.throttled", Outcome::Failure, "account"));
        assert_eq!(event.details["attempts"], "10");
        assert_eq!((event.service.as_str(), event.trace_id.len()), ("gateway", 16));
        let personal = sealing().open(&event.id, event.personal.as_ref().unwrap()).unwrap();
        assert_eq!((personal.network.as_str(), personal.user_agent.as_str()), ("192.0.2.1", "curl/8"));
        assert!(!format!("{event:?}").contains("amina"));
    }
    for _ in 0..29 {
        let asked =
            request(Method::POST, "/account/token/").header("content-type", "application/json").header("x-forwarded-for", "192.0.2.1");
        assert_eq!(router.clone().oneshot(asked.body(Body::from(WRONG)).unwrap()).await.unwrap().status(), 429);
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    assert_eq!(throttled(&played.script().events).len(), 1, "within the minute it is only counted");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let later = throttled(&played.script().events)[1].details["attempts"].clone();
    assert_eq!(later, "29");
    shutdown.request();
    serving.await.unwrap();
    assert_eq!(throttled(&played.script().events).len(), 2);
}

/// What was told of sign-ins that were turned away; a gateway also tells of itself.
fn throttled(events: &[Event]) -> Vec<Event> {
    events.iter().filter(|event| event.r#type == "sign_in.throttled").cloned().collect()
}

#[tokio::test(start_paused = true)]
async fn a2_a_gateway_tells_that_it_began_by_which_configuration_and_that_it_ended() {
    let Ward { played, gateway } = proxied();
    let shutdown = Shutdown::new();
    let serving = tokio::spawn(gateway.serve(shutdown.clone()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    shutdown.request();
    serving.await.unwrap();
    let told: Vec<String> = played.script().events.iter().map(|event| event.r#type.clone()).collect();
    assert_eq!(told, ["config.loaded", "service.started", "service.stopped"]);
}

#[tokio::test(start_paused = true)]
async fn a6_events_wait_for_a_trail_that_does_not_answer() {
    let ward = proxied();
    for _ in 0..21 {
        sign_in(&ward, "192.0.2.1").await;
    }
    let Ward { played, gateway } = ward;
    played.script().fails = Some(Reason::Unready);
    let shutdown = Shutdown::new();
    let serving = tokio::spawn(gateway.serve(shutdown.clone()));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(played.script().events.len(), 0);
    played.script().fails = None;
    shutdown.request();
    serving.await.unwrap();
    assert_eq!(throttled(&played.script().events).len(), 1, "what is left is written at the end");
}

#[tokio::test(start_paused = true)]
async fn v3_the_trail_hears_when_a_verifier_loses_sight_and_when_it_sees_again() {
    let played = Played::default();
    let fresh = super::verifier().status();
    let (see, view) = watch::channel(fresh.clone());
    let (_turned, log) = trail::new(played.clients(), view, None, Clock::manual(Timestamp::from_secs(NOW)).0, Random::seeded(7));
    let stop = Shutdown::new();
    let running = tokio::spawn({
        let stop = stop.clone();
        async move { log.run("0", stop).await }
    });
    see.send_modify(|status| status.stale_since = Some(Instant::now()));
    tokio::time::sleep(Duration::from_secs(7)).await;
    see.send_modify(|status| status.stale_since = None);
    tokio::time::sleep(Duration::from_secs(3)).await;
    stop.request();
    running.await.unwrap();
    let events = played.script().events.clone();
    let told: Vec<&str> = events.iter().map(|event| event.r#type.as_str()).collect();
    assert_eq!(told, ["config.loaded", "service.started", "verifier.stale", "verifier.fresh", "service.stopped"]);
    assert_eq!(events[3].details["stale_ms"], "7000");
}

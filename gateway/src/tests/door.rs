//! Sign-ins while auth-service has no room for them: most are turned away here, and nobody else notices.

use std::time::Duration;

use axum::body::Body;
use carelink_platform::{errors::Reason, lifecycle::Shutdown};
use http::Method;
use serde_json::json;

use super::{Ward, access, refresh_token, request, server::run};

const RIGHT: &str = r#"{"username":"alice","password":"correct horse battery staple"}"#;

#[tokio::test(start_paused = true)]
async fn c3_while_auth_service_has_no_room_sign_ins_are_turned_away_at_the_door_and_nothing_else_is() {
    let ward = Ward::new();
    ward.played.script().fails = Some(Reason::QueueFull);
    assert_eq!(ward.post("/account/token/", RIGHT).await.status, 429);
    ward.played.script().fails = None;
    for body in [RIGHT, "{", ""].into_iter().cycle().take(99) {
        let answer = ward.post("/account/token/", body).await;
        let wait: u64 = answer.header("retry-after").parse().unwrap();
        assert!(answer.status == 429 && (1..=2).contains(&wait), "{answer:?}");
        let text = format!("Request was throttled. Expected available in {wait} second{}.", if wait == 1 { "" } else { "s" });
        assert_eq!(answer.json(), json!({"detail": text, "code": "throttled"}));
    }
    assert_eq!(ward.played.script().passwords.len(), 1, "nobody else was asked about");
    let refreshed = ward.post("/account/token/refresh/", json!({"refresh": refresh_token("good")}).to_string()).await;
    let me = ward.me(&access(&json!({}))).await;
    let described = ward.ask(request(Method::OPTIONS, "/account/token/").body(Body::empty()).unwrap()).await;
    assert_eq!((refreshed.status, me.status, described.status), (200, 200, 200));
    tokio::time::sleep(Duration::from_millis(250)).await;
    for _ in 0..19 {
        assert_eq!(ward.post("/account/token/", RIGHT).await.status, 200, "who was turned away was not charged");
    }
}

#[tokio::test]
async fn c3_an_account_that_is_throttled_shuts_the_door_for_nobody() {
    let ward = Ward::new();
    ward.played.script().fails = Some(Reason::Throttled);
    for _ in 0..10 {
        assert_eq!(ward.post("/account/token/", RIGHT).await.status, 429);
    }
    assert_eq!(ward.played.script().passwords.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn c3_the_trail_hears_how_many_the_door_kept_out_once_a_minute() {
    let ward = Ward::new();
    ward.played.script().fails = Some(Reason::QueueFull);
    for _ in 0..31 {
        assert_eq!(ward.post("/account/token/", RIGHT).await.status, 429);
    }
    ward.played.script().fails = None;
    let Ward { played, gateway } = ward;
    let shutdown = Shutdown::new();
    let serving = tokio::spawn(gateway.serve(shutdown.clone()));
    tokio::time::sleep(Duration::from_secs(30)).await;
    shutdown.request();
    serving.await.unwrap();
    let events = played.script().events.clone();
    let told: Vec<_> = events.iter().filter(|event| event.r#type == "sign_in.throttled").collect();
    let [event] = told.as_slice() else { panic!("{events:?}") };
    assert_eq!((event.reason.as_str(), event.details["attempts"].as_str()), ("hashing_queue_full", "30"));
    assert!(event.personal.is_none());
}

#[tokio::test]
async fn c3_at_the_door_a_short_body_costs_no_connection_and_a_long_one_is_not_waited_for() {
    let running = run().await;
    running.played.script().fails = Some(Reason::QueueFull);
    let post = |length: usize, more: &str, body: &str| {
        let head = "POST /account/token/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
        format!("{head}Content-Length: {length}\r\n{more}\r\n{body}")
    };
    let mut names = 1_000..; // of one account the limits would have enough
    let mut shutting = || post(37, "Connection: close\r\n", &format!(r#"{{"username":"n{}","password":"x y"}}"#, names.next().unwrap()));
    let mut kept = [false; 3];
    while kept != [true; 3] {
        // On a slow machine it may be open again between the two: then another round says what it does while it is shut.
        assert!(running.talk(shutting().as_bytes()).await.starts_with("HTTP/1.1 429 "));
        let asked = running.played.script().passwords.len();
        let short = post(RIGHT.len(), "", RIGHT) + "GET /account/me/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let short = running.talk(short.as_bytes()).await;
        if running.played.script().passwords.len() == asked {
            assert!(short.starts_with("HTTP/1.1 429 ") && short.contains("HTTP/1.1 401 "), "{short}");
            kept[0] = true;
        }
        for (at, announced) in [(1, post(RIGHT.len(), "Expect: 100-continue\r\n", "")), (2, post(60_000, "", "{"))] {
            running.talk(shutting().as_bytes()).await;
            let answer = running.talk(announced.as_bytes()).await;
            if answer.starts_with("HTTP/1.1 429 ") {
                assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
                kept[at] = true;
            }
        }
    }
    running.stop().await;
}

//! Which token is judged where, what it costs, and what is remembered.

use std::time::Duration;

use axum::body::Body;
use carelink_platform::errors::Reason;
use http::Method;
use serde_json::json;

use super::{ENDED, NOW, Ward, access, refresh_token, request};

fn body(field: &str, token: &str) -> String {
    json!({ field: token }).to_string()
}

#[tokio::test]
async fn an_access_token_is_judged_without_an_rpc_and_a_refresh_token_with_one() {
    let ward = Ward::new();
    let verify = async |token: &str| ward.post("/account/token/verify/", body("token", token)).await;
    assert_eq!(verify(&access(&json!({}))).await.status, 200);
    assert_eq!(verify(&format!(" {}\n", access(&json!({})))).await.status, 200);
    assert_eq!(ward.played.script().rpcs(), 0);
    assert_eq!(verify(&refresh_token("good")).await.status, 200);
    assert_eq!(ward.played.script().introspections, 1);
    for token in
        ["x", "a.b.c", &access(&json!({"exp": NOW - 60})), &access(&json!({"sid": ENDED.to_string()})), &access(&json!({"iss": "other"}))]
    {
        assert_eq!(verify(token).await.status, 401, "{token}");
    }
    assert_eq!(ward.played.script().rpcs(), 1);
}

#[tokio::test]
async fn l4_reasons_are_told_in_the_predecessors_words() {
    let ward = Ward::new();
    for (reason, words) in [
        ("token_invalid", "Token is invalid"),
        ("token_expired", "Token is expired"),
        ("session_expired", "Token is expired"),
        ("session_revoked", "Token is blacklisted"),
        ("session_reused", "Token is blacklisted"),
        ("session_state_lost", "Token is blacklisted"),
        ("token_type_wrong", "Token has wrong type"),
        ("token_type_missing", "Token has no type"),
        ("token_exp_missing", "Token has no 'exp' claim"),
    ] {
        let not_valid = json!({"detail": words, "code": "token_not_valid"});
        for path in ["refresh", "blacklist"] {
            let answer = ward.post(&format!("/account/token/{path}/"), body("refresh", &refresh_token(reason))).await;
            assert_eq!((answer.status, answer.json()), (401, not_valid.clone()), "{path} {reason}");
        }
        let answer = ward.post("/account/token/verify/", body("token", &refresh_token(reason))).await;
        let blacklisted = words == "Token is blacklisted";
        let told = if blacklisted { json!({"non_field_errors": [words]}) } else { not_valid };
        assert_eq!((answer.status, answer.json()), (if blacklisted { 400 } else { 401 }, told), "verify {reason}");
    }
    for (path, field) in [("refresh", "refresh"), ("blacklist", "refresh"), ("verify", "token")] {
        let answer = ward.post(&format!("/account/token/{path}/"), body(field, &refresh_token("user_inactive"))).await;
        assert_eq!((answer.status, answer.json()), (401, json!({"detail": "No active account found for the given token."})), "{path}");
    }
}

#[tokio::test]
async fn v3_what_fails_on_our_side_is_503_with_retry_after_and_never_blames_the_token() {
    for reason in [Reason::Late, Reason::DeadlineExceeded, Reason::Unready, Reason::StorageUnavailable, Reason::StorageFull] {
        let ward = Ward::new();
        ward.played.script().fails = Some(reason);
        let (good, token) = (r#"{"username":"alice","password":"correct horse battery staple"}"#, refresh_token("good"));
        let answers = [
            ward.post("/account/token/", good).await,
            ward.post("/account/token/refresh/", body("refresh", &token)).await,
            ward.post("/account/token/blacklist/", body("refresh", &token)).await,
            ward.post("/account/token/verify/", body("token", &token)).await,
            ward.me(&access(&json!({}))).await,
        ];
        for answer in answers {
            assert_eq!((answer.status, answer.json()["code"].as_str()), (503, Some(reason.as_str())), "{reason}");
            assert_eq!((answer.header("retry-after"), answer.header("x-trace-id").len()), ("1", 32));
        }
    }
}

#[tokio::test]
async fn v3_a_status_that_is_none_of_ours_never_blames_the_token_either() {
    let ward = Ward::configured(|config| config.limits.enabled = false);
    for code in (1..=16).map(tonic::Code::from_i32) {
        ward.played.script().foreign = Some(code);
        let (good, token) = (r#"{"username":"alice","password":"correct horse battery staple"}"#, refresh_token("good"));
        let answers = [
            ward.post("/account/token/", good).await,
            ward.post("/account/token/refresh/", body("refresh", &token)).await,
            ward.post("/account/token/blacklist/", body("refresh", &token)).await,
            ward.post("/account/token/verify/", body("token", &token)).await,
            ward.me(&access(&json!({}))).await,
        ];
        use tonic::Code::{Cancelled, DeadlineExceeded, ResourceExhausted, Unavailable};
        let status = if matches!(code, Cancelled | DeadlineExceeded | ResourceExhausted | Unavailable) { 503 } else { 500 };
        for answer in answers {
            assert!(answer.status == status && !answer.text.contains("canary"), "{code:?}: {answer:?}");
            assert_eq!(answer.header("retry-after").is_empty(), status == 500, "{code:?}");
        }
    }
}

#[tokio::test]
async fn a_full_hashing_queue_is_429_with_the_services_own_time() {
    let ward = Ward::new();
    ward.played.script().fails = Some(Reason::Throttled);
    let answer = ward.post("/account/token/", r#"{"username":"alice","password":"x"}"#).await;
    assert_eq!((answer.status, answer.json()["code"].as_str(), answer.header("retry-after")), (429, Some("throttled"), "1"));
}

#[tokio::test]
async fn a_name_is_looked_up_once_and_authority_never_comes_from_it() {
    let ward = Ward::new();
    for generation in 0..3 {
        let answer = ward.me(&access(&json!({"gen": generation}))).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, r#"{"id":1,"username":"alice"}"#));
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    assert_eq!(ward.played.script().look_ups, 1);
    assert_eq!(ward.me(&access(&json!({"sid": ENDED.to_string()}))).await.status, 401);
    assert_eq!(ward.me(&access(&json!({"exp": NOW - 60}))).await.status, 401);
    let head = request(Method::HEAD, "/account/me/").header("authorization", format!("Bearer\t{} ", access(&json!({}))));
    let answer = ward.ask(head.body(Body::empty()).unwrap()).await;
    assert_eq!((answer.status, answer.text.as_str(), answer.header("content-length")), (200, "", "27"));
}

#[tokio::test]
async fn l4_a_good_token_of_somebody_else_or_nobody_is_401() {
    let ward = Ward::new();
    let other_subject = ward.me(&access(&json!({"sub": uuid::Uuid::from_u128(2).to_string()}))).await;
    assert_eq!((other_subject.status, other_subject.json()), (401, json!({"detail": "User not found", "code": "user_not_found"})));
    let unknown = ward.me(&access(&json!({"user_id": "77"}))).await;
    assert_eq!((unknown.status, unknown.json()["code"].as_str()), (401, Some("user_not_found")));
    ward.played.script().disabled = true;
    let disabled = ward.me(&access(&json!({}))).await;
    assert_eq!((disabled.status, disabled.json()["messages"][0]["message"].as_str()), (401, Some("Token is blacklisted")));
    ward.played.script().disabled = false;
    assert_eq!(ward.me(&access(&json!({}))).await.status, 200, "only what is good is remembered");
}

#[tokio::test]
async fn t4_a_request_has_a_deadline_that_its_rpcs_inherit() {
    let ward = Ward::new();
    ward.post("/account/token/refresh/", body("refresh", &refresh_token("good"))).await;
    let left = ward.played.script().context.unwrap().deadline.unwrap() - tokio::time::Instant::now();
    assert!(left <= Duration::from_secs(5) && left > Duration::from_secs(4), "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn t4_who_waits_too_long_is_told_to_try_again() {
    let ward = Ward::new();
    ward.played.script().hangs = true;
    let answer = ward.post("/account/token/refresh/", body("refresh", &refresh_token("good"))).await;
    assert_eq!((answer.status, answer.json()["code"].as_str(), answer.header("retry-after")), (503, Some("deadline_exceeded"), "1"));
}

#[tokio::test(start_paused = true)]
async fn a_spray_of_sign_ins_takes_nothing_from_those_who_refresh() {
    let ward = Ward::configured(|config| config.limits.enabled = false);
    ward.played.script().hangs = true;
    let sign_in = || ward.post("/account/token/", r#"{"username":"x","password":"y"}"#);
    let spray = futures::future::join_all((0..1_024).map(|_| sign_in()));
    let others = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        ward.played.script().hangs = false;
        let answer = sign_in().await;
        assert_eq!((answer.status, answer.json()["code"].as_str(), answer.header("retry-after")), (503, Some("overloaded"), "1"));
        assert_eq!(ward.post("/account/token/refresh/", body("refresh", &refresh_token("good"))).await.status, 200);
        assert_eq!(ward.me(&access(&json!({}))).await.status, 200);
    };
    let (sprayed, ()) = futures::future::join(spray, others).await;
    assert!(sprayed.iter().all(|answer| answer.status == 503));
    assert_eq!(sign_in().await.status, 401);
}

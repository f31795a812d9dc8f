//! Our own paths in bearer mode: bodies carry tokens, refusals are problems.

use axum::body::Body;
use carelink_platform::errors::Reason;
use http::Method;
use serde_json::{Value, json};

use super::{ALICE, Answer, ENDED, NOW, SESSION, Ward, access, refresh_token, request};

const GOOD: &str = r#"{"username":"alice","password":"correct horse battery staple"}"#;

async fn bearing(ward: &Ward, method: Method, path: &str, token: &str) -> Answer {
    ward.ask(request(method, path).header("authorization", format!("Bearer {token}")).body(Body::empty()).unwrap()).await
}

async fn refresh(ward: &Ward, says: &str) -> Answer {
    ward.post("/v1/session/refresh", json!({"refresh_token": refresh_token(says)}).to_string()).await
}

#[tokio::test]
async fn signing_in_brings_both_tokens_and_says_when_it_ends() {
    let ward = Ward::new();
    let answer = ward.post("/v1/session", GOOD).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.json();
    assert_eq!((&body["token_type"], &body["ends_at"]), (&json!("Bearer"), &json!("1970-01-01T00:00:02Z")));
    assert_eq!(body["access_expires_at"], "1970-01-01T00:00:01Z");
    assert!(body["access_token"].is_string() && body["refresh_token"].is_string());
    assert_eq!((answer.header("set-cookie"), answer.header("cache-control")), ("", "no-store"));
    let script = ward.played.script();
    let (proof, session) = (&script.passwords[0], &script.sessions[0]);
    assert_eq!((proof.username.as_str(), proof.trim, session.assertion.as_str()), ("alice", false, "assertion"));
    assert_eq!((session.mode(), session.device.as_str()), (carelink_proto::token::SessionMode::Bearer, "an unknown device"));
}

#[tokio::test]
async fn c2_our_own_paths_trim_nothing() {
    let ward = Ward::new();
    let answer = ward.post("/v1/session", r#"{"username":" alice ","password":" x "}"#).await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (401, Some("credentials_invalid")));
    assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"carelink\"");
    let script = ward.played.script();
    assert_eq!((script.passwords[0].username.as_str(), script.passwords[0].password.as_str()), (" alice ", " x "));
}

#[tokio::test]
async fn who_am_i_costs_no_rpc_once_the_name_is_remembered() {
    let ward = Ward::new();
    for _ in 0..3 {
        let answer = bearing(&ward, Method::GET, "/v1/session", &access(&json!({}))).await;
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.json(),
            json!({
                "subject": ALICE.to_string(), "user_id": "1", "username": "alice", "session": SESSION.to_string(), "roles": ["nurse"],
                "amr": ["pwd"], "signed_in_at": "2027-01-15T08:00:00Z", "access_expires_at": "2027-01-15T08:15:00Z",
            })
        );
    }
    assert_eq!(ward.played.script().rpcs(), 1);
    for (token, code) in [
        ("x".to_owned(), "token_invalid"),
        (access(&json!({"exp": NOW - 60})), "token_expired"),
        (access(&json!({"sid": ENDED.to_string()})), "session_revoked"),
        (access(&json!({"user_id": null})), "token_no_user"),
        (refresh_token("good"), "token_type_wrong"),
        (access(&json!({"user_id": "77"})), "user_inactive"),
    ] {
        let answer = bearing(&ward, Method::GET, "/v1/session", &token).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (401, Some(code)));
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"carelink\", error=\"invalid_token\"");
    }
}

#[tokio::test]
async fn a_refresh_gives_the_successor_or_says_why_not() {
    let ward = Ward::new();
    let answer = refresh(&ward, "good").await;
    assert_eq!((answer.status, answer.json()["token_type"].as_str()), (200, Some("Bearer")));
    {
        let script = ward.played.script();
        let [asked] = script.refreshes.as_slice() else { panic!("one RPC") };
        assert_eq!(asked.call.len(), 16, "sent again by the channel it is known");
        assert!((NOW * 1_000_000..=(NOW + 6) * 1_000_000).contains(&asked.deadline_us), "T4: {}", asked.deadline_us);
    }
    for code in [
        "token_invalid",
        "token_expired",
        "token_type_wrong",
        "token_type_missing",
        "token_exp_missing",
        "token_no_user",
        "session_expired",
        "session_revoked",
        "session_reused",
        "session_replaced",
        "session_state_lost",
        "user_inactive",
    ] {
        let answer = refresh(&ward, code).await;
        assert_eq!((answer.status, answer.json()["code"].as_str(), answer.header("set-cookie")), (401, Some(code), ""));
    }
    for (code, told) in
        [("user_not_found", "token_invalid"), ("source_not_found", "token_invalid"), ("session_not_found", "session_expired")]
    {
        assert_eq!(refresh(&ward, code).await.json()["code"], told);
    }
    let nothing = ward.ask(request(Method::POST, "/v1/session/refresh").body(Body::empty()).unwrap()).await;
    assert_eq!((nothing.status, nothing.json()["code"].as_str()), (401, Some("token_missing")));
}

#[tokio::test]
async fn s9_any_genuine_token_signs_out_and_once_more_is_no_failure() {
    let ward = Ward::new();
    assert_eq!(bearing(&ward, Method::DELETE, "/v1/session", &refresh_token("good")).await.status, 204);
    for over in ["session_revoked", "session_expired", "session_reused", "session_state_lost", "user_inactive"] {
        assert_eq!(bearing(&ward, Method::DELETE, "/v1/session", &refresh_token(over)).await.status, 204, "{over}");
    }
    let forged = bearing(&ward, Method::DELETE, "/v1/session", &refresh_token("token_invalid")).await;
    assert_eq!((forged.status, forged.json()["code"].as_str()), (401, Some("token_invalid")));
    bearing(&ward, Method::DELETE, "/v1/session", &access(&json!({}))).await;
    let script = ward.played.script();
    let last = script.sign_outs.last().unwrap();
    assert!(last.refresh_token.is_empty() && last.access_token.starts_with("ey"), "an access token is judged as one");
}

#[tokio::test]
async fn v3_what_fails_on_our_side_is_503_under_v1_too() {
    for reason in [Reason::Late, Reason::DeadlineExceeded, Reason::Unready, Reason::StorageUnavailable, Reason::StorageFull] {
        let ward = Ward::new();
        ward.played.script().fails = Some(reason);
        let answers = [
            ward.post("/v1/session", GOOD).await,
            refresh(&ward, "good").await,
            bearing(&ward, Method::DELETE, "/v1/session", &refresh_token("good")).await,
            bearing(&ward, Method::GET, "/v1/session", &access(&json!({}))).await,
        ];
        for answer in answers {
            assert_eq!((answer.status, answer.json()["code"].as_str()), (503, Some(reason.as_str())), "{reason}");
        }
    }
}

#[tokio::test]
async fn what_no_row_names_is_an_error_of_ours() {
    let ward = Ward::new();
    for reason in [Reason::CallerRefused, Reason::AssertionInvalid, Reason::NameTaken, Reason::RoleRequired] {
        ward.played.script().fails = Some(reason);
        let answer = ward.post("/v1/session", GOOD).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (500, Some("internal")), "{reason}");
    }
}

#[tokio::test]
async fn sign_ins_under_v1_share_the_limits_and_a_full_queue_is_429() {
    let ward = Ward::new();
    for path in ["/v1/session", "/account/token/"] {
        for _ in 0..10 {
            assert_eq!(ward.post(path, r#"{"username":"amina","password":"x"}"#).await.status, 401);
        }
    }
    let answer = ward.post("/v1/session", r#"{"username":"amina","password":"x"}"#).await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (429, Some("throttled")));
    let full = Ward::new();
    full.played.script().fails = Some(Reason::QueueFull);
    let answer = full.post("/v1/session", GOOD).await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (429, Some("throttled")));
}

#[tokio::test]
async fn bad_bodies_are_refused_clearly_and_reach_nobody() {
    let ward = Ward::new();
    for body in [
        "",
        "{",
        "[]",
        "null",
        "{}",
        r#"{"username":"a"}"#,
        r#"{"username":"a","password":"b","cookie":true}"#,
        r#"{"username":"a\u0000","password":"b"}"#,
    ] {
        let answer = ward.post("/v1/session", body).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (400, Some("input_invalid")), "{body}");
    }
    let long: Value = json!({"username": "alice", "password": "x", "device": "d".repeat(65)});
    assert_eq!(ward.post("/v1/session", long.to_string()).await.status, 400);
    let form = request(Method::POST, "/v1/session").header("content-type", "application/x-www-form-urlencoded");
    let answer = ward.ask(form.body(Body::from("username=a&password=b")).unwrap()).await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (415, Some("media_type_unsupported")));
    let two = request(Method::GET, "/v1/session").header("authorization", "Bearer a").header("authorization", "Bearer a");
    assert_eq!(ward.ask(two.body(Body::empty()).unwrap()).await.status, 400);
    assert_eq!(ward.played.script().rpcs(), 0);
}

//! Cookie mode (B1 to B4): what a browser is given, what it must say, and when its cookies go.

use axum::body::Body;
use carelink_platform::errors::Reason;
use carelink_proto::token::SessionMode;
use http::Method;
use serde_json::{Value, json};

use super::{Answer, Ward, access, refresh_token, request};

const OURS: (&str, &str) = ("sec-fetch-site", "same-origin");

async fn asked(ward: &Ward, method: Method, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
    let mut asked = request(method, path);
    for (name, value) in headers {
        asked = asked.header(*name, *value);
    }
    if body.is_null() {
        return ward.ask(asked.body(Body::empty()).unwrap()).await;
    }
    ward.ask(asked.header("content-type", "application/json").body(Body::from(body.to_string())).unwrap()).await
}

fn good() -> Value {
    json!({"username": "alice", "password": "correct horse battery staple", "cookies": true})
}

fn cookies(answer: &Answer) -> Vec<String> {
    answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

fn cleared(answer: &Answer) -> bool {
    let cookies = cookies(answer);
    assert!(
        cookies.is_empty() || cookies.len() == 2 && cookies.iter().all(|cookie| cookie.contains("=; ") && cookie.contains("Max-Age=0;"))
    );
    !cookies.is_empty()
}

fn held(says: &str) -> String {
    format!("__Host-carelink={}; __Secure-carelink-refresh={}", access(&json!({})), refresh_token(says))
}

#[tokio::test]
async fn b1_a_browser_gets_cookies_that_no_script_reads_and_no_token_in_a_body() {
    let ward = Ward::new();
    ward.played.script().known_device = "device.of.alice".into();
    let answer = asked(&ward, Method::POST, "/v1/session", &[OURS, ("user-agent", "Firefox/140 Linux")], &good()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(!answer.text.contains("ey") && !answer.text.contains("device.of") && answer.json()["ends_at"].is_string(), "{}", answer.text);
    let given = cookies(&answer);
    let [access, refresh, device] = given.as_slice() else { panic!("{given:?}") };
    assert!(access.starts_with("__Host-carelink=ey") && access.contains("; Path=/; Max-Age="), "{access}");
    assert!(refresh.starts_with("__Secure-carelink-refresh=ey") && refresh.contains("; Path=/v1/session; Max-Age="), "{refresh}");
    assert!(device.starts_with("__Host-carelink-device=device.of.alice; Path=/; Max-Age=3600;"), "{device}");
    for cookie in &given {
        assert!(cookie.ends_with("; HttpOnly; Secure; SameSite=Strict") && !cookie.contains("Domain"), "{cookie}");
    }
    let script = ward.played.script();
    assert_eq!((script.sessions[0].mode(), script.sessions[0].device.as_str()), (SessionMode::Cookies, "Firefox on Linux"));
}

#[tokio::test]
async fn b1_the_predecessors_paths_never_set_a_cookie() {
    let ward = Ward::new();
    let answer = asked(&ward, Method::POST, "/account/token/", &[OURS, ("cookie", &held("good"))], &good()).await;
    assert_eq!((answer.status, cookies(&answer).len()), (200, 0));
    let answer =
        asked(&ward, Method::POST, "/account/token/refresh/", &[OURS], &json!({"refresh": refresh_token("session_revoked")})).await;
    assert_eq!((answer.status, cookies(&answer).len()), (401, 0));
}

#[tokio::test]
async fn b2_what_another_site_may_have_caused_is_refused_before_anybody_is_asked() {
    let ward = Ward::new();
    let cookie = held("good");
    for foreign in
        [None, Some(("sec-fetch-site", "cross-site")), Some(("sec-fetch-site", "same-site")), Some(("origin", "http://evil.example"))]
    {
        for (method, path, body) in [
            (Method::POST, "/v1/session", good()),
            (Method::POST, "/v1/session/refresh", Value::Null),
            (Method::DELETE, "/v1/session", Value::Null),
        ] {
            let headers: Vec<_> = foreign.into_iter().chain([("cookie", cookie.as_str())]).collect();
            let answer = asked(&ward, method.clone(), path, &headers, &body).await;
            assert_eq!((answer.status, answer.json()["code"].as_str()), (403, Some("origin_refused")), "{method} {path} {foreign:?}");
            assert!(!cleared(&answer), "nobody else's page signs anybody out");
        }
    }
    assert_eq!(ward.played.script().rpcs(), 0);
    let looked = asked(&ward, Method::GET, "/v1/session", &[("cookie", &cookie), ("sec-fetch-site", "cross-site")], &Value::Null).await;
    assert_eq!(looked.status, 200, "looking changes nothing, and no other site reads the answer");
    let exact =
        asked(&ward, Method::POST, "/v1/session/refresh", &[("cookie", &cookie), ("origin", "http://localhost")], &Value::Null).await;
    assert_eq!((exact.status, cookies(&exact).len()), (200, 2));
}

#[tokio::test]
async fn b3_only_the_last_word_takes_cookies_away() {
    let ward = Ward::new();
    let refresh =
        async |says: &str| asked(&ward, Method::POST, "/v1/session/refresh", &[OURS, ("cookie", &held(says))], &Value::Null).await;
    for over in
        ["token_invalid", "token_expired", "session_expired", "session_revoked", "session_reused", "session_state_lost", "user_inactive"]
    {
        let answer = refresh(over).await;
        assert!(answer.status == 401 && cleared(&answer), "{over}: {answer:?}");
    }
    for kept in ["throttled", "late", "unready", "deadline_exceeded", "storage_unavailable", "internal", "session_replaced", "overloaded"] {
        let answer = refresh(kept).await;
        assert!(answer.status >= 401 && !cleared(&answer), "{kept}: {answer:?}");
    }
    ward.played.script().fails = Some(Reason::Unready);
    assert!(!cleared(&refresh("good").await));
    let by_access = asked(&ward, Method::GET, "/v1/session", &[("cookie", "__Host-carelink=garbage")], &Value::Null).await;
    assert!(by_access.status == 401 && !cleared(&by_access), "an access token that ran out is refreshed, not given up");
}

#[tokio::test]
async fn b4_a_sign_in_over_a_held_session_says_which_one_it_replaces() {
    let ward = Ward::new();
    asked(&ward, Method::POST, "/v1/session", &[OURS, ("cookie", &held("good"))], &good()).await;
    let mut bearer = good();
    bearer["cookies"] = false.into();
    asked(&ward, Method::POST, "/v1/session", &[OURS, ("cookie", &held("good"))], &bearer).await;
    let script = ward.played.script();
    let replaced: Vec<_> = script.sessions.iter().map(|session| session.replaces_refresh_token.as_str()).collect();
    assert_eq!(replaced, [refresh_token("good").as_str(), ""], "a script's session is beside the browser's");
}

#[tokio::test]
async fn b1_signing_out_ends_the_session_and_clears_what_the_browser_held() {
    let ward = Ward::new();
    let answer = asked(&ward, Method::DELETE, "/v1/session", &[OURS, ("cookie", &held("good"))], &Value::Null).await;
    assert!(answer.status == 204 && cleared(&answer));
    assert_eq!(ward.played.script().sign_outs[0].refresh_token, refresh_token("good"));
    let over = asked(&ward, Method::DELETE, "/v1/session", &[OURS, ("cookie", &held("session_revoked"))], &Value::Null).await;
    assert!(over.status == 204 && cleared(&over));
    let only_access = format!("__Host-carelink={}", access(&json!({})));
    let answer = asked(&ward, Method::DELETE, "/v1/session", &[OURS, ("cookie", &only_access)], &Value::Null).await;
    assert!(answer.status == 204 && cleared(&answer));
    assert!(!ward.played.script().sign_outs[2].access_token.is_empty());
}

#[tokio::test]
async fn a_device_that_is_known_brings_its_proof_along() {
    let ward = Ward::new();
    let device = ("cookie", "__Host-carelink-device=known.device");
    asked(&ward, Method::POST, "/v1/session", &[OURS, device], &good()).await;
    let mut bearer = good();
    bearer["cookies"] = false.into();
    bearer["known_device"] = "brought.along".into();
    asked(&ward, Method::POST, "/v1/session", &[device], &bearer).await;
    let script = ward.played.script();
    let brought: Vec<_> = script.passwords.iter().map(|proof| proof.known_device.as_str()).collect();
    assert_eq!(brought, ["known.device", "brought.along"]);
}

//! Own sessions and passwords: by one's own token and on what is one's own.

use axum::body::Body;
use carelink_platform::errors::Reason;
use http::Method;
use serde_json::{Value, json};

use super::{ALICE, Answer, SESSION, Ward, access, refresh_token, request};

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

fn bearer() -> String {
    format!("Bearer {}", access(&json!({})))
}

fn one(id: uuid::Uuid) -> String {
    format!("/v1/sessions/{id}")
}

#[tokio::test]
async fn g2_own_sessions_are_listed_and_ended_by_ones_own_token() {
    let ward = Ward::new();
    let bearer = bearer();
    let by = [("authorization", bearer.as_str())];
    let listed = asked(&ward, Method::GET, "/v1/sessions?limit=5", &by, &Value::Null).await;
    assert_eq!(
        listed.json(),
        json!({
            "sessions": [{
                "id": SESSION.to_string(), "current": true, "device": "an unknown device", "network": "an unknown network", "browser": false,
                "signed_in_at": "1970-01-01T00:00:01Z", "last_active_at": null, "ends_at": "1970-01-01T00:00:02Z", "idle_ends_at": null,
            }],
            "next_cursor": null,
        })
    );
    assert_eq!(asked(&ward, Method::DELETE, &one(SESSION), &by, &Value::Null).await.status, 204);
    let others = asked(&ward, Method::DELETE, "/v1/sessions", &by, &Value::Null).await;
    assert_eq!((others.status, others.json()), (200, json!({"ended": 2})));
    assert_eq!(asked(&ward, Method::DELETE, "/v1/sessions?everywhere=true", &by, &Value::Null).await.status, 200);
    let script = ward.played.script();
    assert!(script.tokens.iter().all(|token| *token == bearer) && script.tokens.len() == 4);
    assert!(script.others[0].contains(&format!("subject: {:?}", ALICE.as_bytes())), "never anybody else's: {}", script.others[0]);
    assert!(script.others[2].contains("Others") && script.others[3].contains("Subject("), "{:?}", script.others);
}

#[tokio::test]
async fn what_is_somebody_elses_is_not_there() {
    let ward = Ward::new();
    let bearer = bearer();
    let by = [("authorization", bearer.as_str())];
    for reason in [Reason::ReasonRequired, Reason::RoleRequired, Reason::CallerRefused, Reason::SessionNotFound] {
        ward.played.script().fails = Some(reason);
        let answer = asked(&ward, Method::DELETE, &one(SESSION), &by, &Value::Null).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (404, Some("session_not_found")), "{reason}");
    }
    ward.played.script().fails = None;
    assert_eq!(asked(&ward, Method::DELETE, "/v1/sessions/x", &by, &Value::Null).await.status, 404);
    for query in ["?limit=0", "?page=1", "?cursor=a&cursor=b"] {
        assert_eq!(asked(&ward, Method::GET, &format!("/v1/sessions{query}"), &by, &Value::Null).await.status, 400, "{query}");
    }
    assert_eq!(asked(&ward, Method::DELETE, "/v1/sessions?everywhere=yes", &by, &Value::Null).await.status, 400);
}

#[tokio::test]
async fn b2_sessions_and_passwords_change_by_cookie_only_for_our_own_pages() {
    let ward = Ward::new();
    let cookie = format!("__Host-carelink={}; __Secure-carelink-refresh={}", access(&json!({})), refresh_token("good"));
    let change = json!({"current_password": "a", "new_password": "b"});
    for (method, path, body) in [
        (Method::DELETE, one(SESSION), Value::Null),
        (Method::DELETE, "/v1/sessions".to_owned(), Value::Null),
        (Method::POST, "/v1/password".to_owned(), change),
    ] {
        let refused = asked(&ward, method.clone(), &path, &[("cookie", &cookie)], &body).await;
        assert_eq!((refused.status, refused.json()["code"].as_str()), (403, Some("origin_refused")), "{method} {path}");
        assert_eq!(ward.played.script().others.len(), 0, "{path}");
    }
    let ended = asked(&ward, Method::DELETE, &one(SESSION), &[("cookie", &cookie), OURS], &Value::Null).await;
    assert_eq!((ended.status, ended.headers.get_all("set-cookie").iter().count()), (204, 2), "it was the browser's own");
    let others = asked(&ward, Method::DELETE, "/v1/sessions", &[("cookie", &cookie), OURS], &Value::Null).await;
    assert_eq!((others.status, others.headers.get_all("set-cookie").iter().count()), (200, 0), "this one goes on");
}

#[tokio::test]
async fn c7_ones_own_password_changes_by_the_current_one() {
    let ward = Ward::new();
    let bearer = bearer();
    let change = json!({"current_password": "as it is", "new_password": "as it shall be", "known_device": "known"});
    let answer = asked(&ward, Method::POST, "/v1/password", &[("authorization", &bearer)], &change).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"revocation": "pending"})));
    {
        let script = ward.played.script();
        assert!(script.others[0].starts_with("ChangePassword") && script.others[0].contains(r#"known_device: "known""#));
        assert_eq!(script.tokens, std::slice::from_ref(&bearer));
    }
    let stranger = asked(&ward, Method::POST, "/v1/password", &[], &change).await;
    assert_eq!((stranger.status, stranger.json()["code"].as_str()), (401, Some("token_missing")));
    for reason in [Reason::CredentialsInvalid, Reason::PasswordTooShort, Reason::PasswordCommon, Reason::Throttled, Reason::QueueFull] {
        ward.played.script().fails = Some(reason);
        let answer = asked(&ward, Method::POST, "/v1/password", &[("authorization", &bearer)], &change).await;
        let told = if reason == Reason::QueueFull { "throttled" } else { reason.as_str() };
        assert_eq!(answer.json()["code"], told);
    }
}

#[tokio::test]
async fn c6_a_one_time_password_opens_its_account_without_a_token() {
    let ward = Ward::new();
    let change = json!({"username": "carelink-admin", "current_password": "once", "new_password": "as it shall be"});
    let answer = asked(&ward, Method::POST, "/v1/password", &[], &change).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"revocation": "applied"})));
    assert!(ward.played.script().others[0].contains(r#"username: "carelink-admin""#) && ward.played.script().tokens.is_empty());
    ward.played.script().fails = Some(Reason::UserNotFound);
    assert_eq!(asked(&ward, Method::POST, "/v1/password", &[], &change).await.json()["code"], "credentials_invalid");
}

#[tokio::test]
async fn a_link_sets_a_password_and_asking_for_one_tells_nothing() {
    let ward = Ward::new();
    let forgotten = asked(&ward, Method::POST, "/v1/password/reset", &[], &json!({"username": "nobody"})).await;
    assert_eq!((forgotten.status, forgotten.text.as_str()), (202, ""));
    for path in ["/v1/password/reset/redeem", "/v1/invitations/redeem"] {
        let redeem = json!({"token": "t", "new_password": "as it shall be"});
        assert_eq!(asked(&ward, Method::POST, path, &[], &redeem).await.json(), json!({"revocation": "applied"}));
        ward.played.script().fails = Some(Reason::LinkInvalid);
        assert_eq!(asked(&ward, Method::POST, path, &[], &redeem).await.json()["code"], "link_invalid");
        ward.played.script().fails = None;
    }
    ward.played.script().fails = Some(Reason::MailUnset);
    assert_eq!(asked(&ward, Method::POST, "/v1/password/reset", &[], &json!({"username": "x"})).await.json()["code"], "mail_unset");
}

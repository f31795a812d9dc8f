//! Every recorded answer of the predecessor, against played services: what the gateway itself decides, word for word (L4).

use std::{fs, path::Path};

use axum::body::Body;
use http::{Method, Request};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{ENDED, NOW, Ward, access, refresh_token, request};

#[derive(Deserialize)]
struct Recording {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    case: String,
    request: Asked,
    response: Told,
}

#[derive(Deserialize)]
struct Asked {
    method: String,
    path: String,
    headers: Map<String, Value>,
    body: Value,
}

#[derive(Deserialize)]
struct Told {
    status: u16,
    headers: Map<String, Value>,
    body: Value,
}

fn recording() -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/contracts/simplejwt_golden.json");
    let recording: Recording = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    recording.cases
}

/// What stands for `<jwt>` in a case, as the header or the field wants it.
fn token(case: &str) -> String {
    let unknown = json!({"user_id": "77"});
    match case {
        "refresh reuse of rotated" => refresh_token("session_reused"),
        "refresh expired" => refresh_token("token_expired"),
        "refresh wrong key" | "refresh HS512 same key" | "refresh iat future" | "refresh nbf future" | "refresh alg none" => {
            refresh_token("token_invalid")
        }
        "refresh no exp" => refresh_token("token_exp_missing"),
        "refresh no jti" => refresh_token("token_invalid"),
        "refresh no token_type" => refresh_token("token_type_missing"),
        "refresh unknown user" => refresh_token("user_not_found"),
        "refresh user_id not a number" => refresh_token("token_invalid"),
        "refresh no user_id" => refresh_token("token_no_user"),
        "refresh inactive user" => refresh_token("user_inactive"),
        "blacklist again" | "verify blacklisted refresh" | "refresh blacklisted" => refresh_token("session_revoked"),
        "refresh with access token" | "blacklist access token" | "verify access ok" | "me ok" => access(&json!({})),
        "verify expired" | "me expired" => access(&json!({"exp": NOW - 60})),
        "me with refresh token" => refresh_token("good"),
        "me lowercase scheme" => format!("bearer {}", access(&json!({}))),
        "me wrong scheme" => format!("Token {}", access(&json!({}))),
        "me unknown user" => access(&unknown),
        "me no user_id" => access(&json!({"user_id": null})),
        "me inactive user" | "me access after its refresh was blacklisted (still works)" => access(&json!({"sid": ENDED.to_string()})),
        _ => refresh_token("good"),
    }
}

/// Where we differ on purpose, and how: status and body.
fn differs(case: &str) -> Option<(u16, Value)> {
    let not_valid = |words: &str| (401, json!({"detail": words, "code": "token_not_valid"}));
    let blacklisted = json!({
        "detail": "Given token not valid for any token type", "code": "token_not_valid",
        "messages": [{"token_class": "AccessToken", "token_type": "access", "message": "Token is blacklisted"}],
    });
    Some(match case {
        "refresh no jti" | "refresh unknown user" | "refresh user_id not a number" => not_valid("Token is invalid"),
        "refresh no user_id" => not_valid("Token contained no recognizable user identification"),
        "me inactive user" | "me access after its refresh was blacklisted (still works)" => (401, blacklisted),
        "obtain no trailing slash" => (301, Value::Null),
        _ => return None,
    })
}

fn ask(case: &Case) -> Request<Body> {
    let token = token(&case.case);
    let mut asked = request(Method::from_bytes(case.request.method.as_bytes()).unwrap(), &case.request.path);
    for (name, value) in &case.request.headers {
        asked = asked.header(name, value.as_str().unwrap().replace("<jwt>", &token));
    }
    let body = match &case.request.body {
        Value::Null => Body::empty(),
        Value::String(text) => Body::from(text.clone()),
        body => Body::from(body.to_string().replace("<jwt>", &token)),
    };
    asked.body(body).unwrap()
}

fn mask(mut body: Value) -> Value {
    for name in ["access", "refresh"] {
        if let Some(token) = body.get_mut(name).filter(|value| value.is_string()) {
            *token = "<jwt>".into();
        }
    }
    body
}

#[tokio::test]
async fn l4_every_recorded_answer_is_given_or_differs_on_purpose() {
    let ward = Ward::new();
    let cases = recording();
    assert_eq!(cases.len(), 73);
    for case in cases {
        let name = &case.case;
        let answer = ward.ask(ask(&case)).await;
        let (status, body) = differs(name).unwrap_or((case.response.status, case.response.body.clone()));
        assert_eq!(answer.status, status, "{name}: {answer:?}");
        if status == 301 {
            assert_eq!(answer.header("location"), "/account/token/");
            continue;
        }
        let told = mask(answer.json());
        let (json_error, recorded_error) = (told["detail"].as_str().unwrap_or_default(), body["detail"].as_str().unwrap_or_default());
        if recorded_error.starts_with("JSON parse error - ") {
            assert!(json_error.starts_with("JSON parse error - "), "{name}");
        } else {
            assert_eq!(told, body, "{name}");
        }
        for header in ["Content-Type", "Allow"] {
            let recorded = if differs(name).is_some() { answer.header(header) } else { case.response.headers[header].as_str().unwrap() };
            assert_eq!(answer.header(header), recorded, "{name}: {header}");
        }
        let challenge = if status == 401 { "Bearer realm=\"api\"" } else { "" };
        assert_eq!(answer.header("WWW-Authenticate"), challenge, "{name}");
        assert_eq!(answer.header("Vary"), "", "{name}");
        assert_eq!(answer.header("X-Trace-Id").len(), 32, "{name}");
    }
}

#[tokio::test]
async fn c2_name_and_password_go_on_as_they_were_typed() {
    let ward = Ward::new();
    ward.post("/account/token/", r#"{"username": " alice ", "password": " correct horse battery staple\n"}"#).await;
    ward.post("/account/token/", r#"{"username": 1.50, "password": 10000000000000000000000}"#).await;
    let script = ward.played.script();
    let sent: Vec<_> = script.passwords.iter().map(|sent| (sent.username.as_str(), sent.password.as_str(), sent.trim)).collect();
    assert_eq!(sent, [(" alice ", " correct horse battery staple\n", true), ("1.5", "10000000000000000000000", true)]);
    assert_eq!(script.sessions[0].assertion, "assertion");
}

#[tokio::test]
async fn l4_other_answers_of_the_predecessor_that_were_not_recorded() {
    let ward = Ward::new();
    for (body, told) in [
        ("null", json!({"non_field_errors": ["No data provided"]})),
        ("\"x\"", json!({"non_field_errors": ["Invalid data. Expected a dictionary, but got str."]})),
        (
            r#"{"username":{},"password":" \u00a0"}"#,
            json!({"username": ["Not a valid string."], "password": ["This field may not be blank."]}),
        ),
        (r#"{"username":"a\u0000"}"#, json!({"username": ["Null characters are not allowed."], "password": ["This field is required."]})),
    ] {
        let answer = ward.post("/account/token/", body).await;
        assert_eq!((answer.status, answer.json()), (400, told), "{body}");
    }
    let good = access(&json!({}));
    for (method, allowed) in [(Method::POST, false), (Method::DELETE, false), (Method::OPTIONS, true), (Method::GET, true)] {
        let asked = request(method.clone(), "/account/me/").header("authorization", format!("Bearer {good}"));
        let answer = ward.ask(asked.body(Body::empty()).unwrap()).await;
        assert_eq!((answer.status == 200, answer.header("allow")), (allowed, "GET, HEAD, OPTIONS"), "{method}");
        let stranger = ward.ask(request(method.clone(), "/account/me/").body(Body::empty()).unwrap()).await;
        assert_eq!(stranger.status, 401, "{method}: who asks comes before what for");
    }
    for (path, name) in [("token/refresh", "Token Refresh"), ("token/verify", "Token Verify"), ("token/blacklist", "Token Blacklist")] {
        let answer = ward.ask(request(Method::OPTIONS, &format!("/account/{path}/")).body(Body::empty()).unwrap()).await;
        assert_eq!((answer.status, answer.json()["name"].clone()), (200, name.into()));
    }
}

#[tokio::test]
async fn the_name_of_the_user_field_and_the_prefix_are_configured() {
    let ward = Ward::configured(|config| {
        config.gateway.username_field = "email".into();
        config.gateway.account_prefix = "/api/auth".into();
    });
    let answer = ward.post("/api/auth/token/", r#"{"username": "alice", "password": "x"}"#).await;
    assert_eq!((answer.status, answer.json()), (400, json!({"email": ["This field is required."]})));
    assert_eq!(ward.post("/api/auth/token/", r#"{"email": "alice", "password": "correct horse battery staple"}"#).await.status, 200);
    let about = ward.ask(request(Method::OPTIONS, "/api/auth/token/").body(Body::empty()).unwrap()).await;
    assert_eq!(about.json()["actions"]["POST"]["email"]["label"], "Email");
    let moved = ward.ask(request(Method::GET, "/api/auth/me?x=1").body(Body::empty()).unwrap()).await;
    assert_eq!((moved.status, moved.header("location")), (301, "/api/auth/me/?x=1"));
    assert_eq!(ward.post("/account/token/", "{}").await.header("content-type"), "application/problem+json");
}

//! Every answer recorded of the predecessor, against the real binary and a small source of users and tokens (L3, L4).

use std::{collections::BTreeSet, fs};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use carelink_platform::clock::{Clock, Timestamp};
use carelink_tests::{
    Answer, Carelink, Pair, Person, Start, eventually,
    person::claims,
    predecessor::{FAR, PASSWORD, SECRET_KEY, Source, fixtures, legacy, refresh_claims, signed},
};
use http::Method;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

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

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Told {
    status: u16,
    headers: Map<String, Value>,
    body: Value,
}

fn recording() -> Vec<Case> {
    let text = fs::read_to_string(fixtures("contracts").join("simplejwt_golden.json")).unwrap();
    serde_json::from_str::<Recording>(&text).unwrap().cases
}

/// Cases that no client can bring about from outside: no token of ours names an unknown user or none. A test of the gateway,
/// whose verifier trusts a key of that test, holds them (L4).
const HELD_BY_THE_GATEWAY: [&str; 2] = ["me unknown user", "me no user_id"];
const GATEWAY_TEST: &str = "../gateway/src/tests/contract.rs";

/// Where we differ from the recording on purpose, and the clause of L4 that says so.
fn differs(case: &str) -> Option<(Told, &'static str)> {
    let refused = |allow: &str, body: Value| {
        let headers = json!({"Content-Type": "application/json", "WWW-Authenticate": "Bearer realm=\"api\"", "Allow": allow});
        Told { status: 401, headers: headers.as_object().unwrap().clone(), body }
    };
    let not_valid = |words: &str| refused("POST, OPTIONS", json!({"detail": words, "code": "token_not_valid"}));
    let blacklisted = || {
        let message = json!({"token_class": "AccessToken", "token_type": "access", "message": "Token is blacklisted"});
        let detail = "Given token not valid for any token type";
        refused("GET, HEAD, OPTIONS", json!({"detail": detail, "code": "token_not_valid", "messages": [message]}))
    };
    let moved = || Told { status: 301, headers: json!({"Location": "/account/token/"}).as_object().unwrap().clone(), body: Value::Null };
    Some(match case {
        "refresh no jti" | "refresh user_id not a number" => {
            (not_valid("Token is invalid"), "where the predecessor answers 500 we answer 401 token_not_valid")
        }
        "refresh unknown user" => {
            (not_valid("Token is expired"), "where the predecessor answers 500 we answer 401 token_not_valid; no row")
        }
        "refresh no user_id" => (not_valid("Token is invalid"), "or 200 for a token without user_id, we answer 401 token_not_valid"),
        "me inactive user" => (blacklisted(), "an access token of an ended session, also of a disabled user, answers 401"),
        "me access after its refresh was blacklisted (still works)" => (blacklisted(), "an access token of an ended session answers 401"),
        "obtain no trailing slash" => (moved(), "a POST without the trailing slash answers 301, as Django does"),
        _ => return None,
    })
}

/// What the cases share: a source, and whoever came from it.
struct Played<'a> {
    ward: &'a Carelink,
    int_user_id: String,
    bobs: String,
    /// An access token of ours past its end.
    expired: String,
    /// An access token of somebody disabled since.
    disabled: String,
    first: Option<Pair>,
    second: Option<Pair>,
    /// Signed in and left alone.
    other: Pair,
}

impl Played<'_> {
    /// What `<jwt>` stands for.
    fn token(&self, case: &str) -> String {
        let claims = refresh_claims("0123456789abcdef0123456789abcdef", "1".into());
        let with = |name: &str, value: Value| {
            let mut claims = claims.clone();
            claims[name] = value;
            legacy(&claims)
        };
        let without = |name: &str| {
            let mut claims = claims.clone();
            claims.as_object_mut().unwrap().remove(name);
            legacy(&claims)
        };
        let (first, second) = (|| self.first.clone().unwrap(), || self.second.clone().unwrap());
        match case {
            "refresh ok (rotates)" | "refresh reuse of rotated" => first().refresh,
            "refresh with access token" => first().access,
            "refresh expired" => with("exp", 1_749_877_201.into()),
            "refresh wrong key" => signed(&claims, Algorithm::HS256, "another key"),
            "refresh HS512 same key" => signed(&claims, Algorithm::HS512, SECRET_KEY),
            "refresh no exp" => without("exp"),
            "refresh no jti" => without("jti"),
            "refresh no token_type" => without("token_type"),
            "refresh unknown user" => with("user_id", "9999".into()),
            "refresh inactive user" => self.bobs.clone(),
            "refresh user_id int (pre-5.5.1 token)" => self.int_user_id.clone(),
            "refresh user_id not a number" => with("user_id", "abc".into()),
            "refresh no user_id" => without("user_id"),
            "refresh iat future" => with("iat", (FAR - 1).into()),
            "refresh nbf future" => with("nbf", (FAR - 1).into()),
            "refresh alg none" => {
                let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
                format!("{}.{}.", part(&json!({"alg": "none", "typ": "JWT"})), part(&claims))
            }
            "verify access ok" | "blacklist access token" | "me access after its refresh was blacklisted (still works)" => second().access,
            "verify refresh ok" | "blacklist ok" | "blacklist again" | "verify blacklisted refresh" | "refresh blacklisted" => {
                second().refresh
            }
            "verify expired" | "me expired" => self.expired.clone(),
            "me ok" => self.other.access.clone(),
            "me with refresh token" => self.other.refresh.clone(),
            "me lowercase scheme" => format!("bearer {}", self.other.access),
            "me wrong scheme" => format!("Token {}", self.other.access),
            "me inactive user" => self.disabled.clone(),
            _ => panic!("nobody knows which token `{case}` is about"),
        }
    }

    async fn play(&mut self, case: &Case) -> Answer {
        let filled = |text: &str| if text.contains("<jwt>") { text.replace("<jwt>", &self.token(&case.case)) } else { text.to_owned() };
        let headers: Vec<_> = case.request.headers.iter().map(|(name, value)| (name.as_str(), filled(value.as_str().unwrap()))).collect();
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let body = match &case.request.body {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            body => filled(&body.to_string()),
        };
        let method = Method::from_bytes(case.request.method.as_bytes()).unwrap();
        let answer = self.ward.ask(method, &case.request.path, &headers, body).await;
        match case.case.as_str() {
            "obtain ok" => self.first = Pair::of(answer.clone()).ok(),
            "obtain 2" => self.second = Pair::of(answer.clone()).ok(),
            _ => {}
        }
        answer
    }
}

/// An answer as it was recorded: the recorded headers, tokens masked, and of a JSON parse error only who says it.
fn as_recorded(answer: &Answer, recorded: &Told) -> Told {
    let headers = recorded.headers.keys().map(|name| (name.clone(), answer.header(name).into())).collect();
    let mut body = answer.json();
    for name in ["access", "refresh"] {
        if let Some(token) = body.get_mut(name).filter(|value| value.as_str().is_some_and(|text| text.split('.').count() == 3)) {
            *token = "<jwt>".into();
        }
    }
    Told { status: answer.status, headers, body: unworded(&body) }
}

fn unworded(body: &Value) -> Value {
    const PARSE_ERROR: &str = "JSON parse error - ";
    match body["detail"].as_str() {
        Some(detail) if detail.starts_with(PARSE_ERROR) && detail.len() > PARSE_ERROR.len() => json!({"detail": PARSE_ERROR}),
        _ => body.clone(),
    }
}

/// An access token of alice's that is past its end, from a CareLink on this directory whose tokens last a second.
async fn expired_token(data: &TempDir, source: &Source) -> String {
    let ward = Start::default().set("session.access_lifetime", "1s").data(data.path()).up().await;
    source.import_into(&ward).await;
    let access = ward.sign_in("alice", PASSWORD).await.held().access;
    ward.terminate().await;
    let end = Timestamp::from_secs(claims(&access)["exp"].as_i64().unwrap());
    eventually("the token is past its end", async || (Clock::system().now() > end).then_some(())).await;
    access
}

#[tokio::test]
async fn l4_every_recorded_answer() {
    let (data, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let source = Source::create(folder.path());
    source.add(1, "alice", true);
    source.add(2, "bob", false);
    let int_user_id = legacy(&refresh_claims("93f5e37fe28e455587b4f1a6047fefa0", 1.into()));
    let bobs = legacy(&refresh_claims("746d6ab81607422fbe1c12ac7656ab96", "2".into()));
    source.outstanding(1, &int_user_id);
    source.outstanding(2, &bobs);
    let expired = expired_token(&data, &source).await;

    let ward = Start::default().unlimited().set("session.grace", "0s").data(data.path()).up().await;
    let carol = ward.somebody("carol").await;
    ward.cli(&["user", "disable", "carol", "--reason", "left"]).await.ok();
    let other = ward.sign_in("alice", PASSWORD).await.held();
    let mut played = Played { ward: &ward, int_user_id, bobs, expired, disabled: carol.held().access, first: None, second: None, other };

    let mut wrong = Vec::new();
    for case in recording().iter().filter(|case| !HELD_BY_THE_GATEWAY.contains(&case.case.as_str())) {
        let expected = differs(&case.case).map_or_else(|| case.response.clone(), |(told, _)| told);
        let expected = Told { body: unworded(&expected.body), ..expected };
        let told = as_recorded(&played.play(case).await, &expected);
        if told != expected {
            wrong.push(format!("{}:\n  expected {expected:?}\n  but      {told:?}", case.case));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn l4_a_rotated_token_within_grace_gets_its_successor_again() {
    let ward = Carelink::up().await;
    let amina = ward.somebody("amina").await;
    let first = amina.held();
    let second = amina.stays().await;
    let late = Person::holding(&ward, "amina", first);
    assert_eq!(late.stays().await, second);
}

#[test]
fn l4_no_recorded_case_is_left_out() {
    let cases: Vec<_> = recording().into_iter().map(|case| case.case).collect();
    assert_eq!((cases.len(), cases.iter().collect::<BTreeSet<_>>().len()), (73, 73));
    let differing = cases.iter().filter(|case| differs(case).is_some()).count();
    assert_eq!(differing, 7, "every exception is about a case that was recorded");
    let gateway = fs::read_to_string(fixtures("..").join(GATEWAY_TEST)).unwrap();
    for case in HELD_BY_THE_GATEWAY {
        assert!(cases.iter().any(|recorded| recorded == case) && differs(case).is_none());
        assert!(gateway.contains(&format!("\"{case}\"")), "{GATEWAY_TEST} does not hold `{case}`");
    }
}

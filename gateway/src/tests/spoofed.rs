//! What a stranger writes into headers and fields: it neither moves them elsewhere nor shows up in a log, and answers tell nothing.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use axum::body::Body;
use carelink_platform::errors::Reason;
use http::{HeaderValue, Method};
use serde_json::json;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use super::{Ward, request};

/// Headers by which proxies say where somebody comes from.
const SPOOFED: &[(&str, &str)] = &[
    ("x-forwarded-for", "203.0.113.9"),
    ("x-forwarded-for", "127.0.0.1"),
    ("forwarded", "for=203.0.113.9;host=evil.example;proto=https"),
    ("x-real-ip", "203.0.113.9"),
    ("x-client-ip", "203.0.113.9"),
    ("true-client-ip", "203.0.113.9"),
    ("cf-connecting-ip", "203.0.113.9"),
    ("x-forwarded-host", "evil.example"),
    ("x-forwarded-proto", "https"),
    ("x-original-url", "/account/me/"),
    ("x-rewrite-url", "/account/me/"),
    ("x-http-method-override", "GET"),
    ("x-carelink-subject", "00000000-0000-0000-0000-000000000001"),
];

#[tokio::test(start_paused = true)]
async fn forwarding_headers_of_a_stranger_move_nobody() {
    let ward = Ward::new();
    for (name, value) in SPOOFED {
        let body = json!({"username": name, "password": "x"}).to_string();
        let asked = request(Method::POST, "/account/token/").header("content-type", "application/json").header(*name, *value);
        let answer = ward.ask(asked.body(Body::from(body)).unwrap()).await;
        assert_eq!(answer.status, 401, "{name}");
        assert!(!answer.headers.values().any(|said| said.as_bytes().windows(4).any(|part| part == b"evil")), "{name}: {answer:?}");
        assert_eq!(answer.header("strict-transport-security"), "", "{name}");
        assert_eq!(ward.played.script().passwords.last().unwrap().network, "0.0.0.0", "{name}");
    }
    for (name, value) in SPOOFED {
        let asked = http::Request::get("/account/me/").header("host", "evil.example").header(*name, *value).body(Body::empty()).unwrap();
        assert_eq!(ward.ask(asked).await.status, 400, "{name} makes no host of ours of it");
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_proxy_only_what_it_adds_itself_is_believed() {
    let ward = Ward::configured(|config| config.gateway.trusted_proxies = vec!["0.0.0.0".parse().unwrap()]);
    for (name, value) in SPOOFED.iter().filter(|(name, _)| *name != "x-forwarded-for") {
        let body = json!({"username": name, "password": "x"}).to_string();
        let asked = request(Method::POST, "/account/token/")
            .header("content-type", "application/json")
            .header(*name, *value)
            .header("x-forwarded-for", "127.0.0.1, 198.51.100.4");
        assert_eq!(ward.ask(asked.body(Body::from(body)).unwrap()).await.status, 401, "{name}");
        assert_eq!(ward.played.script().passwords.last().unwrap().network, "198.51.100.4", "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn c3_a_name_that_is_known_and_one_that_is_not_are_answered_alike() {
    let ward = Ward::new();
    let answer = async |name: &str| {
        let mut answer = ward.post("/account/token/", json!({"username": name, "password": "wrong"}).to_string()).await;
        let trace = answer.headers.remove("x-trace-id").unwrap();
        assert_eq!(trace.len(), 32);
        (answer.status, answer.headers, answer.text)
    };
    let known = answer("alice").await;
    assert_eq!(known.0, 401);
    for name in ["nobody", " alice ", "ALICE", "alice@ward.example", "alice'--", "\u{202e}ecila"] {
        assert_eq!(answer(name).await, known, "{name}");
    }
}

/// Everything that is logged, at every level.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<String>>);

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("gateway") || metadata.target().starts_with("carelink")
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        attributes.record(&mut Shown(&self.0));
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        values.record(&mut Shown(&self.0));
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Shown(&self.0));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Shown<'a>(&'a Mutex<String>);

impl Visit for Shown<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.lock().unwrap().push_str(&format!("{field}={value:?}\n"));
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_that_is_sent_gets_into_a_log() {
    let lines = Lines::default();
    let _here = tracing::subscriber::set_default(lines.clone());
    let ward = Ward::configured(|config| config.limits.sign_in.account.burst = 2);
    let canary = "canary\r\n2026-11-24T00:00:00Z ERROR gateway: forged \u{1b}[31m";
    for fails in [None, Some(Reason::Internal), Some(Reason::Unready), Some(Reason::QueueFull), Some(Reason::NameTaken)] {
        ward.played.script().fails = fails;
        for path in
            ["/account/token/", "/account/token/refresh/", "/account/token/verify/", "/account/canary/", "/v1/session", "/v1/canary"]
        {
            let body = json!({"username": canary, "password": canary, "token": canary, "refresh": canary}).to_string();
            let asked = request(Method::POST, path)
                .header("content-type", "application/json")
                .header("user-agent", HeaderValue::from_bytes(b"canary\x1b[31m").unwrap_or(HeaderValue::from_static("canary")))
                .header("x-forwarded-for", "canary")
                .header("traceparent", "00-canary-canary-00");
            ward.ask(asked.body(Body::from(body)).unwrap()).await;
        }
        ward.me("canary.canary.canary").await;
        ward.post("/account/token/", "canary").await;
    }
    let logged = lines.0.lock().unwrap().clone();
    assert!(logged.contains("what nobody here asked for"), "something is logged at all: {logged}");
    assert!(!logged.contains("canary") && !logged.contains("forged"), "{logged}");
}

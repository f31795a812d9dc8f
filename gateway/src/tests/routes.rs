//! The table of routes: everything that is served is in the document, and nobody gets anything from it without being asked who they are.

use std::sync::{Arc, Mutex};

use axum::body::Body;
use bytes::Bytes;
use http::{Method, Request};
use serde_json::Value;

use super::{Answer, Ward, request};
use crate::{
    Gateway,
    config::GatewayConfig,
    routes::{Access, endpoints},
};

/// The document, read once: thousands of answers are held to it.
fn document(gateway: &Gateway) -> Arc<Value> {
    static READ: Mutex<Vec<(Bytes, Arc<Value>)>> = Mutex::new(Vec::new());
    let (text, mut read) = (gateway.document(), READ.lock().unwrap());
    if let Some((_, document)) = read.iter().find(|(known, _)| *known == text) {
        return Arc::clone(document);
    }
    let document: Arc<Value> = Arc::new(serde_json::from_slice(&text).unwrap());
    read.push((text, Arc::clone(&document)));
    document
}

/// Holds an answer to the document: a status and a type that it does not declare are an error. What asks for no operation of it is not
/// judged, and what the library answers by itself does not come here.
#[track_caller]
pub(super) fn is_declared(gateway: &Gateway, method: &Method, path: &str, answer: &Answer) {
    let document = document(gateway);
    let asked = if *method == Method::HEAD { "get".to_owned() } else { method.as_str().to_lowercase() };
    let same = |template: &str| {
        let (mut one, mut other) = (template.split('/'), path.split('/'));
        loop {
            match (one.next(), other.next()) {
                (None, None) => return true,
                (Some(part), Some(given)) if part == given || part.starts_with('{') && !given.is_empty() => {}
                _ => return false,
            }
        }
    };
    let Some((_, operations)) = document["paths"].as_object().unwrap().iter().find(|(template, _)| same(template)) else { return };
    let Some(operation) = operations.get(&asked) else { return };
    let declared = &operation["responses"][answer.status.to_string()];
    assert!(declared.is_object(), "{method} {path}: {} is not in the document: {answer:?}", answer.status);
    let kind = answer.header("content-type").split(';').next().unwrap_or_default().to_owned();
    match declared.get("content").and_then(Value::as_object) {
        Some(content) => {
            assert!(content.contains_key(&kind), "{method} {path} {}: `{kind}` is not in the document", answer.status);
            if kind == "application/problem+json" {
                let problem = answer.json();
                let codes = &content[&kind]["schema"]["allOf"][1]["properties"]["code"]["enum"];
                assert!(codes.as_array().unwrap().contains(&problem["code"]), "{method} {path}: {problem} is not in the document");
                assert_eq!((&problem["status"], &problem["trace_id"]), (&answer.status.into(), &answer.header("x-trace-id").into()));
            }
        }
        None => assert!(answer.text.is_empty(), "{method} {path} {}: a body that is not in the document", answer.status),
    }
    assert_eq!(answer.status == 401, !answer.header("www-authenticate").is_empty(), "{method} {path}");
    assert!(!matches!(answer.status, 429 | 503) || !answer.header("retry-after").is_empty(), "{method} {path}");
}

/// What a stranger who brings nothing is answered, path by path. A row of the table that asks for a token answers 401 whatever stands
/// here; one that does not must be listed.
fn for_strangers(method: &Method, path: &str) -> u16 {
    match (method.as_str(), path) {
        ("OPTIONS", "/account/me/") => 401,
        ("OPTIONS", _) => 200,
        ("GET", "/account/me/") => 401,
        ("POST", "/account/token/" | "/account/token/refresh/" | "/account/token/verify/" | "/account/token/blacklist/") => 400,
        ("POST", "/v1/session" | "/v1/session/refresh") => 400,
        ("POST", "/v1/password" | "/v1/password/reset" | "/v1/password/reset/redeem" | "/v1/invitations/redeem") => 400,
        ("DELETE", "/v1/session") | ("GET", "/verify") => 401,
        ("GET", "/.well-known/jwks.json" | "/openapi.json" | "/docs" | "/docs/docs.js" | "/docs/docs.css") => 200,
        _ => panic!("{method} {path} asks for no token: say here what it answers a stranger"),
    }
}

#[tokio::test]
async fn every_route_answers_a_stranger_and_tells_nothing() {
    let mut tried = 0;
    for endpoint in endpoints(&GatewayConfig::default()) {
        for operation in &endpoint.operations {
            let ward = Ward::new();
            let path = endpoint.served_at.replace("{id}", "00000000-0000-0000-0000-000000000064");
            let expected = match operation.access {
                Access::User(_) | Access::Role(..) => 401,
                Access::Open(_) | Access::Elsewhere => for_strangers(&operation.method, &path),
            };
            let asked = request(operation.method.clone(), &path).header("content-type", "application/json");
            let answer = ward.ask(asked.body(Body::from("{}")).unwrap()).await;
            assert_eq!(answer.status, expected, "{} {path}: {answer:?}", operation.method);
            assert_eq!(ward.played.script().rpcs(), 0, "{path}: nothing was sent on");
            assert_eq!((answer.header("x-content-type-options"), answer.header("x-trace-id").len()), ("nosniff", 32), "{path}");
            assert_eq!(answer.header("set-cookie"), "", "{path}");
            tried += 1;
        }
    }
    assert!(tried >= 16, "{tried}");
}

#[tokio::test]
async fn a_method_that_no_row_has_is_405_and_says_which_there_are() {
    let ward = Ward::new();
    for endpoint in endpoints(&GatewayConfig::default()) {
        let path = endpoint.served_at.replace("{id}", "00000000-0000-0000-0000-000000000064");
        for method in ["PUT", "PATCH", "PROPFIND"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            if endpoint.operations.iter().any(|operation| operation.method == method) || path == "/account/me/" {
                continue;
            }
            let answer = ward.ask(request(method.clone(), &path).body(Body::empty()).unwrap()).await;
            assert_eq!(answer.status, 405, "{method} {path}");
            for operation in &endpoint.operations {
                assert!(answer.header("allow").contains(operation.method.as_str()), "{path}: {}", answer.header("allow"));
            }
        }
    }
}

#[tokio::test]
async fn names_of_operations_are_theirs_alone_and_every_reason_has_its_status() {
    let document = Ward::new().ask(request(Method::GET, "/openapi.json").body(Body::empty()).unwrap()).await.json();
    assert_eq!(document["openapi"], "3.1.0");
    let operations = document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values());
    let mut names: Vec<_> = operations.map(|operation| operation["operationId"].as_str().unwrap()).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
    for reference in document.to_string().split(r##""$ref":"#"##).skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(document.pointer(reference).is_some(), "{reference} is not there");
    }
}

#[tokio::test]
async fn the_document_says_how_the_predecessors_paths_are_configured() {
    let ward = Ward::configured(|config| {
        config.gateway.username_field = "email".into();
        config.gateway.account_prefix = "/api/auth".into();
    });
    let document = ward.ask(request(Method::GET, "/openapi.json").body(Body::empty()).unwrap()).await.json();
    let body = &document["paths"]["/api/auth/token/"]["post"]["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(body["required"], serde_json::json!(["email", "password"]));
    assert!(body["properties"]["email"].is_object() && document["paths"].get("/account/token/").is_none());
}

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere_and_may_not() {
    let ward = Ward::new();
    let page = ward.ask(request(Method::GET, "/docs").body(Body::empty()).unwrap()).await;
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    let mut loaded = 0;
    for path in page.text.split(['"', '\'']).filter(|text| text.starts_with("/docs/") || text.contains("://")) {
        let part = ward.ask(Request::builder().uri(path).header("host", "localhost").body(Body::empty()).unwrap()).await;
        assert_eq!(part.status, 200, "{path}");
        assert!(!part.text.contains("://") && !part.text.contains("innerHTML") && !part.text.contains("eval("), "{path}");
        loaded += 1;
    }
    assert_eq!(loaded, 2);
    assert!(!page.text.contains("<script>") && !page.text.contains("style="));
}

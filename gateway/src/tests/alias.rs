//! djoser's paths: SimpleJWT's answers under other names, and its own of who somebody is.

use axum::body::Body;
use http::Method;
use serde_json::json;

use super::{Ward, access, refresh_token, request};

#[tokio::test(start_paused = true)]
async fn l4_under_a_configured_prefix_djosers_paths_answer_as_it_did() {
    let ward = Ward::configured(|config| config.gateway.djoser_prefix = Some("/auth".into()));
    let right = r#"{"username":"alice","password":"correct horse battery staple"}"#;
    let answer = ward.post("/auth/jwt/create/", right).await;
    assert_eq!(answer.status, 200);
    assert!(answer.json()["access"].is_string() && answer.json()["refresh"].is_string());
    let wrong = ward.post("/auth/jwt/create/", r#"{"username":"alice","password":"x"}"#).await;
    assert_eq!((wrong.status, wrong.json()), (401, json!({"detail": "No active account found with the given credentials"})));
    assert_eq!(ward.post("/auth/jwt/create/", "{}").await.json()["username"], json!(["This field is required."]));
    let refresh = json!({"refresh": refresh_token("good")}).to_string();
    assert_eq!(ward.post("/auth/jwt/refresh/", refresh).await.status, 200);
    assert_eq!(ward.post("/auth/jwt/verify/", json!({"token": access(&json!({}))}).to_string()).await.json(), json!({}));
    let me = |path: &str| request(Method::GET, path).header("authorization", format!("Bearer {}", access(&json!({})))).body(Body::empty());
    let answer = ward.ask(me("/auth/users/me/").unwrap()).await;
    assert_eq!((answer.status, answer.text.as_str()), (200, r#"{"email":"","id":1,"username":"alice"}"#));
    let nobody = ward.ask(request(Method::GET, "/auth/users/me/").body(Body::empty()).unwrap()).await;
    assert_eq!((nobody.status, nobody.json()["detail"].as_str()), (401, Some("Authentication credentials were not provided.")));
    assert_eq!(ward.ask(me("/auth/users/me").unwrap()).await.status, 301);
    assert_eq!(ward.post("/auth/jwt/create", right).await.status, 200, "the last slash may be missing there");
    assert_eq!(ward.post("/account/token/", right).await.status, 200, "beside the others");
}

#[tokio::test]
async fn without_a_prefix_there_are_no_such_paths() {
    let ward = Ward::new();
    assert_eq!(ward.post("/auth/jwt/create/", "{}").await.status, 404);
    let full = Ward::configured(|config| config.gateway.djoser_prefix = Some("/auth".into()));
    full.played.script().fails = Some(carelink_platform::errors::Reason::QueueFull);
    assert_eq!(full.post("/auth/jwt/create/", r#"{"username":"a","password":"b"}"#).await.status, 429);
    assert_eq!(full.post("/account/token/", r#"{"username":"a","password":"b"}"#).await.status, 429);
    assert_eq!(full.played.script().passwords.len(), 1, "one door for all");
}

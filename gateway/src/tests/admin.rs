//! Administration: the role is asked for here and by the service, with the token of whoever asks.

use axum::body::Body;
use carelink_platform::errors::Reason;
use http::Method;
use serde_json::json;

use super::{Answer, SESSION, Ward, access, request};

const READS: [&str; 4] = ["/v1/admin/users", "/v1/admin/sessions", "/v1/admin/keys", "/v1/admin/audit"];

async fn asked(ward: &Ward, method: Method, path: &str, role: &str) -> Answer {
    let bearer = format!("Bearer {}", access(&json!({"roles": [role]})));
    ward.ask(request(method, path).header("authorization", bearer).body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn g2_administrators_and_auditors_read_and_nobody_else_does() {
    let ward = Ward::new();
    for path in READS {
        for role in ["admin", "auditor"] {
            let answer = asked(&ward, Method::GET, path, role).await;
            assert_eq!(answer.status, 200, "{path} {answer:?}");
        }
        let before = ward.played.script().rpcs();
        for role in ["nurse", "Admin", "administrator", ""] {
            let answer = asked(&ward, Method::GET, path, role).await;
            assert_eq!((answer.status, answer.json()["code"].as_str()), (403, Some("role_required")), "{path} {role}");
        }
        assert_eq!(ward.played.script().rpcs(), before, "{path}: nobody was asked");
    }
    let script = ward.played.script();
    assert!(
        script.tokens.len() == 8 && script.tokens.iter().all(|token| token.starts_with("Bearer ey")),
        "G2: the user's token goes along"
    );
}

#[tokio::test]
async fn auditors_end_nothing_and_administrators_say_why() {
    let ward = Ward::new();
    let (one, all) = (format!("/v1/admin/sessions/{SESSION}?reason=lost%20tablet"), format!("/v1/admin/sessions?user={SESSION}&reason=x"));
    for path in [&one, &all] {
        assert_eq!(asked(&ward, Method::DELETE, path, "auditor").await.status, 403, "{path}");
        assert_eq!(ward.played.script().others.len(), 0);
    }
    assert_eq!(asked(&ward, Method::DELETE, &one, "admin").await.status, 204);
    assert_eq!(asked(&ward, Method::DELETE, &all, "admin").await.json(), json!({"ended": 2}));
    assert!(ward.played.script().others[0].contains(r#"reason: "lost tablet""#));
    assert_eq!(asked(&ward, Method::DELETE, "/v1/admin/sessions?reason=x", "admin").await.status, 400, "whose?");
    ward.played.script().fails = Some(Reason::ReasonRequired);
    let silent = asked(&ward, Method::DELETE, &format!("/v1/admin/sessions/{SESSION}"), "admin").await;
    assert_eq!((silent.status, silent.json()["code"].as_str()), (400, Some("reason_required")));
}

#[tokio::test]
async fn filters_go_along_and_what_is_misspelt_is_refused() {
    let ward = Ward::new();
    let users = "/v1/admin/users?prefix=a&role=nurse&disabled=true&order=last_sign_in&not_since=2026-01-01T00:00:00Z&limit=7&cursor=c";
    let page = asked(&ward, Method::GET, users, "auditor").await.json();
    assert_eq!((page["next_cursor"].as_str(), page["users"][0]["username"].as_str()), (Some("next"), Some("alice")));
    let asked_for = ward.played.script().others[0].clone();
    for part in
        [r#"prefix: "a""#, r#"role: "nurse""#, "only_disabled: true", "LastSignIn", "page_size: 7", r#"cursor: "c""#, "1767225600000000"]
    {
        assert!(asked_for.contains(part), "{part}: {asked_for}");
    }
    let events = format!("/v1/admin/audit?user={SESSION}&type=session.*&outcome=failure&trace_id={}", SESSION.simple());
    let page = asked(&ward, Method::GET, &events, "auditor").await.json();
    assert_eq!((&page["events"][0]["index"], &page["events"][0]["unreadable"]), (&json!(7), &json!("/w==")));
    for path in READS {
        assert_eq!(asked(&ward, Method::GET, &format!("{path}?sort=x"), "admin").await.status, 400, "{path}");
    }
    for query in ["users?order=x", "users?disabled=1", "sessions?user=x", "audit?outcome=x", "audit?since=x", "audit?trace_id=x"] {
        assert_eq!(asked(&ward, Method::GET, &format!("/v1/admin/{query}"), "admin").await.status, 400, "{query}");
    }
}

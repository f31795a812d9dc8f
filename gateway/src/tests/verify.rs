//! Forward auth: what a proxy is told of a request that it holds back.

use axum::body::Body;
use http::Method;
use serde_json::json;

use super::{ALICE, Answer, ENDED, NOW, SESSION, Ward, access, refresh_token, request};

async fn asked(ward: &Ward, query: &str, headers: &[(&str, &str)]) -> Answer {
    let mut asked = request(Method::GET, &format!("/verify{query}"));
    for (name, value) in headers {
        asked = asked.header(*name, *value);
    }
    ward.ask(asked.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_good_token_passes_and_says_who_it_is_without_any_rpc() {
    let ward = Ward::new();
    let token = access(&json!({"roles": ["nurse", "ward 7"]}));
    let bearer = format!("Bearer {token}");
    let cookie = format!("a=b; __Host-carelink={token}");
    let forged = ("x-auth-roles", "admin");
    for headers in
        [vec![("authorization", bearer.as_str()), forged], vec![("cookie", cookie.as_str()), ("x-original-method", "GET"), forged]]
    {
        let answer = asked(&ward, "", &headers).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, ""));
        let told =
            ["subject", "user-id", "session", "roles", "amr", "expires"].map(|name| answer.header(&format!("x-auth-{name}")).to_owned());
        assert_eq!(
            told,
            [ALICE.to_string(), "1".into(), SESSION.to_string(), "nurse,ward%207".into(), "pwd".into(), (NOW + 900).to_string()]
        );
    }
    assert_eq!(ward.played.script().rpcs(), 0);
}

#[tokio::test]
async fn what_is_no_proof_is_401_and_nobody_is_named() {
    let ward = Ward::new();
    for (token, code) in [
        ("x".to_owned(), "token_invalid"),
        (access(&json!({"exp": NOW - 60})), "token_expired"),
        (access(&json!({"sid": ENDED.to_string()})), "session_revoked"),
        (refresh_token("good"), "token_type_wrong"),
    ] {
        let (bearer, cookie) = (format!("Bearer {token}"), format!("__Host-carelink={token}"));
        for headers in [
            [("authorization", bearer.as_str()), ("x-original-method", "GET")],
            [("cookie", cookie.as_str()), ("x-original-method", "GET")],
        ] {
            let answer = asked(&ward, "", &headers).await;
            assert_eq!((answer.status, answer.json()["code"].as_str()), (401, Some(code)));
            assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("x-auth-")));
            assert_eq!(answer.header("set-cookie"), "", "B3: /verify clears nothing");
        }
    }
    assert_eq!(asked(&ward, "", &[]).await.json()["code"], "token_missing");
}

#[tokio::test]
async fn a_role_may_be_asked_for_and_a_query_that_says_anything_else_lets_nobody_in() {
    let ward = Ward::new();
    let bearer = format!("Bearer {}", access(&json!({})));
    let bearer = [("authorization", bearer.as_str())];
    assert_eq!(asked(&ward, "?role=nurse", &bearer).await.status, 200);
    assert_eq!(asked(&ward, "?role=doctor&role=nurse", &bearer).await.status, 200);
    let refused = asked(&ward, "?role=doctor", &bearer).await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (403, Some("role_required")));
    for query in ["?roles=nurse", "?role=", "?nurse", "?role=nurse&x=1"] {
        assert_eq!(asked(&ward, query, &bearer).await.status, 400, "{query}");
    }
}

#[tokio::test]
async fn b2_a_cookie_is_no_proof_for_what_another_site_may_have_caused() {
    let ward = Ward::new();
    let cookie = format!("__Host-carelink={}", access(&json!({})));
    let with = async |headers: &[(&str, &str)]| asked(&ward, "", &[&[("cookie", cookie.as_str())], headers].concat()).await;
    for method in ["POST", "PUT", "PATCH", "DELETE", "odd"] {
        let refused = with(&[("x-original-method", method)]).await;
        assert_eq!((refused.status, refused.json()["code"].as_str()), (403, Some("origin_refused")), "{method}");
        assert_eq!(with(&[("x-original-method", method), ("sec-fetch-site", "same-origin")]).await.status, 200, "{method}");
        assert_eq!(with(&[("x-original-method", method), ("origin", "http://localhost")]).await.status, 200, "{method}");
        assert_eq!(with(&[("x-original-method", method), ("origin", "http://evil.example")]).await.status, 403, "{method}");
        assert_eq!(with(&[("x-original-method", method), ("sec-fetch-site", "cross-site")]).await.status, 403, "{method}");
    }
    assert_eq!(with(&[]).await.status, 403, "a proxy that names no method");
    assert_eq!(with(&[("x-forwarded-method", "GET")]).await.status, 200);
    let bearer = format!("Bearer {}", access(&json!({})));
    assert_eq!(asked(&ward, "", &[("authorization", &bearer), ("x-original-method", "POST")]).await.status, 200, "no page can forge that");
}

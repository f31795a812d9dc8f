//! What holds for every request, whatever it asks for.

use axum::body::Body;
use carelink_platform::random::Random;
use http::{Method, Request};
use serde_json::json;

use super::{Ward, access, refresh_token, request};

#[tokio::test]
async fn an_unknown_path_is_a_problem_and_under_account_a_detail() {
    let ward = Ward::new();
    for path in ["/", "/admin", "/accounting/", "/.well-known/", "/account/token/%2e%2e/", "//account/token/"] {
        let answer = ward.ask(request(Method::GET, path).body(Body::empty()).unwrap()).await;
        let under_account = path.starts_with("/account/");
        let kind = if under_account { "application/json" } else { "application/problem+json" };
        assert_eq!((answer.status, answer.header("content-type")), (404, kind), "{path}");
        assert_eq!(answer.json()["code"], "not_found");
        if !under_account {
            assert_eq!(answer.json()["trace_id"], answer.header("x-trace-id"));
        }
    }
    assert_eq!(ward.ask(request(Method::GET, "/account/token//").body(Body::empty()).unwrap()).await.status, 404);
}

#[tokio::test]
async fn a_trace_goes_through_and_one_that_is_malformed_begins_anew() {
    let ward = Ward::new();
    let traced = |value: &'static str| {
        let body = json!({"refresh": refresh_token("good")}).to_string();
        request(Method::POST, "/account/token/refresh/")
            .header("content-type", "application/json")
            .header("traceparent", value)
            .body(Body::from(body))
            .unwrap()
    };
    let answer = ward.ask(traced("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")).await;
    assert_eq!(answer.header("x-trace-id"), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(ward.played.script().context.unwrap().trace.trace_hex(), "0af7651916cd43dd8448eb211c80319c");
    let answer = ward.ask(traced("00-zz")).await;
    assert_eq!(answer.header("x-trace-id"), ward.played.script().context.unwrap().trace.trace_hex());
}

#[tokio::test]
async fn another_host_is_400_in_a_sentence() {
    let ward = Ward::new();
    for (path, kind) in [("/account/me/", "application/json"), ("/.well-known/jwks.json", "application/problem+json")] {
        let asked = Request::builder().uri(path).header("host", "evil.example").body(Body::empty()).unwrap();
        let answer = ward.ask(asked).await;
        assert_eq!((answer.status, answer.header("content-type")), (400, kind));
        assert_eq!(answer.json()["code"], "host_not_allowed");
        assert!(answer.json()["detail"].as_str().unwrap().contains("ALLOWED_HOSTS"));
        assert!(!answer.text.contains("evil"));
    }
    assert_eq!(ward.ask(Request::builder().uri("/account/me/").body(Body::empty()).unwrap()).await.status, 400);
    let ward = Ward::configured(|config| config.gateway.allowed_hosts = vec![".ward.example".into()]);
    let asked = |host: &str| Request::builder().uri("/account/me/").header("host", host).body(Body::empty()).unwrap();
    assert_eq!(ward.ask(asked("a.ward.example")).await.status, 401);
    assert_eq!(ward.ask(asked("localhost")).await.status, 400);
}

#[tokio::test]
async fn a_panic_is_a_500_with_a_trace_id_and_the_next_request_is_served() {
    let ward = Ward::new();
    ward.played.script().panics = true;
    let answer = ward.me(&access(&json!({}))).await;
    assert_eq!((answer.status, answer.json()), (500, json!({"detail": "Something went wrong on our side", "code": "internal"})));
    assert_eq!(answer.header("x-trace-id").len(), 32);
    ward.played.script().panics = false;
    assert_eq!(ward.me(&access(&json!({}))).await.status, 200);
}

#[tokio::test]
async fn bad_input_is_a_clear_error_and_never_a_crash() {
    let ward = Ward::new();
    let huge = "x".repeat(1024 * 1024);
    for (path, field) in [("token/refresh", "refresh"), ("token/verify", "token"), ("token/blacklist", "refresh")] {
        let path = format!("/account/{path}/");
        let answer = ward.post(&path, json!({ field: huge }).to_string()).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (413, Some("body_too_large")), "{path}");
        let long = format!("{}.{}.{}", "x".repeat(20_000), "y".repeat(20_000), "z".repeat(20_000));
        assert_eq!(ward.post(&path, json!({ field: long }).to_string()).await.status, 401, "{path}");
        let nul = json!({ field: "a\0b" }).to_string();
        assert_eq!(ward.post(&path, nul).await.json(), json!({ field: ["Null characters are not allowed."] }), "{path}");
        for value in [json!(true), json!([]), json!({}), json!(1), json!(1.5), json!(""), json!(null), json!("ä\u{10ffff}")] {
            let answer = ward.post(&path, json!({ field: value }).to_string()).await;
            assert!(matches!(answer.status, 400 | 401), "{path} {value}: {answer:?}");
        }
        for body in [&b"\xff\xfe\x00"[..], b"{", b"[[[[", b"\"", b"{\"a\":}", b"\0\0\0\0"] {
            assert_eq!(ward.post(&path, body).await.status, 400, "{path} {body:?}");
        }
    }
    assert_eq!(ward.me(&"x.".repeat(4_000)).await.status, 401);
    assert_eq!(ward.post("/account/token/", vec![b'['; 60_000]).await.status, 400);
    let form = request(Method::POST, "/account/token/").header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(ward.ask(form.body(Body::from("&".repeat(60_000))).unwrap()).await.status, 400);
    assert_eq!(ward.played.script().passwords.len(), 0);
}

#[tokio::test]
async fn two_authorizations_are_none() {
    let ward = Ward::new();
    let good = format!("Bearer {}", access(&json!({})));
    let asked = request(Method::GET, "/account/me/").header("authorization", &good).header("authorization", &good);
    let answer = ward.ask(asked.body(Body::empty()).unwrap()).await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (401, Some("bad_authorization_header")));
}

#[tokio::test]
async fn whatever_comes_is_answered() {
    let ward = Ward::configured(|config| config.limits.enabled = false);
    let random = Random::seeded(11);
    let routes = [
        ("POST", "/account/token/"),
        ("POST", "/account/token/refresh/"),
        ("POST", "/account/token/verify/"),
        ("POST", "/account/token/blacklist/"),
        ("GET", "/account/me/"),
        ("POST", "/v1/session"),
        ("POST", "/v1/session/refresh"),
        ("DELETE", "/v1/session"),
    ];
    let seeds: [&[u8]; 4] = [
        br#"{"username":"alice","password":[{"a":"\ud83d\ude00"},-1.5e-7,null],"token":"a.b.c","refresh":true}"#,
        b"username=alice&password=%41%zz&token=+&refresh",
        b"--B\r\nContent-Disposition: form-data; name=\"token\"; filename=\"x\"\r\n\r\nalice\r\n--B--\r\n",
        b"\x00\xff\xfe{[\"",
    ];
    let types =
        ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=B", "multipart/form-data; boundary="];
    for round in 0_u32..3_000 {
        let [path, kind, seed, cut, at, by, times, _] = random.bytes();
        let (method, path) = routes[usize::from(path) % routes.len()];
        let mut body = seeds[usize::from(seed) % 4].to_vec();
        for n in 0..times % 4 {
            let place = usize::from(at.wrapping_mul(n + 1)) % body.len();
            body[place] = by.wrapping_add(n);
        }
        body.truncate(body.len().saturating_sub(usize::from(cut % 8)));
        let asked = request(method.parse().unwrap(), path).header("content-type", types[usize::from(kind) % 4]);
        let answer = ward.ask(asked.body(Body::from(body)).unwrap()).await;
        assert!(matches!(answer.status, 200 | 400 | 401 | 415), "{round}: {answer:?}");
        let _ = answer.json();
    }
}

#[tokio::test]
async fn k2_the_public_keys_are_cacheable_and_carry_a_tag() {
    let ward = Ward::new();
    let asked =
        |method: Method, tag: &str| request(method, "/.well-known/jwks.json").header("if-none-match", tag).body(Body::empty()).unwrap();
    let answer = ward.ask(asked(Method::GET, "\"x\"")).await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, "public, max-age=300"));
    let key = &answer.json()["keys"][0];
    assert_eq!((key["alg"].as_str(), key["kid"].as_str()), (Some("EdDSA"), Some(super::kid().as_str())));
    assert_eq!(key.get("d"), None);
    let tag = answer.header("etag").to_owned();
    for known in [tag.clone(), format!("W/{tag}, \"x\""), "*".to_owned()] {
        let unchanged = ward.ask(asked(Method::GET, &known)).await;
        assert_eq!((unchanged.status, unchanged.text.as_str(), unchanged.header("etag")), (304, "", tag.as_str()), "{known}");
    }
    let refused = ward.ask(asked(Method::DELETE, "")).await;
    assert_eq!((refused.status, refused.header("allow")), (405, "GET, HEAD"));
}

//! What strangers send: nothing of it gets in, nothing of it breaks anything, and every refusal says clearly what was wrong.

use std::time::Duration;

use carelink_platform::random::Random;
use carelink_tests::{Answer, Carelink, Person};
use http::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Every path that takes a body, with the field that it wants.
const POSTED: [(&str, &str); 4] = [
    ("/account/token/", "username"),
    ("/account/token/refresh/", "refresh"),
    ("/account/token/verify/", "token"),
    ("/account/token/blacklist/", "refresh"),
];
/// Every path, with what a stranger who GETs it and who POSTs `{}` to it is answered.
const ROUTES: [(&str, u16, u16); 26] = [
    ("/account/token/", 405, 400),
    ("/account/token/refresh/", 405, 400),
    ("/account/token/verify/", 405, 400),
    ("/account/token/blacklist/", 405, 400),
    ("/account/me/", 401, 401),
    ("/.well-known/jwks.json", 200, 405),
    ("/v1/session", 401, 400),
    ("/v1/session/refresh", 405, 400),
    ("/v1/sessions", 401, 405),
    ("/v1/sessions/{id}", 405, 405),
    ("/v1/password", 405, 400),
    ("/v1/password/reset", 405, 400),
    ("/v1/password/reset/redeem", 405, 400),
    ("/v1/invitations/redeem", 405, 400),
    ("/v1/admin/users", 401, 405),
    ("/v1/admin/sessions", 401, 405),
    ("/v1/admin/sessions/{id}", 405, 405),
    ("/v1/admin/keys", 401, 405),
    ("/v1/admin/audit", 401, 405),
    ("/verify", 401, 405),
    ("/openapi.json", 200, 405),
    ("/docs", 200, 405),
    ("/docs/docs.js", 200, 405),
    ("/docs/docs.css", 200, 405),
    ("/account/", 404, 404),
    ("/", 404, 404),
];

/// What every refusal has: a status of the client's fault, an object that says why, and a trace id to find it by.
#[track_caller]
fn is_clear(answer: &Answer, about: &str) {
    assert!((400..500).contains(&answer.status), "{about}: {} {}", answer.status, answer.text());
    assert!(answer.json().as_object().is_some_and(|body| !body.is_empty()), "{about}: {}", answer.text());
    assert_eq!(answer.header("x-trace-id").len(), 32, "{about}");
    assert!(answer.body.len() < 1_000, "{about}: an answer that long repeats what was sent");
}

/// Sends bytes as they are and reads until the other side closes.
async fn raw(ward: &Carelink, sent: &[u8]) -> String {
    let mut connection = TcpStream::connect(ward.address()).await.unwrap();
    let _ = connection.write_all(sent).await; // it may have been closed in the middle
    let mut answer = Vec::new();
    let read =
        timeout(Duration::from_secs(25), connection.read_to_end(&mut answer)).await.expect("the connection is kept without a reason");
    if let Err(error) = read {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

async fn still_serves(ward: &Carelink, amina: &Person<'_>) {
    amina.is_in().await;
    amina.stays().await;
    let log = ward.log();
    assert!(!log.contains("panicked") && !log.contains("\"ERROR\""), "{log}");
    assert_eq!(ward.metrics().await.sum("carelink_http_requests_total", &["status=\"5"]), 0.0);
}

#[tokio::test]
async fn malformed_bodies_are_refused_clearly() {
    let ward = Carelink::unlimited().await;
    let amina = ward.somebody("amina21").await;
    let deep = "[".repeat(30_000) + &"]".repeat(30_000);
    let deep_field = format!("{{\"username\": {deep}, \"refresh\": {deep}, \"token\": {deep}}}");
    let bodies: [&[u8]; 20] = [
        b"",
        b"{",
        b"{\"username\":",
        b"nonsense",
        b"null",
        b"[]",
        b"\"text\"",
        b"17",
        b"{}}",
        b"{'username': 'amina21'}",
        b"\xff\xfe\x00",
        b"\xef\xbb\xbf{}",
        b"{\"username\": \"\xc3\x28\", \"refresh\": \"\xc3\x28\", \"token\": \"\xc3\x28\"}",
        b"{\"username\": \"\\ud800\", \"refresh\": \"\\ud800\", \"token\": \"\\ud800\"}",
        b"{\"username\": NaN, \"refresh\": NaN, \"token\": NaN}",
        b"{\"username\": 1e999999, \"refresh\": [1e999999], \"token\": [1e999999]}",
        b"{\"username\": {\"$gt\": \"\"}, \"refresh\": {\"$gt\": \"\"}, \"token\": {\"$gt\": \"\"}, \"password\": {\"$gt\": \"\"}}",
        b"{\"username\": \"a\\u0000b\", \"password\": \"x\", \"refresh\": \"a\\u0000b\", \"token\": \"a\\u0000b\"}",
        deep.as_bytes(),
        deep_field.as_bytes(),
    ];
    for (path, _) in POSTED {
        for body in bodies {
            for kind in
                ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/xml", "nonsense", ""]
            {
                let answer = ward.ask(Method::POST, path, &[("content-type", kind)], body.to_vec()).await;
                is_clear(&answer, &format!("{path} {kind} {}", String::from_utf8_lossy(&body[..body.len().min(60)])));
            }
        }
    }
    still_serves(&ward, &amina).await;
}

#[tokio::test]
async fn values_of_wrong_types_name_their_field() {
    let ward = Carelink::unlimited().await;
    let amina = ward.somebody("amina21").await;
    for (path, field) in POSTED {
        for value in [json!(null), json!(true), json!([]), json!(["a"]), json!({"a": 1}), json!(""), json!(" \u{3000}"), json!("a\u{0}b")] {
            let mut body = json!({"password": "x"});
            body[field] = value;
            let answer = ward.post(path, &body).await;
            is_clear(&answer, &format!("{path} {body}"));
            assert!(answer.status == 400 && answer.json()[field].is_array(), "{path} {body}: {}", answer.text());
        }
        for value in [json!(0), json!(-1.5), json!(1e300), json!("\u{202e}\u{feff}"), json!("' OR 1=1 --"), json!("a.b.c"), json!("..")] {
            let mut body = json!({"password": "x"});
            body[field] = value;
            let answer = ward.post(path, &body).await;
            is_clear(&answer, &format!("{path} {body}"));
            assert_eq!(answer.status, 401, "{path} {body}: {}", answer.text());
        }
    }
    still_serves(&ward, &amina).await;
}

#[tokio::test]
async fn what_is_too_long_is_413_and_the_client_gets_to_read_it() {
    let ward = Carelink::unlimited().await;
    let amina = ward.somebody("amina21").await;
    let (megabyte, ten) = ("x".repeat(1 << 20), vec![b' '; 10 << 20]);
    for (path, field) in POSTED {
        let token = ward.post(path, &json!({field: megabyte, "password": megabyte})).await;
        is_clear(&token, path);
        assert_eq!(token.status, 413, "{}", token.text());
        let body = ward.ask(Method::POST, path, &[("content-type", "application/json")], ten.clone()).await;
        is_clear(&body, path);
        assert_eq!(body.status, 413, "{}", body.text());
        // What just fits is judged.
        let token = ward.post(path, &json!({field: "x".repeat(60_000), "password": "x"})).await;
        is_clear(&token, path);
        assert_eq!(token.status, 401, "{}", token.text());
    }
    let bearer = format!("Bearer {}", "x".repeat(20_000));
    is_clear(&ward.ask(Method::GET, "/account/me/", &[("authorization", &bearer)], "").await, "a long bearer");
    still_serves(&ward, &amina).await;
}

#[tokio::test]
async fn headers_without_end_are_431_or_the_connection_closes() {
    let ward = Carelink::unlimited().await;
    let amina = ward.somebody("amina21").await;
    let begin = "GET /account/me/ HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n";
    let long = format!("{begin}authorization: Bearer {}\r\n\r\n", "x".repeat(100_000));
    let many = (0..1_000).fold(begin.to_owned(), |all, n| all + &format!("x-{n}: y\r\n")) + "\r\n";
    let endless = begin.to_owned() + &"x-y: z\r\n".repeat(200_000);
    for sent in [long, many, endless] {
        let answer = raw(&ward, sent.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431") || answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    still_serves(&ward, &amina).await;
}

#[tokio::test]
async fn pipelined_nonsense_answers_what_was_sense_and_closes() {
    let ward = Carelink::unlimited().await;
    let amina = ward.somebody("amina21").await;
    let get = "GET /.well-known/jwks.json HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let body = "{\"token\": \"x\"}";
    let post = |headers: &str| {
        format!("POST /account/token/verify/ HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{headers}\r\n{body}")
    };
    for (nonsense, answers) in [
        ("\x00\x01\x02\x03\r\n\r\n".to_owned(), 1),
        ("GET\r\n\r\n".to_owned(), 1),
        ("GET / HTTP/9.9\r\n\r\n".to_owned(), 1),
        ("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{fc}\u{3}\u{3}".repeat(5) + "\r\n\r\n", 1),
        (post("content-length: 14\r\ncontent-length: 3\r\n"), 1),
        (post("content-length: nonsense\r\n"), 1),
        (post("transfer-encoding: chunked\r\n"), 1),
        (post("transfer-encoding: gzip, nonsense\r\n"), 1),
        (post("content-length: 14\r\n") + "garbage\r\n\r\n", 2),
    ] {
        let answer = raw(&ward, format!("{get}{nonsense}").as_bytes()).await;
        let whole = answer.matches("HTTP/1.1 ").count();
        assert!(answer.starts_with("HTTP/1.1 200 OK") && whole >= answers, "{nonsense:?}: {answer}");
        assert!(!answer.contains("HTTP/1.1 5"), "{nonsense:?}: {answer}");
    }
    raw(&ward, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\ngarbage garbage garbage garbage").await;
    still_serves(&ward, &amina).await;
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up_and_holds_nobody_else_up() {
    let ward = Carelink::unlimited().await;
    let amina = ward.somebody("amina21").await;
    let slow = raw(
        &ward,
        b"POST /account/token/ HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{\"username\":",
    );
    let silent = raw(&ward, b"");
    let halting = raw(&ward, b"POST /account/token/ HTTP/1.1\r\nhost: loc");
    let others = async {
        for _ in 0..20 {
            amina.stays().await;
        }
    };
    let (slow, silent, halting, ()) = tokio::join!(slow, silent, halting, others);
    assert!(slow.starts_with("HTTP/1.1 408") && slow.contains("x-trace-id"), "{slow}");
    assert!(silent.is_empty() && !halting.contains("HTTP/1.1 5"), "{silent} {halting}");
    still_serves(&ward, &amina).await;
}

#[tokio::test]
async fn random_bytes_for_a_while() {
    let ward = Carelink::unlimited().await;
    let amina = ward.somebody("amina21").await;
    let random = Random::seeded(11);
    let held = amina.held();
    for round in 0..200_usize {
        let (path, field) = POSTED[round % POSTED.len()];
        let noise = random.bytes::<64>();
        let answer = ward.ask(Method::POST, path, &[("content-type", "application/json")], noise.to_vec()).await;
        is_clear(&answer, "noise");
        // A genuine token with one character changed, then with one lost.
        let mut token = held.refresh.clone().into_bytes();
        let at = usize::from(u16::from_be_bytes(random.bytes())) % token.len();
        token[at] = if token[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(token.clone()).unwrap();
        token.remove(at);
        for forged in [changed, String::from_utf8(token).unwrap()] {
            // The last character of a base64 text carries bits that are nobody's: it must not matter, or be refused.
            let answer = ward.post(path, &json!({field: forged, "password": "x"})).await;
            is_clear(&answer, &forged);
            assert_eq!(answer.status, 401, "{path} {forged}: {}", answer.text());
        }
    }
    still_serves(&ward, &amina).await;
}

#[tokio::test]
async fn a_stranger_learns_nothing_from_any_route_by_any_method() {
    let ward = Carelink::up().await;
    for (path, get, post) in ROUTES {
        for (method, status) in [(Method::GET, get), (Method::POST, post)] {
            let answer = ward
                .ask(method.clone(), path, &[("content-type", "application/json")], if method == Method::POST { "{}" } else { "" })
                .await;
            assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        }
        for method in ["HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"] {
            let answer = ward.ask(Method::from_bytes(method.as_bytes()).unwrap(), path, &[], "").await;
            let described = method == "OPTIONS" || (method == "HEAD" && get == 200);
            assert!(answer.status < 500 && (described || answer.status >= 400), "{method} {path}: {}", answer.status);
            assert_eq!(answer.header("x-trace-id").len(), 32, "{method} {path}");
            assert_eq!(answer.header("x-content-type-options"), "nosniff", "{method} {path}");
        }
    }
    for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "localhost:80:80"] {
        let answer = ward.ask(Method::GET, "/account/me/", &[("host", host)], "").await;
        assert_eq!(answer.status, 400, "host {host:?}: {}", answer.text());
    }
    for host in ["localhost", "LOCALHOST:8000", "127.0.0.1", "[::1]:8000"] {
        assert_eq!(ward.ask(Method::GET, "/account/me/", &[("host", host)], "").await.status, 401, "host {host}");
    }
}

#[tokio::test]
async fn every_route_is_tried_by_a_stranger() {
    let ward = Carelink::up().await;
    let document = ward.ask(Method::GET, "/openapi.json", &[], "").await.json();
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 12, "{paths:?}");
    for path in paths.keys() {
        assert!(ROUTES.iter().any(|(known, ..)| known == path), "no stranger tries {path}");
    }
}

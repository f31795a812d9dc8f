//! Over real sockets: both protocols, slow and silent clients, the end.

use std::{net::SocketAddr, time::Duration};

use axum::body::Body;
use carelink_platform::lifecycle::Shutdown;
use http::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::{Ward, access, played::Played};
use crate::Config;

pub(super) struct Running {
    pub(super) address: SocketAddr,
    pub(super) played: Played,
    shutdown: Shutdown,
    serving: JoinHandle<()>,
}

pub(super) async fn run() -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let Ward { played, gateway } = Ward::with(Config::default(), vec![listener]);
    let shutdown = Shutdown::new();
    let serving = tokio::spawn(gateway.serve(shutdown.clone()));
    Running { address, played, shutdown, serving }
}

impl Running {
    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    pub(super) async fn talk(&self, text: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(text).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub(super) async fn stop(self) {
        self.shutdown.request();
        self.serving.await.unwrap();
    }
}

#[tokio::test]
async fn both_protocols_are_spoken_on_one_port() {
    let running = run().await;
    let old = running.talk(b"GET /account/me/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.1 401 Unauthorized\r\n") && old.contains("x-trace-id: "), "{old}");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(running.connect().await)).await.unwrap();
    tokio::spawn(connection);
    let asked = Request::builder()
        .uri("http://localhost/account/me/")
        .header("authorization", format!("Bearer {}", access(&json!({}))))
        .body(Body::empty())
        .unwrap();
    let answer = sender.send_request(asked).await.unwrap();
    assert_eq!(answer.status(), 200);
    drop(sender);
    running.stop().await;
}

#[tokio::test]
async fn a_ten_megabyte_body_gets_to_read_its_413() {
    let running = run().await;
    let mut stream = running.connect().await;
    let length = 10 * 1024 * 1024;
    let head =
        format!("POST /account/token/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b' '; length]).await.unwrap();
    stream.write_all(b"GET /account/me/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    assert!(answers.starts_with("HTTP/1.1 413 ") && answers.contains("\"code\":\"body_too_large\""), "{answers}");
    assert!(answers.contains("HTTP/1.1 401 "), "the connection goes on: {answers}");
    running.stop().await;
}

#[tokio::test]
async fn huge_headers_and_no_http_are_refused() {
    let running = run().await;
    let long = format!("GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n", "x".repeat(1024 * 1024));
    assert!(running.talk(long.as_bytes()).await.starts_with("HTTP/1.1 431 "));
    let many = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "a: b\r\n".repeat(100));
    assert!(running.talk(many.as_bytes()).await.starts_with("HTTP/1.1 431 "));
    assert!(
        running
            .talk(b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03 a TLS client on the wrong port\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 400 ")
    );
    assert!(running.talk(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
    for line in ["OPTIONS *", "CONNECT localhost:1", "FOO /", "GET http://localhost/"] {
        let answer = running.talk(format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 404 ") || answer.starts_with("HTTP/1.1 400 "), "{line}: {answer}");
    }
    running.stop().await;
}

#[tokio::test]
async fn a_request_under_way_is_answered_before_the_end_and_idle_connections_are_closed() {
    let running = run().await;
    let mut idle = running.connect().await;
    let mut silent = running.connect().await;
    idle.write_all(b"GET /account/me/ HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut first = [0; 1024];
    assert!(idle.read(&mut first).await.unwrap() > 0);
    let mut busy = running.connect().await;
    let body = r#"{"username":"alice","password":"correct horse battery staple"}"#;
    let head = format!(
        "POST /account/token/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    busy.write_all(head.as_bytes()).await.unwrap();
    busy.write_all(&body.as_bytes()[..10]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    running.shutdown.request();
    let mut rest = String::new();
    idle.read_to_string(&mut rest).await.unwrap();
    let _ = silent.read_to_string(&mut rest).await;
    busy.write_all(&body.as_bytes()[10..]).await.unwrap();
    let mut answer = String::new();
    busy.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    running.serving.await.unwrap();
    assert_eq!(running.played.script().sessions.len(), 1);
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn at_the_end_http2_answers_what_is_under_way_and_says_that_nothing_else_is_taken() {
    let running = run().await;
    let (mut sender, connection) = h2::client::handshake(running.connect().await).await.unwrap();
    let connection = tokio::spawn(connection);
    let body = r#"{"username":"alice","password":"correct horse battery staple"}"#;
    let asked = Request::post("http://localhost/account/token/").header("content-type", "application/json").body(()).unwrap();
    let (answer, mut stream) = sender.send_request(asked, false).unwrap();
    stream.send_data(bytes::Bytes::from_static(&body.as_bytes()[..10]), false).unwrap();
    let first = Request::get("http://localhost/account/me/").body(()).unwrap();
    assert_eq!(sender.send_request(first, true).unwrap().0.await.unwrap().status(), 401, "so the other has come, too");
    running.shutdown.request();
    let mut others = Vec::new();
    let refused = async {
        loop {
            let next = Request::get("http://localhost/account/me/").body(()).unwrap();
            match sender.clone().ready().await {
                Ok(mut ready) => others.push(ready.send_request(next, true)),
                Err(told) => return told,
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(refused.await.is_go_away());
    drop(others);
    stream.send_data(bytes::Bytes::from_static(&body.as_bytes()[10..]), true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 200);
    drop(sender);
    let _ = connection.await.unwrap();
    running.serving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stays_silent_or_trickles_is_hung_up_on() {
    let running = run().await;
    for said in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n", b"GET /account/me/ HTTP/1.1\r\nHost: local"] {
        let began = tokio::time::Instant::now();
        running.talk(said).await;
        assert!(began.elapsed() <= Duration::from_secs(11), "{said:?}: {:?}", began.elapsed());
    }
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_408() {
    let running = run().await;
    let head = b"POST /account/token/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    let answer = running.talk(head).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"code\":\"request_timeout\""), "{answer}");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_use_is_closed_and_one_in_use_is_not() {
    let running = run().await;
    running.played.script().hangs = true;
    let mut waiting = running.connect().await;
    waiting.write_all(b"POST /account/token/verify/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n").await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(running.connect().await)).await.unwrap();
    let connection = tokio::spawn(connection);
    let asked = Request::builder().uri("http://localhost/account/me/").body(Body::empty()).unwrap();
    assert_eq!(sender.send_request(asked).await.unwrap().status(), 401);
    let began = tokio::time::Instant::now();
    let _ = connection.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(100), "{:?}", began.elapsed());
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    running.stop().await;
}

//! Clients that mean no good, over HTTP/2.

use std::time::Duration;

use h2::client;
use http::{HeaderValue, Request};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{access, server::run};

fn asked() -> Request<()> {
    let bearer = format!("Bearer {}", access(&json!({})));
    Request::builder().uri("http://localhost/account/me/").header("authorization", bearer).body(()).unwrap()
}

/// What a connection ends with, if the server ends it.
async fn connect(running: &super::server::Running) -> (client::SendRequest<bytes::Bytes>, tokio::task::JoinHandle<Result<(), h2::Error>>) {
    let stream = TcpStream::connect(running.address).await.unwrap();
    let (sender, connection) = client::handshake(stream).await.unwrap();
    (sender, tokio::spawn(connection))
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[tokio::test]
async fn a_client_that_asks_and_resets_again_and_again_is_hung_up_on() {
    const GO_AWAY: u8 = 7;
    const ENHANCE_YOUR_CALM: u32 = 11;
    let running = run().await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let mut sent = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[])].concat();
    for n in 0..2_000 {
        let get = [&[0x82, 0x86, 0x84, 0x41, 9][..], b"localhost"].concat(); // :method, :scheme, :path, :authority
        sent.extend(frame(1, 0b101, 2 * n + 1, &get));
        sent.extend(frame(3, 0, 2 * n + 1, &8_u32.to_be_bytes()));
    }
    let _ = stream.write_all(&sent).await; // it may be hung up on before the end
    let mut heard = Vec::new();
    let _ = timeout(Duration::from_secs(60), stream.read_to_end(&mut heard)).await.expect("it is hung up on");
    let mut rest = heard.as_slice();
    let mut said = None;
    while let [a, b, c, kind, _, _, _, _, _, after @ ..] = rest {
        let length = usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).unwrap();
        if *kind == GO_AWAY {
            said = Some(u32::from_be_bytes(after[4..8].try_into().unwrap()));
        }
        rest = &after[length.min(after.len())..];
    }
    assert!(said.is_none_or(|code| code == ENHANCE_YOUR_CALM), "{said:?}"); // closing over unread bytes may tear up the last word
    let (mut other, _connection) = connect(&running).await;
    assert_eq!(other.send_request(asked(), true).unwrap().0.await.unwrap().status(), 200, "others are served");
    drop(other);
    running.stop().await;
}

/// Frames on a connection of their own, and nothing read before all are sent; then whatever comes until it is hung up.
async fn flood(running: &super::server::Running, frames: Vec<u8>) {
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let beginning = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[])].concat();
    if stream.write_all(&beginning).await.is_ok() {
        let _ = stream.write_all(&frames).await; // it may be hung up on before the end
    }
    let _ = stream.read_to_end(&mut Vec::new()).await; // it ends, however it does
}

#[tokio::test(start_paused = true)]
async fn floods_of_frames_that_ask_for_nothing_are_hung_up_on() {
    let running = run().await;
    // One header list that goes on and on: every frame is sound, and none is the last.
    let field = [&[0, 1, b'a', 100][..], &[b'x'; 100]].concat();
    let goes_on = frame(9, 0, 1, &field.repeat(150));
    let endless = [frame(1, 0, 1, &[0x82, 0x86, 0x84]), goes_on.repeat(500)].concat();
    let pings = frame(6, 0, 0, &[7; 8]).repeat(20_000);
    let settings = frame(4, 0, 0, &[]).repeat(20_000);
    let windows = frame(8, 0, 0, &1_u32.to_be_bytes()).repeat(20_000);
    let priorities = frame(2, 0, 1, &[0, 0, 0, 3, 16]).repeat(20_000);
    let empty = [frame(1, 4, 1, &[0x83, 0x86, 0x84]), frame(0, 0, 1, &[]).repeat(20_000)].concat();
    for frames in [endless, pings, settings, windows, priorities, empty] {
        flood(&running, frames).await;
    }
    let (mut other, _connection) = connect(&running).await;
    assert_eq!(other.send_request(asked(), true).unwrap().0.await.unwrap().status(), 200, "others are served");
    assert_eq!(running.played.script().passwords.len(), 0);
    drop(other);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn streams_that_bring_no_body_are_few_and_end() {
    let running = run().await;
    let (sender, connection) = connect(&running).await;
    let mut slow = Vec::new();
    for _ in 0..crate::config::MAX_STREAMS {
        let post = Request::post("http://localhost/account/token/").header("content-type", "application/json").body(()).unwrap();
        slow.push(sender.clone().ready().await.unwrap().send_request(post, false).unwrap());
    }
    for (answer, _stream) in slow {
        assert_eq!(answer.await.unwrap().status(), 408);
    }
    assert_eq!(sender.clone().ready().await.unwrap().send_request(asked(), true).unwrap().0.await.unwrap().status(), 200);
    drop(sender);
    connection.abort();
    running.stop().await;
}

#[tokio::test]
async fn headers_without_end_cost_the_stream_and_not_the_memory() {
    let running = run().await;
    let (mut sender, _connection) = connect(&running).await;
    let mut large = asked();
    for n in 0..64 {
        let name: http::HeaderName = format!("x-{n}").parse().unwrap();
        large.headers_mut().insert(name, HeaderValue::from_bytes(&[b'x'; 1024]).unwrap());
    }
    let refused = sender.send_request(large, true).unwrap().0.await;
    assert!(refused.is_err() || refused.is_ok_and(|answer| answer.status() == 431));
    sender = sender.ready().await.unwrap();
    assert_eq!(sender.send_request(asked(), true).unwrap().0.await.unwrap().status(), 200);
    drop(sender);
    running.stop().await;
}

#[tokio::test]
async fn few_streams_at_a_time() {
    let running = run().await;
    let (mut sender, _connection) = connect(&running).await;
    assert_eq!(sender.send_request(asked(), true).unwrap().0.await.unwrap().status(), 200);
    assert_eq!(u32::try_from(sender.current_max_send_streams()), Ok(crate::config::MAX_STREAMS));
    drop(sender);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_never_reads_the_answer_does_not_stay_for_that() {
    let running = run().await;
    let stream = TcpStream::connect(running.address).await.unwrap();
    let (mut sender, connection) = client::Builder::new().initial_window_size(0).handshake::<_, bytes::Bytes>(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(asked(), true).unwrap().0.await.unwrap();
    assert_eq!(answer.status(), 200);
    let began = tokio::time::Instant::now();
    let _ = connection.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(120), "{:?}", began.elapsed());
    drop((answer, sender));
    running.stop().await;
}

//! Clients that mean no good, over HTTP/2.

use std::time::Duration;

use h2::{Reason, client};
use http::{HeaderValue, Request};
use serde_json::json;
use tokio::{net::TcpStream, time::timeout};

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

#[tokio::test]
async fn a_client_that_asks_and_resets_again_and_again_is_hung_up_on() {
    let running = run().await;
    let (mut sender, connection) = connect(&running).await;
    for _ in 0..20_000 {
        let Ok(ready) = sender.clone().ready().await else { break };
        sender = ready;
        let Ok((answer, mut stream)) = sender.send_request(asked(), true) else { break };
        stream.send_reset(Reason::CANCEL);
        drop(answer);
    }
    let ended = timeout(Duration::from_secs(60), connection).await.unwrap().unwrap();
    let why = ended.unwrap_err(); // had we ended it ourselves there would be none
    assert!(why.reason() == Some(Reason::ENHANCE_YOUR_CALM) || why.is_io(), "{why:?}");
    let (mut other, _connection) = connect(&running).await;
    assert_eq!(other.send_request(asked(), true).unwrap().0.await.unwrap().status(), 200, "others are served");
    drop(other);
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

//! The end of a server, and of its connections.

use std::time::Duration;

use axum::{body::Body, response::IntoResponse, routing::post};
use bytes::Bytes;
use carelink_platform::errors::Reason;
use carelink_proto::token::{WatchRequest, token_service_client::TokenServiceClient};
use futures::stream;

use crate::bed::{Authority, Behaviour, Papers, Server, Start, append, list, reason, until};

/// A stream of empty messages that never ends by itself.
fn endless() -> axum::Router {
    let watch = || async {
        let empty = Bytes::from_static(&[0, 0, 0, 0, 0]);
        let messages = stream::unfold(empty, |empty| async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Some((Ok::<_, std::convert::Infallible>(empty.clone()), empty))
        });
        ([("content-type", "application/grpc")], Body::from_stream(messages)).into_response()
    };
    axum::Router::new().route("/carelink.token.v1.TokenService/Watch", post(watch))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_end_what_is_under_way_is_answered_and_streams_are_told_to_go_elsewhere() {
    let ours = Authority::new();
    let server = Start { more: Some(endless()), ..Start::with(&ours) }.start().await;
    let gateway = Papers::of(&ours, "gateway");
    let client = gateway.client(&[server.address]);
    list(&client).await.unwrap();
    let mut stream = TokenServiceClient::new(gateway.channel(&[server.address])).watch(WatchRequest {}).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();

    server.ward.behave(Behaviour::Hangs);
    let under_way = tokio::spawn({
        let client = client.clone();
        async move { list(&client).await }
    });
    until(async || server.ward.calls() == 2).await;
    server.shutdown.request();
    let ended = loop {
        match stream.message().await {
            Ok(message) => assert!(message.is_some(), "the end of a stream is said"),
            Err(status) => break status,
        }
    };
    assert_eq!(reason(&ended), Reason::Unready);
    server.ward.behave(Behaviour::Answers);
    under_way.await.unwrap().unwrap();
    until(async || server.running.is_finished()).await;
    assert_eq!(reason(&append(&client).await.unwrap_err()), Reason::Unready);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_replaced_before_they_are_old_and_no_call_is_lost() {
    let ours = Authority::new();
    let start = || Start { max_age: Duration::from_secs(1), ..Start::with(&ours) };
    let servers = [start().start().await, start().start().await];
    let client = Papers::of(&ours, "gateway").client(&servers.each_ref().map(|server| server.address));
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                let began = tokio::time::Instant::now();
                while began.elapsed() < Duration::from_secs(4) {
                    list(&client).await.unwrap(); // never sent twice
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_stops_loses_no_call() {
    let ours = Authority::new();
    let (stays, stops) = (Server::start(&ours).await, Server::start(&ours).await);
    let client = Papers::of(&ours, "gateway").client(&[stays.address, stops.address]);
    until(async || {
        list(&client).await.unwrap();
        stops.ward.calls() > 0 && stays.ward.calls() > 0
    })
    .await;
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                for _ in 0..500 {
                    list(&client).await.unwrap(); // never sent twice
                }
            })
        })
        .collect();
    let before = stops.ward.calls();
    until(async || stops.ward.calls() > before + 20).await;
    stops.shutdown.request();
    for caller in callers {
        caller.await.unwrap();
    }
    until(async || stops.running.is_finished()).await;
}

//! The same over TCP and HTTP/2, in real time.

use std::time::Duration;

use carelink_proto::token::token_service_server::TokenServiceServer;
use carelink_verifier::{Config, Purpose, Refusal, Verifier, channel};
use tokio::{net::TcpListener, time::timeout};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Endpoint, Server};

use crate::{
    issuer::{Issuer, SESSION, revocation},
    service::Ward,
};

#[tokio::test]
async fn v2_over_the_network_it_begins_before_the_service_does_and_hears_of_an_end_at_once() {
    let issuer = Issuer::new(1);
    let ward = Ward::new(&[&issuer]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);

    let connection = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    let verifier = Verifier::start(Config::default(), channel(connection));
    assert!(timeout(Duration::from_millis(100), verifier.ready()).await.is_err());
    assert_eq!(verifier.check(&issuer.access(), Purpose::Edge).await, Err(Refusal::Unavailable));

    let listener = TcpListener::bind(address).await.unwrap();
    let serving =
        Server::builder().add_service(TokenServiceServer::new(ward.clone())).serve_with_incoming(TcpListenerStream::new(listener));
    let serving = tokio::spawn(serving);
    timeout(Duration::from_secs(5), verifier.ready()).await.unwrap();
    assert!(verifier.check(&issuer.access(), Purpose::Grant).await.is_ok());

    ward.entries(vec![revocation(1, SESSION, u64::MAX)]).await;
    assert!(verifier.caught_up(1, Duration::from_secs(5)).await);
    assert_eq!(verifier.check(&issuer.access(), Purpose::Edge).await, Err(Refusal::Revoked));
    serving.abort();
}

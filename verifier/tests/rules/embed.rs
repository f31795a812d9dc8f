//! Embedding: certificates by files, the layers of gRPC, and the example service from end to end.

use std::{fs, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use axum::{body::Body, http::Request};
use carelink_proto::token::token_service_server::TokenServiceServer;
use carelink_verifier::{BearerInterceptor, Config, GrpcBearerLayer, Identity, Verifier, channel, connect};
use futures::StreamExt;
use http::StatusCode;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Code, Status,
    transport::{Certificate, Identity as Pem, Server, ServerTlsConfig},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt;
use tower::ServiceExt;

use crate::{
    issuer::{Issuer, SESSION, revocation},
    service::Ward,
    ward_board::{Board, NAME, PHARMACY},
};

const SOON: Duration = Duration::from_secs(10);

struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([format!("{name}.carelink.internal")]).unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    fn write(&self, dir: &Path, name: &str) -> Identity {
        let (certificate, key) = self.issue(name);
        fs::write(dir.join("ca.pem"), self.0.pem()).unwrap();
        fs::write(dir.join(format!("{name}.pem")), certificate).unwrap();
        fs::write(dir.join(format!("{name}.key")), key).unwrap();
        Identity::in_directory(dir, name)
    }

    /// token-service behind mutual TLS, under the name `name`.
    async fn serve(&self, ward: &Ward, name: &str, at: SocketAddr) -> (SocketAddr, JoinHandle<()>) {
        let (certificate, key) = self.issue(name);
        let tls = ServerTlsConfig::new().identity(Pem::from_pem(certificate, key)).client_ca_root(Certificate::from_pem(self.0.pem()));
        let listener = TcpListener::bind(at).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::builder().tls_config(tls).unwrap().add_service(TokenServiceServer::new(ward.clone()));
        let serving = tokio::spawn(async move { server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap() });
        (address, serving)
    }
}

fn anywhere() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// An address where nobody listens.
async fn nowhere() -> SocketAddr {
    TcpListener::bind(anywhere()).await.unwrap().local_addr().unwrap()
}

async fn sees(service: &str, addresses: String, identity: Identity) -> bool {
    let verifier = Verifier::start(Config::default(), connect(service, &addresses, identity));
    timeout(Duration::from_millis(700), verifier.ready()).await.is_ok()
}

#[tokio::test]
async fn g2_an_embedder_proves_who_it_is_and_believes_only_the_service_it_named() {
    let (issuer, ca, other) = (Issuer::new(1), Ca::new(), Ca::new());
    let (ward, dir, foreign) = (Ward::new(&[&issuer]), TempDir::new().unwrap(), TempDir::new().unwrap());
    let (address, _serving) = ca.serve(&ward, "token-service", anywhere()).await;
    let identity = ca.write(dir.path(), "ward-board");
    let at = address.to_string();

    let verifier = Verifier::start(Config::default(), connect("token-service", &format!("{}, {at}", nowhere().await), identity.clone()));
    timeout(SOON, verifier.ready()).await.unwrap();
    assert!(verifier.verify(&issuer.access()).is_ok(), "where one address is dead the next one does");

    assert!(!sees("auth-service", at.clone(), identity.clone()).await, "it is not auth-service that answers");
    let stranger = other.write(foreign.path(), "ward-board");
    assert!(!sees("token-service", at.clone(), stranger.clone()).await, "a root that did not sign token-service");
    fs::copy(&identity.ca, &stranger.ca).unwrap();
    assert!(!sees("token-service", at.clone(), stranger.clone()).await, "a certificate that our root did not sign");
    fs::remove_file(&stranger.key).unwrap();
    assert!(!sees("token-service", at, stranger).await, "no key");
}

#[tokio::test]
async fn g2_renewed_certificates_are_taken_up_by_connecting_again() {
    let (issuer, old, new) = (Issuer::new(1), Ca::new(), Ca::new());
    let (ward, dir) = (Ward::new(&[&issuer]), TempDir::new().unwrap());
    let (address, serving) = old.serve(&ward, "token-service", anywhere()).await;
    let identity = old.write(dir.path(), "ward-board");
    let verifier = Verifier::start(Config::default(), connect("token-service", &address.to_string(), identity));
    timeout(SOON, verifier.ready()).await.unwrap();

    new.write(dir.path(), "ward-board");
    serving.abort();
    let _ = serving.await;
    ward.drop_stream();
    let (_, _serving) = new.serve(&ward, "token-service", address).await;
    timeout(SOON, ward.connected(2)).await.unwrap();
    ward.entries(vec![revocation(1, SESSION, u64::MAX)]).await;
    assert!(verifier.caught_up(1, SOON).await);
}

/// Somebody's gRPC service behind `layer`.
async fn health_behind(verifier: &Verifier, interceptor: bool) -> (HealthClient<carelink_verifier::Channel>, JoinHandle<()>) {
    let listener = TcpListener::bind(anywhere()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_, health) = tonic_health::server::health_reporter();
    let verifier = verifier.clone();
    let serving = tokio::spawn(async move {
        let incoming = TcpListenerStream::new(listener);
        if interceptor {
            let health = tonic::service::interceptor::InterceptedService::new(health, BearerInterceptor::new(verifier).or_service(NAME));
            Server::builder().add_service(health).serve_with_incoming(incoming).await.unwrap();
        } else {
            let layer = GrpcBearerLayer::new(verifier).or_service(NAME);
            Server::builder().layer(layer).add_service(health).serve_with_incoming(incoming).await.unwrap();
        }
    });
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
    (HealthClient::new(channel(endpoint.connect_lazy())), serving)
}

async fn call(client: &HealthClient<carelink_verifier::Channel>, token: Option<&str>) -> Result<(), Status> {
    let mut request = tonic::Request::new(HealthCheckRequest::default());
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    timeout(SOON, client.clone().check(request)).await.unwrap().map(|_| ())
}

fn reason(status: &Status) -> (Code, String) {
    (status.code(), status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default())
}

#[tokio::test]
async fn v5_the_layer_and_the_interceptor_of_grpc_answer_with_the_stable_reasons() {
    let issuer = Issuer::new(1);
    let ward = Ward::new(&[&issuer]);
    let verifier = ward.verifier().await;
    for interceptor in [false, true] {
        let (client, serving) = health_behind(&verifier, interceptor).await;
        assert!(call(&client, Some(&issuer.access())).await.is_ok());
        assert!(call(&client, Some(&issuer.service(NAME))).await.is_ok());
        for (token, expected) in [
            (None, "token_missing"),
            (Some("x".to_owned()), "token_invalid"),
            (Some(issuer.service("elsewhere")), "token_invalid"),
            (Some(issuer.access_with(|claims| claims["exp"] = 1.into())), "token_expired"),
        ] {
            let status = call(&client, token.as_deref()).await.unwrap_err();
            assert_eq!(reason(&status), (Code::Unauthenticated, expected.to_owned()));
        }
        let (blind, _nobody_watches) = Verifier::new(Config::default(), ward.channel());
        let (client, blind_serving) = health_behind(&blind, interceptor).await;
        let status = call(&client, Some(&issuer.access())).await.unwrap_err();
        assert_eq!(reason(&status), (Code::Unavailable, "unready".to_owned()));
        assert!(status.get_error_details().retry_info().is_some());
        serving.abort();
        blind_serving.abort();
    }
}

async fn get(board: &Arc<Board>, method: &str, path: &str, token: &str, body: &str) -> (StatusCode, String) {
    let request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {token}"));
    let response = board.http().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

#[tokio::test]
async fn the_example_lets_people_in_by_role_and_lets_go_of_who_signs_out() {
    let issuer = Issuer::new(1);
    let ward = Ward::new(&[&issuer]);
    let board = Board::new(ward.channel(), None).unwrap();
    board.ready().await;
    let (nurse, doctor) = (issuer.access(), issuer.access_with(|claims| claims["roles"] = vec!["doctor"].into()));
    assert_eq!(get(&board, "POST", "/board", &nurse, "bed 4 is free").await.0, StatusCode::FORBIDDEN);
    assert_eq!(get(&board, "POST", "/board", &doctor, "bed 4 is free").await.0, StatusCode::CREATED);
    assert_eq!(get(&board, "GET", "/board", &nurse, "").await, (StatusCode::OK, "1000000000: bed 4 is free".to_owned()));
    assert_eq!(get(&board, "GET", "/board", "x", "").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(get(&board, "GET", "/readyz", "", "").await.0, StatusCode::OK);
    assert_eq!(get(&board, "GET", "/pharmacy", &nurse, "").await.0, StatusCode::NOT_FOUND);

    let request = Request::builder().uri("/board/live").header("authorization", format!("Bearer {nurse}"));
    let live = board.http().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let mut lines = live.into_body().into_data_stream();
    get(&board, "POST", "/board", &doctor, "bed 5 is taken").await;
    assert_eq!(lines.next().await.unwrap().unwrap(), "1000000000: bed 5 is taken\n");
    ward.entries(vec![revocation(1, SESSION, u64::MAX)]).await;
    assert_eq!(timeout(SOON, lines.next()).await.unwrap().unwrap().unwrap(), "over: session_revoked\n");
    assert!(lines.next().await.is_none());
}

#[tokio::test]
async fn the_example_calls_another_service_with_a_token_of_its_own_and_asks_for_it_once() {
    let issuer = Issuer::new(1);
    let ward = Ward::new(&[&issuer]);
    let verifier = ward.verifier().await;
    let listener = TcpListener::bind(anywhere()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let layer = GrpcBearerLayer::new(verifier).or_service(PHARMACY);
    let (_, health) = tonic_health::server::health_reporter();
    tokio::spawn(Server::builder().layer(layer).add_service(health).serve_with_incoming(TcpListenerStream::new(listener)));

    let board = Board::new(ward.channel(), Some(format!("http://{address}"))).unwrap();
    board.ready().await;
    assert_eq!(get(&board, "GET", "/pharmacy", &issuer.access(), "").await.0, StatusCode::BAD_GATEWAY, "no token to be had yet");
    ward.issues(issuer.service(PHARMACY));
    for _ in 0..3 {
        assert_eq!(get(&board, "GET", "/pharmacy", &issuer.access(), "").await, (StatusCode::OK, "Serving".to_owned()));
    }
    assert_eq!(ward.issued(), 2, "a refusal and a token");

    let grpc = TcpListener::bind(anywhere()).await.unwrap();
    let at = grpc.local_addr().unwrap();
    let serving = Arc::clone(&board);
    tokio::spawn(async move { serving.grpc(grpc).await });
    let client = HealthClient::new(channel(tonic::transport::Endpoint::from_shared(format!("http://{at}")).unwrap().connect_lazy()));
    assert!(call(&client, Some(&issuer.service(NAME))).await.is_ok());
    assert_eq!(call(&client, Some(&issuer.service(PHARMACY))).await.unwrap_err().code(), Code::Unauthenticated);
}

//! Somebody's own service beside a fleet: the verifier's example, with a certificate of its own, roles, and a service token (V1, V2, G2).

use std::{sync::Arc, time::Duration};

use carelink_tests::{
    Http, PASSWORD, eventually,
    fleet::{Fleet, Nurse, Plan, Service},
};
use carelink_verifier::{Config, GrpcBearerLayer, Identity, Verifier, connect};
use http::Method;
use serde_json::json;
use tokio::{net::TcpListener, time::timeout};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

use crate::ward_board::{Board, PHARMACY};

const SOON: Duration = Duration::from_secs(60);

/// The way to every token-service, for whoever has the certificate `billing`.
fn token_service(fleet: &Fleet) -> carelink_verifier::Channel {
    let addresses: Vec<String> = fleet.of(Service::Token).iter().map(|replica| replica.at.to_string()).collect();
    connect("token-service", &addresses.join(","), Identity::in_directory(fleet.pki(), "billing"))
}

/// Another service, which lets in whoever has a token for it.
async fn pharmacy(fleet: &Fleet) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let verifier = Verifier::start(Config::named(PHARMACY), token_service(fleet));
    timeout(SOON, verifier.ready()).await.unwrap();
    let (_, health) = tonic_health::server::health_reporter();
    let server = Server::builder().layer(GrpcBearerLayer::new(verifier).or_service(PHARMACY)).add_service(health);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

struct Reader {
    http: Http,
    url: String,
}

impl Reader {
    async fn ask(&self, method: Method, path: &str, token: &str, body: &str) -> (u16, String) {
        let bearer = format!("Bearer {token}");
        let answer = self.http.ask(method, &format!("{}{path}", self.url), &[("authorization", &bearer)], body.to_owned()).await.unwrap();
        (answer.status, answer.text())
    }
}

#[tokio::test]
async fn g2_somebodys_own_service_knows_roles_hears_of_sign_outs_and_calls_others_by_a_token_of_its_own() {
    let fleet = Plan::default()
        .set_for(Service::Token, "token.service_accounts.billing.audiences", "[pharmacy]")
        .set_for(Service::Token, "token.service_accounts.billing.roles", "[reader]")
        .up()
        .await;
    let pki = fleet.pki();
    fleet.cli(&["pki", "issue", "billing", "--dir", pki.to_str().unwrap()], "").await.ok();
    let nurses = fleet.nurses("nurse", 2).await;
    fleet.add_users(&["doctor".into()], &["doctor"]).await;
    let doctor = Nurse::sign_in(&fleet.doors, &fleet.journal, "doctor", PASSWORD).await;

    let board = Board::new(token_service(&fleet), Some(pharmacy(&fleet).await)).unwrap();
    timeout(SOON, board.ready()).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let reader = Reader { url: format!("http://{}", listener.local_addr().unwrap()), http: Http::default() };
    let app = board.http();
    tokio::spawn(async move { axum::serve(listener, app).await });

    let nurse = nurses[0].held().access;
    assert_eq!(reader.ask(Method::POST, "/board", &nurse, "bed 4 is free").await.0, 403);
    assert_eq!(reader.ask(Method::POST, "/board", &doctor.held().access, "bed 4 is free").await.0, 201);
    let (status, text) = reader.ask(Method::GET, "/board", &nurse, "").await;
    assert!(status == 200 && text.ends_with(": bed 4 is free"), "{status} {text}");
    assert_eq!(reader.ask(Method::GET, "/pharmacy", &nurse, "").await, (200, "Serving".to_owned()));

    // Who signs out somewhere is let go here, in the middle of what they look at.
    let reader = Arc::new(reader);
    let live = tokio::spawn({
        let (reader, nurse) = (Arc::clone(&reader), nurse.clone());
        async move { reader.ask(Method::GET, "/board/live", &nurse, "").await }
    });
    let sign_out = json!({"refresh": nurses[0].held().refresh});
    fleet.doors.post(0, "/account/token/blacklist/", &sign_out).await.unwrap().expect(200);
    assert_eq!(timeout(SOON, live).await.unwrap().unwrap(), (200, "over: session_revoked\n".to_owned()));
    assert_eq!(reader.ask(Method::GET, "/board", &nurse, "").await.0, 401);

    // One token-service dies; the other one tells on.
    let other = nurses[1].held();
    fleet.replica(Service::Token, 0).kill9().await;
    assert_eq!(reader.ask(Method::GET, "/board", &other.access, "").await.0, 200);
    fleet.doors.post_until_answered("/account/token/blacklist/", &json!({"refresh": other.refresh})).await.expect(200);
    eventually("the sign-out at the other token-service is heard of", async || {
        (reader.ask(Method::GET, "/board", &other.access, "").await.0 == 401).then_some(())
    })
    .await;
    assert_eq!(reader.ask(Method::GET, "/board", &doctor.held().access, "").await.0, 200);
}

//! A ward's notice board: a service of somebody's own that lets CareLink say who may do what. HTTP for people, gRPC for services.
//!
//! - `GET /board` reads, for whoever is signed in; `POST /board` writes, for doctors.
//! - `GET /board/live` streams what is new until its reader's session ends: a sign-out closes it within milliseconds.
//! - `GET /pharmacy` asks another service, with a service token of our own.
//! - gRPC (here only health) for users and for services whose token is for `ward-board`.
//!
//! ```text
//! carelink pki issue ward-board --dir certificates
//! WARD_TOKEN=127.0.0.1:8102 WARD_CERTIFICATES=certificates cargo run -p carelink-verifier --example ward_board
//! ```
#![allow(clippy::print_stdout)] // a program that is looked at

use std::{convert::Infallible, env, error::Error, path::PathBuf, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::Body,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use carelink_verifier::{BearerLayer, Channel, Claims, Config, GrpcBearerLayer, Identity, ServiceTokens, Verifier, channel, connect};
use futures::stream;
use tokio::{
    net::TcpListener,
    sync::{Mutex, broadcast},
    time::timeout,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Endpoint, Server};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

/// Our name, as the certificate has it, and as service tokens for us name it.
pub(crate) const NAME: &str = "ward-board";
/// Whom we ask.
pub(crate) const PHARMACY: &str = "pharmacy";

/// The board.
pub(crate) struct Board {
    notes: Mutex<Vec<String>>,
    news: broadcast::Sender<String>,
    verifier: Verifier,
    pharmacy: Option<Pharmacy>,
}

/// Another service, and what proves to it who we are.
pub(crate) struct Pharmacy {
    client: HealthClient<Channel>,
    tokens: ServiceTokens,
}

impl Board {
    /// A board that asks token-service over `token`, and the pharmacy at `pharmacy`.
    pub(crate) fn new(token: Channel, pharmacy: Option<String>) -> Result<Arc<Self>, Box<dyn Error>> {
        let verifier = Verifier::start(Config::named(NAME), token.clone());
        let pharmacy = match pharmacy {
            None => None,
            Some(address) => Some(Pharmacy {
                client: HealthClient::new(channel(Endpoint::from_shared(address)?.connect_lazy())),
                tokens: ServiceTokens::new(verifier.clone(), token, PHARMACY),
            }),
        };
        Ok(Arc::new(Self { notes: Mutex::default(), news: broadcast::channel(64).0, verifier, pharmacy }))
    }

    /// What people reach.
    pub(crate) fn http(self: &Arc<Self>) -> Router {
        let ready = self.verifier.clone();
        Router::new()
            .route("/board", get(read).post(write))
            .route("/board/live", get(live))
            .route("/pharmacy", get(ask))
            .with_state(Arc::clone(self))
            .layer(BearerLayer::new(self.verifier.clone()))
            // behind the layer nobody comes without a token; a probe has none
            .route("/readyz", get(|| async move { ready.status().readiness().map_err(|why| (StatusCode::SERVICE_UNAVAILABLE, why)) }))
    }

    /// What services reach.
    pub(crate) async fn grpc(&self, listener: TcpListener) -> Result<(), tonic::transport::Error> {
        let (_reporter, health) = tonic_health::server::health_reporter();
        let layer = GrpcBearerLayer::new(self.verifier.clone()).or_service(NAME);
        Server::builder().layer(layer).add_service(health).serve_with_incoming(TcpListenerStream::new(listener)).await
    }

    /// Waits until tokens can be judged.
    pub(crate) async fn ready(&self) {
        self.verifier.ready().await;
    }
}

async fn read(State(board): State<Arc<Board>>) -> String {
    board.notes.lock().await.join("\n")
}

async fn write(State(board): State<Arc<Board>>, Extension(claims): Extension<Arc<Claims>>, note: String) -> Response {
    if !claims.has_role("doctor") {
        return (StatusCode::FORBIDDEN, "doctors write, everybody reads").into_response();
    }
    let note = format!("{}: {note}", claims.user_id);
    board.notes.lock().await.push(note.clone());
    let _ = board.news.send(note); // nobody looks
    StatusCode::CREATED.into_response()
}

async fn live(State(board): State<Arc<Board>>, Extension(claims): Extension<Arc<Claims>>) -> Body {
    let verifier = board.verifier.clone();
    let over = Box::pin(async move { verifier.until_refused(&claims).await });
    let lines = stream::unfold(Some((board.news.subscribe(), over)), |state| async move {
        let (mut news, mut over) = state?;
        tokio::select! {
            refusal = &mut over => Some((format!("over: {}\n", refusal.reason()), None)),
            note = news.recv() => note.ok().map(|note| (format!("{note}\n"), Some((news, over)))),
        }
    });
    Body::from_stream(futures::StreamExt::map(lines, |line| Ok::<_, Infallible>(Bytes::from(line))))
}

async fn ask(State(board): State<Arc<Board>>) -> Response {
    let Some(pharmacy) = &board.pharmacy else { return StatusCode::NOT_FOUND.into_response() };
    let asked = async {
        let mut request = tonic::Request::new(HealthCheckRequest::default());
        pharmacy.tokens.authorize(&mut request).await?;
        pharmacy.client.clone().check(request).await
    };
    match timeout(Duration::from_secs(5), asked).await {
        Ok(Ok(answer)) => format!("{:?}", answer.into_inner().status()).into_response(),
        Ok(Err(status)) => (StatusCode::BAD_GATEWAY, status.to_string()).into_response(),
        Err(_) => StatusCode::GATEWAY_TIMEOUT.into_response(),
    }
}

#[tokio::main]
#[allow(dead_code)] // a test takes this file without it
async fn main() -> Result<(), Box<dyn Error>> {
    let var = |name: &str, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
    let identity = Identity::in_directory(PathBuf::from(var("WARD_CERTIFICATES", "certificates")), &var("WARD_NAME", NAME));
    let token = connect("token-service", &var("WARD_TOKEN", "127.0.0.1:8102"), identity);
    let board = Board::new(token, env::var("WARD_PHARMACY").ok())?;
    let (http, grpc) =
        (TcpListener::bind(var("WARD_HTTP", "127.0.0.1:0")).await?, TcpListener::bind(var("WARD_GRPC", "127.0.0.1:0")).await?);
    println!("listening on http://{} and {}", http.local_addr()?, grpc.local_addr()?);
    let (serving, waiting) = (Arc::clone(&board), Arc::clone(&board));
    tokio::spawn(async move { serving.grpc(grpc).await });
    tokio::spawn(async move {
        waiting.ready().await;
        println!("tokens can be judged");
    });
    axum::serve(http, board.http()).await?;
    Ok(())
}

//! The gateway against services that are played: no network, no database, a test key that the verifier trusts.

mod abuse;
mod admin;
mod alias;
mod browsers;
mod contract;
mod door;
mod edge;
mod forged;
mod framing;
mod limits;
mod played;
mod routes;
mod server;
mod sessions;
mod shift;
mod spoofed;
mod tls;
mod tokens;
mod v1;
mod verify;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use axum::{Router, body::Body};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use carelink_platform::{clock::Clock, clock::Timestamp, random::Random, seal::SealingKeyPair};
use carelink_proto::token::{KeySet, PublicKey, Revocation, Snapshot};
use carelink_verifier::{Verifier, key_set_digest, thumbprint};
use http::{HeaderMap, Method, Request, Response, header::HOST};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower::ServiceExt;
use uuid::Uuid;

use self::played::Played;
use crate::{Config, Gateway, GatewayOptions};

/// The time by which tokens are judged, seconds.
const NOW: i64 = 1_800_000_000;
const ALICE: Uuid = Uuid::from_u128(1);
const SESSION: Uuid = Uuid::from_u128(100);
/// A session that a revocation names.
const ENDED: Uuid = Uuid::from_u128(200);

/// A gateway and those around it.
struct Ward {
    played: Played,
    gateway: Gateway,
}

/// An answer, read whole.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}

impl Ward {
    fn new() -> Self {
        Self::with(Config::default(), Vec::new())
    }

    fn configured(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        change(&mut config);
        Self::with(config, Vec::new())
    }

    fn with(config: Config, listeners: Vec<TcpListener>) -> Self {
        let played = Played::default();
        let options = GatewayOptions { clients: played.clients(), ..options(config, listeners) };
        Self { played, gateway: Gateway::build(options).unwrap() }
    }

    fn router(&self) -> Router {
        self.gateway.router()
    }

    /// Asks; whatever comes back must be what the document says.
    async fn ask(&self, request: Request<Body>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let answer = read(self.router().oneshot(request).await.unwrap()).await;
        routes::is_declared(&self.gateway, &method, &path, &answer);
        answer
    }

    async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.ask(request(Method::POST, path).header("content-type", "application/json").body(body.into()).unwrap()).await
    }

    async fn me(&self, token: &str) -> Answer {
        self.ask(request(Method::GET, "/account/me/").header("authorization", format!("Bearer {token}")).body(Body::empty()).unwrap()).await
    }
}

fn options(config: Config, listeners: Vec<TcpListener>) -> GatewayOptions {
    GatewayOptions {
        config,
        clients: Played::default().clients(),
        verifier: verifier(),
        sealing: Some(sealing().public().clone()),
        clock: Clock::manual(Timestamp::from_secs(NOW)).0,
        random: Random::seeded(7),
        listeners,
    }
}

async fn read(response: Response<Body>) -> Answer {
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    Answer { status: head.status.as_u16(), headers: head.headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
}

fn request(method: Method, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(path).header(HOST, "localhost")
}

fn sealing() -> SealingKeyPair {
    SealingKeyPair::from_secret(&[7; 32]).unwrap()
}

fn signing_key() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
}

fn kid() -> String {
    thumbprint(signing_key().public_key().as_ref().try_into().unwrap())
}

pub(crate) fn verifier() -> Verifier {
    let keys = vec![PublicKey { kid: kid(), algorithm: "EdDSA".into(), public_key: signing_key().public_key().as_ref().to_vec() }];
    let until_us = (NOW + 7_200) * 1_000_000;
    let ended = Revocation { number: 9, session: ENDED.as_bytes().to_vec(), generation: u64::MAX, until_us, ..Revocation::default() };
    let snapshot = Snapshot {
        keys: Some(KeySet { digest: key_set_digest(&keys), keys }),
        revocations: vec![ended],
        head: 9,
        time_us: NOW * 1_000_000,
        issuer: "carelink".into(),
        audience: "carelink".into(),
        ..Snapshot::default()
    };
    Verifier::pinned(carelink_verifier::Config::default(), &snapshot).unwrap()
}

/// Claims of an access token of alice's, with some of them changed; null takes one out.
fn claims(changes: &Value) -> Value {
    let mut claims = json!({
        "iss": "carelink", "aud": "carelink", "sub": ALICE.to_string(), "user_id": "1", "sid": SESSION.to_string(), "gen": 0,
        "token_type": "access", "roles": ["nurse"], "amr": ["pwd"], "acr": "1", "auth_time": NOW, "iat": NOW, "exp": NOW + 900, "jti": "j",
    });
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    claims
}

/// An access token that the verifier trusts.
fn access(changes: &Value) -> String {
    let header = json!({"alg": "EdDSA", "kid": kid(), "typ": "at+jwt"});
    let signed = format!("{}.{}", encode(&header), encode(&claims(changes)));
    let signature = URL_SAFE_NO_PAD.encode(signing_key().sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// A refresh token about which the played token-service says this: a reason, or nothing against it.
fn refresh_token(says: &str) -> String {
    let payload = json!({"token_type": "refresh", "sid": SESSION.to_string(), "says": says});
    format!("{}.{}.{}", encode(&json!({"alg": "HS256", "typ": "JWT"})), encode(&payload), URL_SAFE_NO_PAD.encode([0; 32]))
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

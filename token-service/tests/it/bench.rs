//! A token-service on a bench: a throw-away database, a clock with a hand, auth-service's signature, and whoever calls.

use std::{
    path::Path,
    sync::{Arc, Barrier},
};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use carelink_database::{Statement, StoreError, Value, args, trail::Noted};
use carelink_platform::{
    clock::{Clock, ManualClock, Timestamp},
    errors::{Failure, Reason},
    grpc::{self, Channel},
    random::Random,
    seal::{SealingKeyPair, SealingPublicKey},
    secrets::MasterKey,
};
use carelink_proto::{
    audit::{Event, audit_service_client::AuditServiceClient},
    token::{
        ApplySubjectsRequest, ApplySubjectsResponse, Assertion, CreateSessionRequest, IntrospectRequest, RefreshRequest, SignOutRequest,
        Subject, TokenPair, token_service_client::TokenServiceClient,
    },
};
use carelink_verifier::thumbprint;
use prost::Message;
use tempfile::TempDir;
use token_service::{App, Config, Options, domain::session::EndReason, store};
use tokio::task::JoinHandle;
use tonic::Status;
use uuid::Uuid;

pub const START: i64 = 1_800_000_000;

type Client = TokenServiceClient<Channel>;

pub struct Bench {
    dir: TempDir,
    config: Config,
    pub app: App,
    pub hand: ManualClock,
    clock: Clock,
    random: Random,
    signer: Ed25519KeyPair,
    gateway: Client,
}

pub async fn bench() -> Bench {
    bench_with(Config::default()).await
}

pub async fn bench_with(config: Config) -> Bench {
    bench_of(config, Random::system()).await
}

pub async fn bench_of(config: Config, random: Random) -> Bench {
    let dir = directory();
    let (clock, hand) = Clock::manual(Timestamp::from_secs(START));
    let app = build(dir.path(), &config, &clock, &random).await;
    let gateway = client(&app, "gateway");
    Bench { dir, config, app, hand, clock, random, signer: signer(), gateway }
}

/// In memory where the system has such a place: nothing here pulls the plug.
fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn signer() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap()
}

pub fn sealing() -> SealingKeyPair {
    SealingKeyPair::from_secret(&[2; 32]).unwrap()
}

fn public() -> SealingPublicKey {
    sealing().public().clone()
}

async fn build(dir: &Path, config: &Config, clock: &Clock, random: &Random) -> App {
    let nobody = tower::service_fn(|_| async { Err::<http::Response<tonic::body::Body>, _>(Status::unavailable("no audit service here")) });
    let options = Options {
        config: config.clone(),
        backlog: Default::default(),
        database: dir.join("token.sqlite3").into(),
        clock: clock.clone(),
        random: random.clone(),
        master: MasterKey::new([1; 32]),
        sealing: public(),
        assertion_keys: vec![signer().public_key().as_ref().try_into().unwrap()],
        audit: AuditServiceClient::new(carelink_verifier::channel(nobody)),
    };
    App::build(options).await.unwrap()
}

fn client(app: &App, as_whom: &'static str) -> Client {
    TokenServiceClient::new(grpc::in_process(app.stack(), as_whom))
}

impl Bench {
    /// The process ends and another one begins on the same database.
    pub async fn restart(&mut self) {
        self.app = build(self.dir.path(), &self.config, &self.clock, &self.random).await;
        self.gateway = client(&self.app, "gateway");
    }

    /// The same on the database as it was when it was copied.
    pub async fn restart_on(&mut self, copy: TempDir) {
        self.dir = copy;
        self.restart().await;
    }

    /// A copy of the database as it is now.
    pub fn copy(&self) -> TempDir {
        let to = directory();
        for name in ["token.sqlite3", "token.sqlite3-wal"] {
            std::fs::copy(self.dir.path().join(name), to.path().join(name)).unwrap();
        }
        to
    }

    /// The same service with another configuration.
    pub async fn reconfigure(&mut self, change: impl FnOnce(&mut Config)) {
        change(&mut self.config);
        self.restart().await;
    }

    pub fn client(&self, as_whom: &'static str) -> Client {
        client(&self.app, as_whom)
    }

    pub fn gateway(&self) -> Client {
        self.gateway.clone()
    }

    pub fn operator(&self) -> Client {
        let mut stack = self.app.stack();
        let service = tower::service_fn(move |mut request: http::Request<tonic::body::Body>| {
            request.extensions_mut().insert(grpc::Caller::Operator(grpc::Operator { by: grpc::OperatorProof::Uid(0), claimed: None }));
            tower::Service::call(&mut stack, request)
        });
        TokenServiceClient::new(carelink_verifier::channel(service))
    }

    pub fn subject(user: u8, version: u64, roles: &[&str]) -> Subject {
        let roles = roles.iter().map(ToString::to_string).collect();
        Subject { id: vec![user; 16], user_id: user.into(), version, active: true, roles, ..Default::default() }
    }

    pub fn assertion(&self, subject: Subject) -> String {
        let said = Assertion {
            id: self.random.uuid_v4().as_bytes().to_vec(),
            subject: Some(subject),
            amr: vec!["pwd".into()],
            acr: "urn:carelink:acr:password".into(),
            issued_us: self.clock.now().as_micros(),
            audience: "token-service".into(),
            presenter: "gateway".into(),
        };
        let kid = thumbprint(&self.signer.public_key().as_ref().try_into().unwrap());
        let header = format!(r#"{{"alg":"EdDSA","typ":"carelink-assertion+jwt","kid":"{kid}"}}"#);
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(said.encode_to_vec()));
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(self.signer.sign(signed.as_bytes())))
    }

    pub async fn sign_in(&self, subject: Subject) -> (TokenPair, Vec<u8>) {
        self.create(self.assertion(subject)).await.unwrap()
    }

    pub async fn create(&self, assertion: String) -> Result<(TokenPair, Vec<u8>), Reason> {
        let response = self.gateway().create_session(CreateSessionRequest { assertion, origin: None }).await;
        let response = response.map_err(|status| reason(&status))?.into_inner();
        Ok((response.tokens.unwrap(), response.session))
    }

    pub async fn refresh(&self, token: &str) -> Result<TokenPair, Reason> {
        let response = self.gateway().refresh(RefreshRequest { refresh_token: token.into(), origin: None }).await;
        response.map(|response| response.into_inner().tokens.unwrap()).map_err(|status| reason(&status))
    }

    pub async fn sign_out(&self, token: &str) -> Result<u64, Reason> {
        let response = self.gateway().sign_out(SignOutRequest { refresh_token: token.into(), origin: None }).await;
        response.map(|response| response.into_inner().revocation).map_err(|status| reason(&status))
    }

    pub async fn introspect(&self, token: &str) -> (bool, String) {
        let response = self.gateway().introspect(IntrospectRequest { token: token.into() }).await.unwrap().into_inner();
        (response.active, response.reason)
    }

    pub async fn apply(&self, subject: Subject) -> u64 {
        self.apply_all(vec![subject]).await.unwrap().revocation
    }

    pub async fn apply_all(&self, subjects: Vec<Subject>) -> Result<ApplySubjectsResponse, Reason> {
        let response = self.client("auth-service").apply_subjects(ApplySubjectsRequest { subjects }).await;
        response.map(tonic::Response::into_inner).map_err(|status| reason(&status))
    }

    /// One round of the sweeper.
    pub async fn sweep(&self) -> (u32, bool) {
        let random = self.random.clone();
        let event = move |_, now| {
            let event = Event { r#type: "session.ended".into(), reason: "expired".into(), ..Event::default() };
            Noted { id: random.uuid_v7(now), body: event.encode_to_vec() }
        };
        store::sweep(self.app.store(), store::Ending { reason: EndReason::Expired, event: Arc::new(event) }).await.unwrap()
    }

    /// Holds the writer up until the answer is dropped or released: whatever is asked meanwhile waits for its turn.
    pub async fn hold(&self) -> Held {
        let (entered, release) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let (db, within, until) = (self.app.store().db.clone(), Arc::clone(&entered), Arc::clone(&release));
        let holding = tokio::spawn(async move {
            let held = db.transaction("hold", move |_| {
                Box::pin(async move {
                    within.wait();
                    until.wait();
                    Ok::<_, StoreError>(())
                })
            });
            held.await.unwrap();
        });
        tokio::task::spawn_blocking(move || entered.wait()).await.unwrap();
        Held { release, holding }
    }

    /// Looks behind the RPCs.
    pub async fn query(&self, statement: &'static Statement, args: Vec<Value>) -> Vec<carelink_database::Row> {
        self.app.store().db.query(statement, args).await.unwrap()
    }

    /// The events of a session, in the order of its counter; the counter has neither gaps nor doubles.
    pub async fn events_of(&self, session: Uuid) -> Vec<Event> {
        static EVENTS: Statement = Statement::shared("t", "SELECT counter, subject, body FROM outbox WHERE session = $1 ORDER BY counter");
        let rows = self.query(&EVENTS, args![session]).await;
        let counters: Vec<u64> = rows.iter().map(|row| row.get("counter").unwrap()).collect();
        assert_eq!(counters, (1..=rows.len() as u64).collect::<Vec<_>>(), "counted without gaps");
        rows.iter().map(|row| Event::decode(row.get::<Vec<u8>>("body").unwrap().as_slice()).unwrap()).collect()
    }

    /// The events of one type, in the order in which they were written.
    pub async fn events(&self, kind: &str) -> Vec<Event> {
        static EVENTS: Statement = Statement::shared("t", "SELECT body FROM outbox ORDER BY id");
        let rows = self.query(&EVENTS, args![]).await;
        let events = rows.iter().map(|row| Event::decode(row.get::<Vec<u8>>("body").unwrap().as_slice()).unwrap());
        events.filter(|event| event.r#type == kind).collect()
    }
}

/// The writer, held up.
pub struct Held {
    release: Arc<Barrier>,
    holding: JoinHandle<()>,
}

impl Held {
    pub async fn release(self) {
        self.release.wait();
        self.holding.await.unwrap();
    }
}

pub fn reason(status: &Status) -> Reason {
    Failure::from_status(status).reason()
}

pub fn as_user<T>(pair: &TokenPair, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {}", pair.access_token).parse().unwrap());
    request
}

/// What a token says.
pub fn claims(token: &str) -> serde_json::Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

/// Names of types, as events have them.
pub fn types(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.r#type.as_str()).collect()
}

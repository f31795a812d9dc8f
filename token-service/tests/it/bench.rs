//! A token-service on a bench: a throw-away database of either engine, a clock with a hand, auth-service's signature, and whoever calls.

use std::{
    fs,
    sync::{Arc, Barrier},
};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use carelink_database::{Location, Statement, StoreError, Value, args, lease::Lease, trail::Noted};
use carelink_platform::{
    clock::{Clock, Timestamp},
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
use carelink_servers::Engine;
use carelink_verifier::thumbprint;
use prost::Message;
use tempfile::TempDir;
use token_service::{App, Config, Options, domain::session::EndReason, store};
use tokio::{sync::Notify, task::JoinHandle};
use tonic::Status;
use uuid::Uuid;

use crate::{
    ENGINE,
    place::{Hand, Place, directory},
};

pub const START: i64 = 1_800_000_000;

type Client = TokenServiceClient<Channel>;

pub struct Bench {
    place: Place,
    config: Config,
    pub app: App,
    pub hand: Hand,
    clock: Clock,
    random: Random,
    signer: Ed25519KeyPair,
    gateway: Client,
    lease: Lease,
}

pub async fn bench() -> Bench {
    bench_with(Config::default()).await
}

pub async fn bench_with(config: Config) -> Bench {
    bench_of(config, Random::system()).await
}

pub async fn bench_of(config: Config, random: Random) -> Bench {
    let (clock, manual) = Clock::manual(Timestamp::from_secs(START));
    let (place, hand) = Place::make(manual).await;
    let app = build(&place, &config, &clock, &random).await;
    let gateway = client(&app, "gateway");
    let lease = Lease::new("sweep", &random);
    Bench { place, config, app, hand, clock, random, signer: signer(), gateway, lease }
}

/// The rows as they were.
pub enum Copy {
    Files(TempDir),
    Tables,
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

async fn build(place: &Place, config: &Config, clock: &Clock, random: &Random) -> App {
    build_at(place.location(), config, clock, random).await
}

pub async fn build_at(database: Location, config: &Config, clock: &Clock, random: &Random) -> App {
    build_under(database, config, clock, random, master()).await.unwrap()
}

/// The same service on the bench's database, under another master key.
pub async fn build_with(bench: &Bench, master: MasterKey) -> Result<App, token_service::Error> {
    build_under(bench.location(), &bench.config, &bench.clock, &bench.random, master).await
}

async fn build_under(
    database: Location,
    config: &Config,
    clock: &Clock,
    random: &Random,
    master: MasterKey,
) -> Result<App, token_service::Error> {
    let nobody = tower::service_fn(|_| async { Err::<http::Response<tonic::body::Body>, _>(Status::unavailable("no audit service here")) });
    let options = Options {
        config: config.clone(),
        backlog: Default::default(),
        database,
        clock: clock.clone(),
        random: random.clone(),
        master,
        sealing: public(),
        assertion_keys: vec![signer().public_key().as_ref().try_into().unwrap()],
        audit: AuditServiceClient::new(carelink_verifier::channel(nobody)),
    };
    App::build(options).await
}

pub fn master() -> MasterKey {
    MasterKey::new([1; 32])
}

fn client(app: &App, as_whom: &'static str) -> Client {
    TokenServiceClient::new(grpc::in_process(app.stack(), as_whom))
}

pub fn subject(user: u8, version: u64, roles: &[&str]) -> Subject {
    let roles = roles.iter().map(ToString::to_string).collect();
    Subject { id: vec![user; 16], user_id: user.into(), version, active: true, roles, ..Default::default() }
}

#[allow(dead_code)] // replicas ask, which only PostgreSQL has
pub fn assertion_of(subject: Subject, now: Timestamp) -> String {
    assertion_by(&signer(), &Random::system(), subject, now)
}

fn assertion_by(signer: &Ed25519KeyPair, random: &Random, subject: Subject, now: Timestamp) -> String {
    let said = Assertion {
        id: random.uuid_v4().as_bytes().to_vec(),
        subject: Some(subject),
        amr: vec!["pwd".into()],
        acr: "urn:carelink:acr:password".into(),
        issued_us: now.as_micros(),
        audience: "token-service".into(),
        presenter: "gateway".into(),
    };
    let kid = thumbprint(&signer.public_key().as_ref().try_into().unwrap());
    let header = format!(r#"{{"alg":"EdDSA","typ":"carelink-assertion+jwt","kid":"{kid}"}}"#);
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(said.encode_to_vec()));
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signer.sign(signed.as_bytes())))
}

pub fn operator_of(app: &App) -> Client {
    as_caller(app, grpc::Caller::Operator(grpc::Operator { by: grpc::OperatorProof::Uid(0), claimed: None }))
}

fn as_caller(app: &App, caller: grpc::Caller) -> Client {
    let mut stack = app.stack();
    let service = tower::service_fn(move |mut request: http::Request<tonic::body::Body>| {
        request.extensions_mut().insert(caller.clone());
        tower::Service::call(&mut stack, request)
    });
    TokenServiceClient::new(carelink_verifier::channel(service))
}

impl Bench {
    /// The process ends and another one begins on the same database.
    pub async fn restart(&mut self) {
        self.app = build(&self.place, &self.config, &self.clock, &self.random).await;
        self.gateway = client(&self.app, "gateway");
    }

    /// The same on the database as it was when it was copied.
    pub async fn restart_on(&mut self, copy: Copy) {
        match (copy, &self.place.database) {
            (Copy::Files(dir), _) => self.place.dir = dir,
            (Copy::Tables, Some(database)) => {
                database.sql(
                    "SET search_path = carelink_token; TRUNCATE session, outbox;
                     INSERT INTO session SELECT * FROM session_before;
                     INSERT INTO outbox OVERRIDING SYSTEM VALUE SELECT * FROM outbox_before;",
                );
            }
            (Copy::Tables, None) => unreachable!(),
        }
        self.restart().await;
    }

    /// A copy of the database as it is now.
    pub fn copy(&self) -> Copy {
        if let Some(database) = &self.place.database {
            database.sql(
                "SET search_path = carelink_token; CREATE TABLE session_before AS TABLE session; CREATE TABLE outbox_before AS TABLE outbox;",
            );
            return Copy::Tables;
        }
        let to = directory();
        for name in ["token.sqlite3", "token.sqlite3-wal"] {
            fs::copy(self.place.dir.path().join(name), to.path().join(name)).unwrap();
        }
        Copy::Files(to)
    }

    /// Where its database is.
    pub fn location(&self) -> Location {
        self.place.location()
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
        operator_of(&self.app)
    }

    /// Another service of the deployment.
    pub fn internal(&self, name: &str) -> Client {
        as_caller(&self.app, grpc::Caller::Internal(name.into()))
    }

    pub fn subject(user: u8, version: u64, roles: &[&str]) -> Subject {
        subject(user, version, roles)
    }

    pub fn assertion(&self, subject: Subject) -> String {
        assertion_by(&self.signer, &self.random, subject, self.clock.now())
    }

    pub async fn sign_in(&self, subject: Subject) -> (TokenPair, Vec<u8>) {
        self.create(self.assertion(subject)).await.unwrap()
    }

    pub async fn create(&self, assertion: String) -> Result<(TokenPair, Vec<u8>), Reason> {
        let response = self.gateway().create_session(CreateSessionRequest { assertion, ..Default::default() }).await;
        let response = response.map_err(|status| reason(&status))?.into_inner();
        Ok((response.tokens.unwrap(), response.session))
    }

    pub async fn refresh(&self, token: &str) -> Result<TokenPair, Reason> {
        let response = self.gateway().refresh(RefreshRequest { refresh_token: token.into(), ..Default::default() }).await;
        response.map(|response| response.into_inner().tokens.unwrap()).map_err(|status| reason(&status))
    }

    pub async fn sign_out(&self, token: &str) -> Result<u64, Reason> {
        let response = self.gateway().sign_out(SignOutRequest { refresh_token: token.into(), ..Default::default() }).await;
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
        let ending = |reason: EndReason| {
            let random = self.random.clone();
            let event = move |_, now| {
                let event = Event { r#type: "session.ended".into(), reason: reason.as_str().into(), ..Event::default() };
                Noted { id: random.uuid_v7(now), body: event.encode_to_vec() }
            };
            store::Ending { reason, event: Arc::new(event) }
        };
        let (store, lease) = (self.app.store(), &self.lease);
        let epoch = lease.acquire(&store.db).await.unwrap().unwrap();
        let swept = store::sweep(store, lease, epoch, ending(EndReason::Expired), ending(EndReason::Idle)).await.unwrap();
        (swept.ended, swept.more)
    }

    /// Holds up whatever would change a session until it is released.
    pub async fn hold(&self) -> Held {
        static LOCK: Statement = Statement::shared("t_lock", "SELECT id FROM session ORDER BY id FOR UPDATE");
        let db = self.app.store().db.clone();
        if ENGINE == Engine::Postgres {
            let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
            let (within, until) = (Arc::clone(&entered), Arc::clone(&release));
            let holding = tokio::spawn(async move {
                let held = db.transaction("hold", move |tx| {
                    Box::pin(async move {
                        tx.run(&LOCK, args![]).await?;
                        within.notify_one();
                        until.notified().await;
                        Ok::<_, StoreError>(())
                    })
                });
                held.await.unwrap();
            });
            entered.notified().await;
            return Held { release: Release::Rows(release), holding };
        }
        // There is one writer; whatever is asked meanwhile waits for its turn.
        let (entered, release) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let (within, until) = (Arc::clone(&entered), Arc::clone(&release));
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
        Held { release: Release::Writer(release), holding }
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

/// Changes, held up.
pub struct Held {
    release: Release,
    holding: JoinHandle<()>,
}

enum Release {
    Writer(Arc<Barrier>),
    Rows(Arc<Notify>),
}

impl Held {
    pub async fn release(self) {
        match self.release {
            Release::Writer(barrier) => drop(barrier.wait()),
            Release::Rows(notify) => notify.notify_one(),
        }
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

/// By which key it was signed.
pub fn kid(token: &str) -> String {
    let header: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap()).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

/// Names of types, as events have them.
pub fn types(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.r#type.as_str()).collect()
}

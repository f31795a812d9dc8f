//! The service behind its own stack, on a database of its own, beside a played token-service.

mod guessing;
mod import;
mod links;
mod own_password;
mod places;
mod played;
mod replicas;
mod sign_in;
mod subjects;
mod trips;
mod users;

use std::{sync::Arc, time::Duration};

use carelink_database::{
    Statement, args,
    backlog::{BacklogConfig, Policy},
};
use carelink_platform::{
    clock::Clock,
    errors::{Failure, Reason},
    grpc::{Caller, Channel, Effect, Hooks, Operator, OperatorProof, User as VerifiedUser, in_process},
    random::Random,
    seal::SealingKeyPair,
    secrets::MasterKey,
};
use carelink_proto::{
    audit::{Event, audit_service_client::AuditServiceClient},
    auth::{CreateUserRequest, User, VerifyPasswordRequest, auth_service_client::AuthServiceClient},
    token::token_service_client::TokenServiceClient,
};
use carelink_servers::{Engine, Place, on_both_engines};
use prost::Message;
use tonic::{Code, Status, body::Body, codegen::http::Request};
use tower::{ServiceExt, util::BoxCloneSyncService};
use uuid::Uuid;

use self::{
    places::{location, place},
    played::Played,
};
use crate::{App, Config, MailConfig, Options, domain::hasher::Argon2Cost};

const CHEAP: Argon2Cost = Argon2Cost { memory_kib: 64, iterations: 1, parallelism: 1 };
const PASSWORD: &str = "night vitals 21 ward";
/// So that a test can fill it.
const SMALL: BacklogConfig = BacklogConfig { max_backlog: 100, policy: Policy::Refuse };
const FLOOR: Duration = Duration::from_millis(40);

static EVENTS: Statement = Statement::shared("events", "SELECT body FROM outbox WHERE destination = 'audit' ORDER BY id");
static WAITING: Statement = Statement::shared("waiting", "SELECT id FROM outbox WHERE destination = 'subjects'");
static HASH: Statement = Statement::shared("hash", "SELECT password_hash, password_form FROM users WHERE username = $1");

/// The service under test.
struct Auth {
    app: App,
    played: Arc<Played>,
    place: Arc<Place>,
}

impl Auth {
    async fn new(engine: Engine) -> Self {
        Self::with(engine, Config::default(), Clock::system()).await
    }

    async fn with(engine: Engine, config: Config, clock: Clock) -> Self {
        let (place, played) = (Arc::new(place(engine).await), Arc::<Played>::default());
        let app = build(&place, &played, config, clock, SMALL).await;
        Self { app, played, place }
    }

    fn gateway(&self) -> AuthServiceClient<Channel> {
        AuthServiceClient::new(in_process(self.app.stack(), "gateway"))
    }

    fn operator(&self) -> AuthServiceClient<Channel> {
        let caller = Caller::Operator(Operator { by: OperatorProof::Uid(1000), claimed: Some("amina".to_owned()) });
        AuthServiceClient::new(BoxCloneSyncService::new(self.app.stack().map_err(|never| match never {}).map_request(
            move |mut request: Request<Body>| {
                request.extensions_mut().insert(caller.clone());
                request
            },
        )))
    }

    async fn create(&self, username: &str, password: &str) -> User {
        let request = CreateUserRequest { username: username.into(), password: password.into(), ..Default::default() };
        self.operator().create_user(request).await.unwrap().into_inner().user.unwrap()
    }

    /// Signs in as /account does.
    async fn sign_in(&self, username: &str, password: &str) -> Result<String, Failure> {
        let request = VerifyPasswordRequest {
            username: username.into(),
            password: password.into(),
            trim: true,
            network: "192.0.2.7".into(),
            user_agent: "ward terminal".into(),
            ..Default::default()
        };
        let answer = self.gateway().verify_password(request).await;
        answer.map(|answer| answer.into_inner().assertion).map_err(|status| Failure::from_status(&status))
    }

    async fn refused(&self, username: &str, password: &str) -> Reason {
        self.sign_in(username, password).await.unwrap_err().reason()
    }

    /// Waits for what goes on after answers.
    async fn settle(&self) {
        self.app.afterwards.close();
        self.app.afterwards.wait().await;
        self.app.afterwards.reopen();
    }

    async fn events(&self) -> Vec<Event> {
        let rows = self.app.store.db.query(&EVENTS, args![]).await.unwrap();
        rows.iter().map(|row| Event::decode(row.get::<Vec<u8>>("body").unwrap().as_slice()).unwrap()).collect()
    }

    /// The events of one type, as (reason, subject or object).
    async fn told(&self, kind: &str) -> Vec<Event> {
        self.events().await.into_iter().filter(|event| event.r#type == kind).collect()
    }

    async fn waiting_subjects(&self) -> usize {
        self.app.store.db.query(&WAITING, args![]).await.unwrap().len()
    }

    async fn hash(&self, username: &str) -> (String, String) {
        let rows = self.app.store.db.query(&HASH, args![username]).await.unwrap();
        (rows[0].get("password_hash").unwrap(), rows[0].get("password_form").unwrap())
    }
}

async fn build(place: &Place, played: &Arc<Played>, config: Config, clock: Clock, backlog: BacklogConfig) -> App {
    build_with(place, played, config, clock, backlog, MailConfig::default()).await
}

async fn build_with(place: &Place, played: &Arc<Played>, config: Config, clock: Clock, backlog: BacklogConfig, mail: MailConfig) -> App {
    let config = Config { argon2: CHEAP, failure_floor: FLOOR, ..config };
    App::build(Options {
        config,
        mail,
        backlog,
        database: location(place),
        clock,
        random: Random::system(),
        master: MasterKey::new([7; 32]),
        sealing: SealingKeyPair::from_secret(&[8; 32]).unwrap().public().clone(),
        token: TokenServiceClient::new(played.token_channel()),
        audit: AuditServiceClient::new(played.audit_channel()),
        hooks: Hooks { verify_user: Some(Arc::new(|token, effect| Box::pin(async move { judged(&token, effect) }))), on_refused: None },
        first_administrator_file: Some(place.directory().join("first-admin")),
    })
    .await
    .unwrap()
}

/// A token as these tests write one: subject, session, role, and whether a stale verifier alone would vouch for it.
fn token(subject: &[u8], session: u128, role: &str, stale: bool) -> String {
    format!("{}/{session}/{role}/{stale}", Uuid::from_slice(subject).unwrap())
}

fn judged(token: &str, effect: Effect) -> Result<VerifiedUser, Failure> {
    let [subject, session, role, stale] =
        token.split('/').collect::<Vec<_>>().try_into().map_err(|_| Failure::new(Reason::TokenInvalid))?;
    let stale = stale == "true";
    if stale && effect == Effect::Any {
        return Err(Failure::new(Reason::Unready));
    }
    let session = Uuid::from_u128(session.parse().unwrap());
    Ok(VerifiedUser { subject: subject.parse().unwrap(), user_id: "1".into(), session, roles: vec![role.to_owned()].into(), stale })
}

/// A request on behalf of whose token it is.
fn on_behalf<T>(token: &str, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

fn reason(status: &Status) -> Reason {
    Failure::from_status(status).reason()
}

async fn every_statement_is_understood_by_the_engine(engine: Engine) {
    let auth = Auth::new(engine).await;
    for statements in crate::store::STATEMENTS {
        auth.app.store.db.check(statements).await.unwrap();
    }
}

async fn a_start_is_in_the_trail_and_a_key_only_once(engine: Engine) {
    let auth = Auth::new(engine).await;
    let kinds: Vec<_> = auth.events().await.into_iter().map(|event| (event.r#type, event.object)).collect();
    assert_eq!(kinds.iter().filter(|(kind, _)| kind == "config.loaded").count(), 1);
    let migrated = kinds.iter().any(|(kind, object)| kind == "migration.run" && object == "migration:auth/0001_users");
    assert_eq!(migrated, engine == Engine::Sqlite, "{kinds:?}"); // on PostgreSQL whoever migrates tells
    let kid = crate::assertion_key(&MasterKey::new([7; 32])).unwrap().kid;
    assert!(kinds.contains(&("key.created".to_owned(), format!("key:{kid}"))));
    let Auth { app, played, place } = auth;
    drop(app);
    let app = build(&place, &played, Config::default(), Clock::system(), SMALL).await;
    let again = Auth { app, played, place };
    assert_eq!((again.told("key.created").await.len(), again.told("config.loaded").await.len()), (1, 2));
}

async fn g2_every_rpc_is_in_the_caller_table_and_nobody_else_gets_in(engine: Engine) {
    let auth = Auth::new(engine).await;
    let services = prost_types::FileDescriptorSet::decode(carelink_proto::DESCRIPTORS).unwrap();
    let service = services.file.iter().flat_map(|file| &file.service).find(|service| service.name() == "AuthService").unwrap();
    let rpcs: Vec<_> = service.method.iter().map(|rpc| format!("/carelink.auth.v1.AuthService/{}", rpc.name())).collect();
    let table: Vec<_> = crate::CALLERS.iter().map(|row| row.method.to_owned()).collect();
    assert_eq!(table, rpcs);
    let mut stranger = AuthServiceClient::new(in_process(auth.app.stack(), "audit-service"));
    let refused = stranger.list_users(carelink_proto::auth::ListUsersRequest::default()).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused)), (Code::PermissionDenied, Reason::CallerRefused));
    let no_user = auth.gateway().list_users(carelink_proto::auth::ListUsersRequest::default()).await.unwrap_err();
    assert_eq!(reason(&no_user), Reason::TokenMissing);
    let import = auth.gateway().import_users(carelink_proto::auth::ImportUsersRequest::default()).await.unwrap_err();
    assert_eq!(reason(&import), Reason::CallerRefused);
}

on_both_engines!(
    every_statement_is_understood_by_the_engine,
    a_start_is_in_the_trail_and_a_key_only_once,
    g2_every_rpc_is_in_the_caller_table_and_nobody_else_gets_in,
);

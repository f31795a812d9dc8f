//! Two replicas on one database, with the database's own clock: races between them, what one tells the other's verifiers, keys that
//! change under load, what each operation costs.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use carelink_database::{DatabaseConfig, Location, Postgres, Statement, args};
use carelink_platform::{
    clock::Clock,
    errors::Reason,
    grpc::{self, Channel},
    lifecycle::Shutdown,
    random::Random,
    secrets::SecretString,
};
use carelink_proto::token::{
    CreateSessionRequest, IntrospectRequest, KeyUse, RefreshRequest, RevokeSessionsRequest, RotateKeysRequest, SignOutRequest, Subject,
    TokenPair, WatchRequest, revoke_sessions_request::Target, token_service_client::TokenServiceClient, watch_response::Message,
};
use carelink_servers::TestDatabase;
use carelink_verifier::{Purpose, Refusal, Verifier};
use token_service::{App, Config, store};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::{
    bench::{assertion_of, build_at, kid, operator_of, reason, subject},
    place::migrated,
};

type Client = TokenServiceClient<Channel>;

/// Long enough for any machine; nothing here is measured.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Fleet {
    database: TestDatabase,
    replicas: Vec<App>,
    stop: Shutdown,
    running: Vec<JoinHandle<()>>,
}

impl Fleet {
    pub async fn of(count: usize, change: impl Fn(&mut Config)) -> Self {
        let database = migrated().await;
        let mut config = Config::default();
        change(&mut config);
        let mut replicas = Vec::new();
        for _ in 0..count {
            let at = Postgres { url: SecretString::from(database.url("carelink_token")), config: DatabaseConfig::default() };
            replicas.push(build_at(Location::Postgres(at), &config, &Clock::system(), &Random::system()).await);
        }
        Self { database, replicas, stop: Shutdown::new(), running: Vec::new() }
    }

    fn run(mut self) -> Self {
        self.running = self.replicas.iter().map(|app| tokio::spawn(app.clone().run(self.stop.clone()))).collect();
        self
    }

    async fn end(self) {
        self.stop.request();
        for running in self.running {
            running.await.unwrap();
        }
    }

    pub fn app(&self, at: usize) -> &App {
        &self.replicas[at % self.replicas.len()]
    }

    pub fn gateway(&self, at: usize) -> Client {
        TokenServiceClient::new(grpc::in_process(self.app(at).stack(), "gateway"))
    }

    fn auth(&self, at: usize) -> Client {
        TokenServiceClient::new(grpc::in_process(self.app(at).stack(), "auth-service"))
    }

    pub async fn sign_in(&self, at: usize, subject: Subject) -> (TokenPair, Vec<u8>) {
        create(self.gateway(at), assertion_of(subject, Clock::system().now())).await.unwrap()
    }

    pub fn sql(&self, text: &str) -> String {
        self.database.sql(&format!("SET search_path = carelink_token; {text}"))
    }
}

async fn create(mut gateway: Client, assertion: String) -> Result<(TokenPair, Vec<u8>), Reason> {
    let answer =
        gateway.create_session(CreateSessionRequest { assertion, ..Default::default() }).await.map_err(|status| reason(&status))?;
    let answer = answer.into_inner();
    Ok((answer.tokens.unwrap(), answer.session))
}

pub async fn refresh(mut gateway: Client, token: &str) -> Result<TokenPair, Reason> {
    let answer = gateway.refresh(RefreshRequest { refresh_token: token.into(), ..Default::default() }).await;
    answer.map(|answer| answer.into_inner().tokens.unwrap()).map_err(|status| reason(&status))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s4_twenty_callers_over_two_replicas_get_one_successor() {
    let fleet = Fleet::of(2, |_| ()).await;
    let (mut pair, session) = fleet.sign_in(0, subject(1, 1, &["nurse"])).await;
    const ROUNDS: u64 = 150;
    for _ in 0..ROUNDS {
        let racers: Vec<_> = (0..20)
            .map(|racer| {
                let (gateway, token) = (fleet.gateway(racer), pair.refresh_token.clone());
                tokio::spawn(async move { refresh(gateway, &token).await.unwrap() })
            })
            .collect();
        let mut successors = HashSet::new();
        for racer in racers {
            pair = racer.await.unwrap();
            successors.insert((pair.access_token.clone(), pair.refresh_token.clone()));
        }
        assert_eq!(successors.len(), 1);
    }
    let id = Uuid::from_slice(&session).unwrap();
    let found = store::find_session(fleet.app(0).store(), id).await.unwrap().unwrap().session;
    assert_eq!(found.generation, ROUNDS, "each round moved it once");
    let counters = fleet.sql(&format!("SELECT count(*), max(counter), count(DISTINCT counter) FROM outbox WHERE session = '{id}'"));
    let events = 1 + ROUNDS * 20; // its beginning, and each call: moved or replayed
    assert_eq!(counters.lines().last().unwrap(), format!("{events}|{events}|{events}"), "counted without gaps or doubles");
}

/// Refreshes that come at once share a statement: of many sessions, of the same one with the same token, of the same one with another.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s4_refreshes_of_many_sessions_at_once_are_each_judged_by_their_own() {
    const ROUNDS: u64 = 10;
    let fleet = Arc::new(Fleet::of(2, |_| ()).await);
    let call = |at: usize, pair: &TokenPair| {
        let (gateway, token) = (fleet.gateway(at), pair.refresh_token.clone());
        tokio::spawn(async move { refresh(gateway, &token).await })
    };
    let mut sessions = Vec::new();
    for user in 1..=40 {
        let (first, id) = fleet.sign_in(0, subject(user, 1, &[])).await;
        sessions.push((first.clone(), first, Uuid::from_slice(&id).unwrap()));
    }
    for _ in 0..ROUNDS {
        let calls: Vec<_> = sessions.iter().map(|(_, now, _)| [0, 0, 1, 1].map(|at| call(at, now))).collect();
        for (calls, session) in calls.into_iter().zip(&mut sessions) {
            let mut successors = HashSet::new();
            for call in calls {
                session.1 = call.await.unwrap().unwrap();
                successors.insert(session.1.refresh_token.clone());
            }
            assert_eq!(successors.len(), 1);
        }
    }
    for (_, _, id) in &sessions {
        let found = store::find_session(fleet.app(0).store(), *id).await.unwrap().unwrap().session;
        assert_eq!((found.generation, found.ended), (ROUNDS, None));
    }
    let calls: Vec<_> = sessions.iter().map(|(first, now, _)| [call(0, now), call(0, first)]).collect();
    for ([now, stolen], (_, _, id)) in calls.into_iter().zip(sessions) {
        assert_eq!(stolen.await.unwrap(), Err(Reason::SessionReused));
        assert!(matches!(now.await.unwrap(), Ok(_) | Err(Reason::SessionRevoked)));
        assert!(store::find_session(fleet.app(0).store(), id).await.unwrap().unwrap().session.ended.is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s10_one_assertion_at_two_replicas_at_once_begins_one_session() {
    let fleet = Fleet::of(2, |_| ()).await;
    for user in 1..=20 {
        let assertion = assertion_of(subject(user, 1, &[]), Clock::system().now());
        let calls: Vec<_> = (0..6).map(|at| tokio::spawn(create(fleet.gateway(at), assertion.clone()))).collect();
        let mut answers = HashSet::new();
        for call in calls {
            let (pair, session) = call.await.unwrap().unwrap();
            answers.insert((pair.access_token, pair.refresh_token, session));
        }
        assert_eq!(answers.len(), 1);
    }
}

/// Everything that ends or changes sessions, at once, over the same few users and their sessions.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s11_racing_changes_over_two_replicas_lock_up_nowhere_and_number_without_gaps() {
    const USERS: u8 = 4;
    let fleet = Arc::new(Fleet::of(2, |_| ()).await);
    for round in 0..15_u64 {
        let mut sessions = Vec::new();
        for user in 0..USERS {
            for _ in 0..2 {
                sessions.push(fleet.sign_in(usize::from(user), subject(user + 1, 3 * round + 1, &["nurse", "doctor"])).await);
            }
        }
        let mut calls: Vec<JoinHandle<()>> = Vec::new();
        for at in 0..2_usize {
            let mut subjects: Vec<Subject> = (0..USERS)
                .map(|user| Subject {
                    active: user % 2 == 0 || at == 0,
                    min_version: if user % 2 == 0 { 0 } else { 3 * round + 2 },
                    end_reason: "disabled".into(),
                    ..subject(user + 1, 3 * round + 2 + at as u64, &["nurse"])
                })
                .collect();
            if at == 1 {
                subjects.reverse();
            }
            let mut auth = fleet.auth(at);
            calls.push(tokio::spawn(async move {
                auth.apply_subjects(carelink_proto::token::ApplySubjectsRequest { subjects }).await.unwrap();
            }));
        }
        for (at, (pair, id)) in sessions.iter().enumerate() {
            let (mut gateway, token) = (fleet.gateway(at), pair.refresh_token.clone());
            calls.push(tokio::spawn(async move {
                let _ = gateway
                    .refresh(RefreshRequest { refresh_token: token.clone(), ..Default::default() })
                    .await
                    .map_err(|status| expected(&status));
                let _ = gateway
                    .sign_out(SignOutRequest { refresh_token: token, ..Default::default() })
                    .await
                    .map_err(|status| expected(&status));
            }));
            let (mut operator, id) = (operator_of(fleet.app(at + 1)), id.clone());
            calls.push(tokio::spawn(async move {
                let request = RevokeSessionsRequest { target: Some(Target::Session(id)), reason: "a race".into() };
                operator.revoke_sessions(request).await.unwrap();
            }));
        }
        for user in 0..USERS {
            let mut operator = operator_of(fleet.app(usize::from(user)));
            calls.push(tokio::spawn(async move {
                let request = RevokeSessionsRequest { target: Some(Target::Subject(vec![user + 1; 16])), reason: "a race".into() };
                operator.revoke_sessions(request).await.unwrap();
            }));
        }
        for call in calls {
            call.await.unwrap();
        }
    }
    assert_eq!(fleet.sql("SELECT count(*) FROM session WHERE ended_at IS NULL").lines().last().unwrap(), "0");
    let numbers = fleet.sql("SELECT count(*) = max(number) AND max(number) = (SELECT number FROM revocation_head) FROM revocation");
    assert_eq!(numbers.lines().last().unwrap(), "t", "numbered without gaps");
    let ended = "SELECT count(*) FROM session AS s WHERE (SELECT count(*) FROM revocation AS r WHERE r.session = s.id AND r.generation IS NULL) <> 1";
    assert_eq!(fleet.sql(ended).lines().last().unwrap(), "0", "each ended once");
}

/// A session that somebody else ended says so; nothing else may go wrong.
fn expected(status: &tonic::Status) {
    let reason = reason(status);
    assert!(matches!(reason, Reason::SessionRevoked | Reason::UserInactive), "{reason:?}: {status:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn v2_what_one_replica_revokes_a_verifier_at_the_other_refuses() {
    let fleet = Fleet::of(2, |_| ()).await.run();
    let verifier = Verifier::start(carelink_verifier::Config::named("ward"), grpc::in_process(fleet.app(1).stack(), "gateway"));
    tokio::time::timeout(PATIENCE, verifier.ready()).await.unwrap();
    for _ in 0..20 {
        let (pair, _) = fleet.sign_in(0, subject(1, 1, &[])).await;
        verifier.check(&pair.access_token, Purpose::Edge).await.unwrap();
        let mut gateway = fleet.gateway(0);
        let answer = gateway.sign_out(SignOutRequest { refresh_token: pair.refresh_token, ..Default::default() }).await.unwrap();
        assert!(verifier.caught_up(answer.into_inner().revocation, PATIENCE).await);
        assert_eq!(verifier.check(&pair.access_token, Purpose::Edge).await.unwrap_err(), Refusal::Revoked);
    }
    assert!(verifier.status().stale_since.is_none(), "and it hears heartbeats with the pulse's time");
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn k1_keys_that_change_under_load_refuse_nobody_at_either_replica() {
    let fleet = Arc::new(Fleet::of(2, |config| config.token.publish_keys_for = Duration::ZERO).await.run());
    let mut verifiers = Vec::new();
    for at in 0..2 {
        let verifier = Verifier::start(carelink_verifier::Config::named("ward"), grpc::in_process(fleet.app(at).stack(), "gateway"));
        tokio::time::timeout(PATIENCE, verifier.ready()).await.unwrap();
        verifiers.push(verifier);
    }
    let (done, refreshed) = (Shutdown::new(), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..8_u8)
        .map(|user| {
            let (fleet, verifiers, done, refreshed) = (Arc::clone(&fleet), verifiers.clone(), done.clone(), Arc::clone(&refreshed));
            tokio::spawn(async move {
                let (mut pair, _) = fleet.sign_in(user.into(), subject(user + 1, 1, &[])).await;
                let (mut turn, mut keys) = (usize::from(user), HashSet::new());
                while !done.is_requested() {
                    turn += 1;
                    pair = refresh(fleet.gateway(turn), &pair.refresh_token).await.unwrap();
                    refreshed.fetch_add(1, Ordering::Relaxed);
                    keys.insert(kid(&pair.access_token));
                    for verifier in &verifiers {
                        verifier.check(&pair.access_token, Purpose::Edge).await.unwrap();
                    }
                    let token = pair.refresh_token.clone();
                    assert!(fleet.gateway(turn + 1).introspect(IntrospectRequest { token }).await.unwrap().into_inner().active);
                }
                keys
            })
        })
        .collect();
    for turn in 0..6 {
        let request = RotateKeysRequest { r#use: KeyUse::Unspecified.into(), reason: "under load".into() };
        assert!(operator_of(fleet.app(turn)).rotate_keys(request).await.unwrap().into_inner().done);
        let before = refreshed.load(Ordering::Relaxed);
        let more = async {
            while refreshed.load(Ordering::Relaxed) < before + 24 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, more).await.expect("clients go on");
    }
    done.request();
    let mut keys = HashSet::new();
    for client in clients {
        keys.extend(client.await.unwrap());
    }
    assert!(keys.len() > 1, "nothing was signed by a new key");
    for verifier in verifiers {
        assert!(verifier.status().stale_since.is_none());
    }
    Arc::into_inner(fleet).unwrap().end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r1_another_life_of_the_database_ends_every_stream() {
    let fleet = Fleet::of(2, |_| ()).await.run();
    let mut stream = fleet.gateway(1).watch(WatchRequest {}).await.unwrap().into_inner();
    let Some(Message::Snapshot(before)) = stream.message().await.unwrap().unwrap().message else { panic!("a snapshot comes first") };
    fleet.sql("UPDATE revocation_head SET incarnation = gen_random_uuid(), number = 7, keys = keys + 1");
    while let Ok(Some(message)) = tokio::time::timeout(PATIENCE, stream.message()).await.unwrap() {
        if let Some(Message::Heartbeat(beat)) = message.message {
            assert_eq!(beat.incarnation, before.incarnation, "nothing of the other life is told");
        }
    }
    let mut stream = fleet.gateway(1).watch(WatchRequest {}).await.unwrap().into_inner();
    let Some(Message::Snapshot(after)) = stream.message().await.unwrap().unwrap().message else { panic!("a snapshot comes first") };
    assert_ne!(after.incarnation, before.incarnation);
    assert_eq!(after.head, 7);
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_that_start_at_once_make_one_set_of_keys() {
    let database = migrated().await;
    let at = Postgres { url: SecretString::from(database.url("carelink_token")), config: DatabaseConfig::default() };
    let build = || {
        let at = Location::Postgres(at.clone());
        tokio::spawn(async move { build_at(at, &Config::default(), &Clock::system(), &Random::system()).await })
    };
    let building: Vec<_> = (0..4).map(|_| build()).collect();
    for app in building {
        app.await.unwrap();
    }
    assert_eq!(database.sql("SELECT count(*) FROM carelink_token.signing_key"), "4");
}

/// What the statement of a refresh costs: one round trip, whatever comes of it; the calls around it as declared.
#[tokio::test(flavor = "multi_thread")]
async fn every_operation_keeps_to_its_declared_round_trips() {
    if std::env::var_os("NEXTEST").is_none() {
        return; // tests that share a process would count each other's
    }
    let fleet = Fleet::of(1, |_| ()).await;
    static NOTHING: Statement = Statement::shared("t_nothing", "SELECT 1 AS one");
    fleet.app(0).store().db.query(&NOTHING, args![]).await.unwrap(); // a connection is there
    let trips = || -> u64 {
        let text = carelink_platform::telemetry::metrics_handle().render();
        let counters = text.lines().filter(|line| line.starts_with("carelink_database_round_trips_total{"));
        counters.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    };
    let spent = std::cell::Cell::new(trips());
    let check = |what: &str, budget: u64| {
        let now = trips();
        assert_eq!(now - spent.replace(now), budget, "{what}");
    };
    let (first, _) = fleet.sign_in(0, subject(1, 1, &["nurse"])).await;
    check("the first sign-in: begin, find, put, sessions, create, commit", 6);
    fleet.sign_in(0, subject(1, 1, &["nurse"])).await;
    check("sign in: begin, lock the subject, create, commit", 4);
    let second = refresh(fleet.gateway(0), &first.refresh_token).await.unwrap();
    check("refresh", 1);
    refresh(fleet.gateway(0), &first.refresh_token).await.unwrap();
    check("refresh, replayed", 2);
    fleet.gateway(0).introspect(IntrospectRequest { token: second.refresh_token.clone() }).await.unwrap();
    check("introspect", 1);
    fleet.gateway(0).sign_out(SignOutRequest { refresh_token: second.refresh_token.clone(), ..Default::default() }).await.unwrap();
    check("sign out: begin, end, event, revoke, commit", 5);
    let subjects = (1..=9).map(|user| Subject { active: user > 1, ..subject(user, 2, &[]) }).collect();
    fleet.auth(0).apply_subjects(carelink_proto::token::ApplySubjectsRequest { subjects }).await.unwrap();
    check("subjects, however many: begin, find, put, sessions, end, events, revoke, commit", 8);
    store::head(fleet.app(0).store()).await.unwrap();
    check("a look at the head", 1);
}

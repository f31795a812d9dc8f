//! How many refreshes a second, and what each costs: the statement alone, and through the service's whole stack in process.
//!
//! `cargo run --release -p token-service --example refresh_bench [seconds]`; TMPDIR says on which disk. Nothing delivers events.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::cast_precision_loss, clippy::indexing_slicing)] // a measurement

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use carelink_database::trail::Trail;
use carelink_platform::{clock::Clock, events::EventType, grpc, random::Random, seal::SealingKeyPair, secrets::MasterKey};
use carelink_proto::{
    audit::audit_service_client::AuditServiceClient,
    token::{Assertion, CreateSessionRequest, RefreshRequest, Subject, token_service_client::TokenServiceClient},
};
use prost::Message;
use token_service::{
    App, Config, Options,
    domain::{presented::Presented, session::Jti},
    store::{self, Rotation},
};
use tonic::Status;
use uuid::Uuid;

/// The load at once.
const CALLERS: [usize; 3] = [1, 16, 64];

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(2);
    let dir = tempfile::tempdir().unwrap();
    let signer = Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap();
    let nobody = tower::service_fn(|_| async { Err::<http::Response<tonic::body::Body>, _>(Status::unavailable("nobody")) });
    let (random, sealing) = (Random::system(), SealingKeyPair::from_secret(&[2; 32]).unwrap().public().clone());
    let options = Options {
        config: Config::default(),
        backlog: carelink_database::backlog::BacklogConfig::default(),
        database: dir.path().join("token.sqlite3").into(),
        clock: Clock::system(),
        random: random.clone(),
        master: MasterKey::new([1; 32]),
        sealing: sealing.clone(),
        assertion_keys: vec![signer.public_key().as_ref().try_into().unwrap()],
        audit: AuditServiceClient::new(carelink_verifier::channel(nobody)),
    };
    let app = App::build(options).await.unwrap();
    let gateway = TokenServiceClient::new(grpc::in_process(app.stack(), "gateway"));
    println!("{:<22}{:>10}{:>12}{:>12}{:>14}", "", "a second", "p50 (ms)", "p99 (ms)", "CPU each (us)");
    for callers in CALLERS {
        let mut tokens = Vec::new();
        for _ in 0..callers {
            let assertion = sign(&signer, &random);
            let answer = gateway.clone().create_session(CreateSessionRequest { assertion, ..Default::default() }).await.unwrap();
            tokens.push(answer.into_inner());
        }
        let sessions: Vec<Uuid> = tokens.iter().map(|token| Uuid::from_slice(&token.session).unwrap()).collect();
        let rotate = {
            let trail = Trail::new(app.store().db.clone(), "token", "token-service", random.clone(), sealing.clone());
            let (app, random) = (app.clone(), random.clone());
            move |session: Uuid| {
                let (app, trail, random) = (app.clone(), trail.clone(), random.clone());
                async move {
                    let found = store::find_session(app.store(), session).await.unwrap().unwrap().session;
                    let mut presented = Presented { session, generation: found.generation, jti: found.jti };
                    move || {
                        let (app, trail, random, now) = (app.clone(), trail.clone(), random.clone(), presented);
                        let jti = Jti(random.bytes());
                        presented = Presented { session, generation: now.generation + 1, jti };
                        async move {
                            let rotation = Rotation {
                                jti,
                                deadline: trail.now() + Duration::from_secs(5),
                                access_lifetime: Duration::from_secs(900),
                                access_kid: "a",
                                refresh_kid: "r",
                                event: trail
                                    .note(EventType::SessionRefreshed, trail.now(), |event| event.detail("generation", now.generation)),
                                call: None,
                            };
                            assert!(store::refresh(app.store(), &now, rotation).await.unwrap().unwrap().moved);
                        }
                    }
                }
            }
        };
        let mut alone = Vec::new();
        for session in random_sessions(&gateway, &signer, &random, sessions.len()).await {
            alone.push(rotate(session).await);
        }
        report("the statement alone", callers, measure(alone, seconds).await);
        let through = tokens.into_iter().map(|begun| {
            let held = Arc::new(tokio::sync::Mutex::new(begun.tokens.unwrap().refresh_token));
            let gateway = gateway.clone();
            move || {
                let (held, mut gateway) = (Arc::clone(&held), gateway.clone());
                async move {
                    let mut held = held.lock().await;
                    let answer = gateway.refresh(RefreshRequest { refresh_token: held.clone(), ..Default::default() }).await.unwrap();
                    *held = answer.into_inner().tokens.unwrap().refresh_token;
                }
            }
        });
        report("through the stack", callers, measure(through.collect(), seconds).await);
    }
}

async fn random_sessions(gateway: &TokenServiceClient<grpc::Channel>, signer: &Ed25519KeyPair, random: &Random, count: usize) -> Vec<Uuid> {
    let mut sessions = Vec::new();
    for _ in 0..count {
        let request = CreateSessionRequest { assertion: sign(signer, random), ..Default::default() };
        let begun = gateway.clone().create_session(request).await.unwrap().into_inner();
        sessions.push(Uuid::from_slice(&begun.session).unwrap());
    }
    sessions
}

/// Calls for so long, one task a caller; every latency, and the CPU of the process.
async fn measure<C, F>(callers: Vec<C>, seconds: u64) -> (Duration, Vec<Duration>, Duration)
where
    C: FnMut() -> F + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let stop = Arc::new(AtomicBool::new(false));
    let (began, cpu) = (Instant::now(), cpu_time());
    let tasks = callers.into_iter().map(|mut call| {
        let stop = Arc::clone(&stop);
        tokio::spawn(async move {
            let mut latencies = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                call().await;
                latencies.push(began.elapsed());
            }
            latencies
        })
    });
    let tasks: Vec<_> = tasks.collect();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    stop.store(true, Ordering::Relaxed);
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.unwrap());
    }
    (began.elapsed(), latencies, cpu_time() - cpu)
}

fn report(what: &str, callers: usize, (took, mut latencies, cpu): (Duration, Vec<Duration>, Duration)) {
    latencies.sort_unstable();
    let at = |share: usize| latencies[(latencies.len() - 1) * share / 100].as_secs_f64() * 1e3;
    println!(
        "{:<22}{:>10.0}{:>12.2}{:>12.2}{:>14.1}",
        format!("{what}, {callers}"),
        latencies.len() as f64 / took.as_secs_f64(),
        at(50),
        at(99),
        cpu.as_secs_f64() * 1e6 / latencies.len() as f64
    );
}

/// Of this process, on Linux.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let ticks: u64 = after.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// What auth-service would sign.
fn sign(signer: &Ed25519KeyPair, random: &Random) -> String {
    let subject = Subject { id: vec![1; 16], user_id: 1, version: 1, active: true, roles: vec!["nurse".into()], ..Default::default() };
    let said = Assertion {
        id: random.uuid_v4().as_bytes().to_vec(),
        subject: Some(subject),
        amr: vec!["pwd".into()],
        acr: "urn:carelink:acr:password".into(),
        issued_us: Clock::system().now().as_micros(),
        audience: "token-service".into(),
        presenter: "gateway".into(),
    };
    let kid = carelink_verifier::thumbprint(&signer.public_key().as_ref().try_into().unwrap());
    let header = format!(r#"{{"alg":"EdDSA","typ":"carelink-assertion+jwt","kid":"{kid}"}}"#);
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(said.encode_to_vec()));
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signer.sign(signed.as_bytes())))
}

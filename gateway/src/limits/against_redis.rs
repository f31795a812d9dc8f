//! Limits that are shared, against a real Redis.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use carelink_platform::random::Random;
use carelink_servers::Redis;
use metrics_exporter_prometheus::PrometheusBuilder;
use redis::{AsyncTypedCommands, aio::MultiplexedConnection};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::Instant,
};
use tokio_rustls::TlsAcceptor;

use super::{
    Budget, Budgets, Limits, LimitsConfig, Scope, Throttled,
    gcra::Rate,
    local::{Operation, Who},
    shared::{Patience, Shared},
};

/// As patient as a test is, where the question is not how long somebody waits.
const PATIENT: Patience = Patience { answer: Duration::from_secs(20), connect: Duration::from_secs(20), look: Duration::from_millis(20) };
/// So that a Redis that stands still is noticed soon.
const IMPATIENT: Patience = Patience { answer: Duration::from_millis(500), connect: Duration::from_millis(500), ..PATIENT };

const HOSPITAL: [u8; 4] = [192, 0, 2, 1];

/// Limits as a gateway has them, and whoever keeps the connection.
struct Gateway {
    limits: Arc<Limits>,
    keeping: JoinHandle<()>,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.keeping.abort();
    }
}

impl std::ops::Deref for Gateway {
    type Target = Limits;

    fn deref(&self) -> &Limits {
        &self.limits
    }
}

/// Budgets that do not refill while a test runs.
fn config() -> LimitsConfig {
    let budgets = Budgets { network: Budget { burst: 50, per_minute: 1 }, account: Budget { burst: 10, per_minute: 1 } };
    LimitsConfig { sign_in: budgets, refresh: budgets, ..LimitsConfig::default() }
}

fn gateway(redis: &Redis, patience: Patience) -> Gateway {
    gateway_at(&LimitsConfig { redis_url: Some(redis.url().parse().unwrap()), ..config() }, patience)
}

fn gateway_at(config: &LimitsConfig, patience: Patience) -> Gateway {
    let mut limits = Limits::new(config).unwrap();
    limits.shared = config.redis().unwrap().map(|client| Shared::with_patience(client, config.key().unwrap(), patience));
    let limits = Arc::new(limits);
    let keeping = tokio::spawn({
        let limits = Arc::clone(&limits);
        async move { limits.keep().await }
    });
    Gateway { limits, keeping }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < Duration::from_secs(60), "never came to pass: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Gateway {
    async fn shares(&self) {
        until("shares its limits", async || self.limits.shared.as_ref().unwrap().answers()).await;
    }

    async fn is_alone(&self) {
        until("limits by itself", async || !self.limits.shared.as_ref().unwrap().answers()).await;
    }

    async fn refresh(&self, session: &str) -> Result<(), Throttled> {
        self.limits.refresh(HOSPITAL.into(), || Some(session.to_owned())).await
    }

    /// How many more get through.
    async fn left(&self, session: &str) -> usize {
        let mut passed = 0;
        while self.refresh(session).await.is_ok() {
            passed += 1;
        }
        passed
    }
}

async fn connection(redis: &Redis) -> MultiplexedConnection {
    redis::Client::open(redis.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_gateways_share_one_budget_and_tell_the_same_time_to_wait() {
    let redis = Redis::start().await;
    let (one, other) = (gateway(&redis, PATIENT), gateway(&redis, PATIENT));
    one.shares().await;
    other.shares().await;
    for _ in 0..5 {
        one.refresh("a").await.unwrap();
        other.refresh("a").await.unwrap();
    }
    for gateway in [&one, &other] {
        let throttled = gateway.refresh("a").await.unwrap_err();
        assert_eq!(throttled.scope, Scope::Account);
        assert!((Duration::from_secs(20)..=Duration::from_secs(60)).contains(&throttled.retry_after), "{throttled:?}");
    }
    for session in ["b", "c", "d", "e"] {
        assert_eq!(other.left(session).await, 10, "{session}");
    }
    assert_eq!(one.refresh("f").await.unwrap_err().scope, Scope::Network, "50 from here, whichever way");
    one.limits.refresh([192, 0, 2, 2].into(), || Some("a".to_owned())).await.unwrap();
    one.limits.sign_in(HOSPITAL.into(), "a").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_gateways_admit_not_one_too_many() {
    let redis = Redis::start().await;
    let gateways: Vec<_> = (0..4).map(|_| gateway(&redis, PATIENT)).collect();
    for gateway in &gateways {
        gateway.shares().await;
    }
    let racing = (0..400).map(|n| gateways[n % 4].refresh(["a", "b", "c", "d", "e", "f", "g"][n % 7]));
    let passed = futures::future::join_all(racing).await.into_iter().filter(Result::is_ok).count();
    assert_eq!(passed, 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_a_gateway_goes_on_by_itself_and_comes_back_by_itself() {
    let redis = Redis::start().await;
    let (one, other) = (gateway(&redis, PATIENT), gateway(&redis, PATIENT));
    one.shares().await;
    other.shares().await;
    for _ in 0..4 {
        one.refresh("a").await.unwrap();
    }
    assert_eq!(other.left("a").await, 6);
    redis.kill();
    one.is_alone().await;
    other.is_alone().await;
    assert_eq!(other.left("a").await, 0, "what Redis said last is remembered");
    assert_eq!(one.left("a").await, 6, "what others charged since it was last asked is not");
    redis.restart();
    one.shares().await;
    other.shares().await;
    assert_eq!(one.left("a").await, 0, "what was charged here while Redis was away stays charged here");
    assert_eq!(one.left("b").await + other.left("b").await, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_stands_still_makes_hardly_anybody_wait() {
    let redis = Redis::start().await;
    let gateway = gateway(&redis, IMPATIENT);
    gateway.shares().await;
    redis.stall();
    let began = Instant::now();
    futures::future::join_all(["a", "b", "c", "d"].map(|session| gateway.refresh(session))).await.into_iter().for_each(Result::unwrap);
    assert!(began.elapsed() < Duration::from_secs(30), "they waited once, together");
    gateway.is_alone().await;
    let began = Instant::now();
    for _ in 0..1_000 {
        let _ = gateway.refresh("a").await;
    }
    assert!(began.elapsed() < Duration::from_secs(20), "nobody waits for it any more: {:?}", began.elapsed());
    redis.resume();
    gateway.shares().await;
    assert_eq!(gateway.left("a").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_always_too_slow_counts_as_away() {
    let redis = Redis::start().await;
    let (listener, slow) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), Arc::new(AtomicBool::new(true)));
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let (port, hesitates) = (redis.port(), Arc::clone(&slow));
    let between = tokio::spawn(async move {
        loop {
            let (outside, slow) = (listener.accept().await.unwrap().0, Arc::clone(&hesitates));
            tokio::spawn(async move {
                let inside = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let ((mut ask, mut told), (mut answers, mut asked)) = (outside.into_split(), inside.into_split());
                tokio::spawn(async move { tokio::io::copy(&mut ask, &mut asked).await });
                let mut some = [0; 4096];
                while let Ok(length @ 1..) = answers.read(&mut some).await {
                    if slow.load(Ordering::Relaxed) {
                        tokio::time::sleep(Duration::from_millis(400)).await;
                    }
                    if told.write_all(&some[..length]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let patience = Patience { answer: Duration::from_millis(200), connect: Duration::from_secs(1), ..PATIENT };
    let gateway = gateway_at(&LimitsConfig { redis_url: Some(url.parse().unwrap()), ..config() }, patience);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        assert!(!gateway.limits.shared.as_ref().unwrap().answers());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    slow.store(false, Ordering::Relaxed);
    gateway.shares().await;
    between.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_that_redis_forgot_is_given_to_it_again() {
    let redis = Redis::start().await;
    let gateway = gateway(&redis, PATIENT);
    gateway.shares().await;
    let mut connection = connection(&redis).await;
    for n in 0..5 {
        let _: () = redis::cmd("SCRIPT").arg("FLUSH").arg("SYNC").query_async(&mut connection).await.unwrap();
        gateway.refresh("a").await.unwrap();
        let left = connection.keys("carelink:{*}:refresh:*").await.unwrap();
        assert_eq!(left.len(), 1, "{n}: it was charged there");
    }
    assert_eq!(gateway.left("a").await, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_takes_no_charges_counts_as_away() {
    let redis = Redis::start().await;
    let mut connection = connection(&redis).await;
    let full = async |connection: &mut MultiplexedConnection, bytes: &str| {
        let _: () = redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(bytes).query_async(connection).await.unwrap();
    };
    full(&mut connection, "1").await;
    let gateway = gateway(&redis, PATIENT);
    for _ in 0..10 {
        gateway.refresh("a").await.unwrap();
    }
    assert!(!gateway.limits.shared.as_ref().unwrap().answers());
    full(&mut connection, "0").await;
    gateway.shares().await;
    full(&mut connection, "1").await;
    gateway.is_alone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_in_redis_is_hashed_expires_and_may_be_nonsense() {
    let redis = Redis::start().await;
    let gateway = gateway(&redis, PATIENT);
    gateway.shares().await;
    for _ in 0..3 {
        gateway.limits.sign_in(HOSPITAL.into(), "amina").await.unwrap();
    }
    let mut connection = connection(&redis).await;
    let keys = connection.keys("*").await.unwrap();
    assert!(keys.len() >= 2, "{keys:?}");
    for key in keys.iter().filter(|key| !key.contains("probe")) {
        assert!(key.starts_with("carelink:{") && !key.contains("192") && !key.contains("amina"), "{key}");
        let left: i64 = redis::cmd("PTTL").arg(key).query_async(&mut connection).await.unwrap();
        assert!((60_000..=180_000).contains(&left), "three charges flow off in three minutes: {left}");
        connection.set(key, "nonsense").await.unwrap();
    }
    gateway.limits.sign_in(HOSPITAL.into(), "amina").await.unwrap();
}

#[tokio::test]
async fn a_metric_says_whether_limits_are_shared() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let rendered = recorder.handle();
    let _here = metrics::set_default_local_recorder(&recorder);
    let shared = async |value: &str| {
        let line = format!("carelink_limits_shared {value}\n");
        until(&line, async || rendered.render().contains(&line)).await;
    };
    let redis = Redis::start().await;
    let _gateway = gateway(&redis, PATIENT);
    shared("1").await;
    redis.kill();
    shared("0").await;
    redis.restart();
    shared("1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_takes_the_script_too() {
    let redis = Redis::start_with(&["--cluster-enabled", "yes"]).await;
    let mut connection = connection(&redis).await;
    let _: () = redis::cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(0).arg(16_383).query_async(&mut connection).await.unwrap();
    let gateway = gateway(&redis, PATIENT);
    gateway.shares().await;
    assert_eq!(gateway.left("a").await, 10);
    assert_eq!(connection.keys("carelink:{*}:refresh*").await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_needs_no_more_of_redis_than_it_uses() {
    let rights = "gateway on >s3cret ~carelink:* -@all +evalsha +script|load +mget +set +time";
    let arguments: Vec<&str> = std::iter::once("--user").chain(rights.split(' ')).collect();
    let redis = Redis::start_with(&arguments).await;
    let url = redis.url().replace("redis://", "redis://gateway:s3cret@");
    let gateway = gateway_at(&LimitsConfig { redis_url: Some(url.parse().unwrap()), ..config() }, PATIENT);
    gateway.shares().await;
    assert_eq!(gateway.left("a").await, 10);
}

/// Redis behind TLS: whoever shows a certificate of the authority named is believed, and nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encrypted_redis_is_believed_by_its_authority_alone() {
    let redis = Redis::start().await;
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("rediss://localhost:{}", listener.local_addr().unwrap().port());
    let port = redis.port();
    let wrapping = tokio::spawn(async move {
        loop {
            let (plain, acceptor) = (listener.accept().await.unwrap().0, acceptor.clone());
            tokio::spawn(async move {
                let Ok(mut outside) = acceptor.accept(plain).await else { return };
                let mut inside = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
            });
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let authority = |name: &str, pem: String| {
        let path = dir.path().join(name);
        std::fs::write(&path, pem).unwrap();
        LimitsConfig { redis_url: Some(url.parse().unwrap()), redis_ca_file: Some(path), ..self::config() }
    };
    let stranger = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let doubting = gateway_at(&authority("other.pem", stranger.cert.pem()), PATIENT);
    let believing = gateway_at(&authority("own.pem", made.cert.pem()), PATIENT);
    believing.shares().await;
    assert_eq!(believing.left("a").await, 10);
    assert!(!doubting.limits.shared.as_ref().unwrap().answers());
    doubting.refresh("a").await.unwrap();
    wrapping.abort();
}

/// The same charges by the rule in Rust and by the rule in Lua: both let through the same ones and tell the same wait, but for what
/// passes between two looks at the clock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_script_is_the_rule() {
    let redis = Redis::start().await;
    let shared = config_of(&redis);
    let keeping = tokio::spawn({
        let shared = Arc::clone(&shared);
        async move { shared.keep().await }
    });
    until("connects", async || shared.answers()).await;
    let random = Random::seeded(3);
    for round in 0..40 {
        let [burst_n, burst_a, rate_n, rate_a, accounts, ..] = random.bytes::<8>();
        let budget = |burst: u8, rate: u8| Budget { burst: u32::from(burst % 20) + 1, per_minute: u32::from(rate % 2) + 1 };
        let budgets = Budgets { network: budget(burst_n, rate_n), account: budget(burst_a, rate_a) };
        let name: &'static str = Box::leak(format!("round{round}").into_boxed_str());
        let here = Operation::new(name, budgets);
        let began = Instant::now();
        for n in 0..30 {
            let account = (accounts % 3 > 0).then(|| (n % (u32::from(accounts % 3) + 1)).to_string());
            let now = u64::try_from(began.elapsed().as_nanos()).unwrap();
            let who = Who { network: HOSPITAL.into(), counts: n % 7 > 0 || account.is_none(), account: account.as_deref() };
            if n % 5 == 4 {
                here.refund(here.charged(who), now);
                shared.refund(&here, who).await;
            }
            let by_rust = here.charge(here.charged(who), now);
            let by_lua = shared.charge(&here, who).await.unwrap().judged(&here);
            match (by_rust, by_lua) {
                (Ok(()), Ok(())) => {}
                (Err(rust), Err(lua)) => {
                    assert_eq!(rust.scope, lua.scope, "{round} {n}");
                    assert!(rust.retry_after.abs_diff(lua.retry_after) < Duration::from_secs(5), "{round} {n}: {rust:?} {lua:?}");
                }
                differ => panic!("{round} {n} {budgets:?}: {differ:?}"),
            }
        }
    }
    keeping.abort();
}

fn config_of(redis: &Redis) -> Arc<Shared> {
    let config = LimitsConfig { redis_url: Some(redis.url().parse().unwrap()), ..config() };
    Arc::new(Shared::with_patience(config.redis().unwrap().unwrap(), config.key().unwrap(), PATIENT))
}

#[test]
fn a_rate_that_nobody_needs_is_a_rate_all_the_same() {
    let rate = Rate::new(Budget { burst: u32::MAX, per_minute: u32::MAX });
    assert_eq!(rate.charge(0), Ok(13));
}

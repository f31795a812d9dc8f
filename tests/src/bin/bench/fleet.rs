//! A fleet against its own PostgreSQL in the same run: refreshes against bare durable one-row updates (`pgbench`), refreshes in a
//! flood of sign-ins against calm ones, and how long a revocation takes from one token-service to the gateway of the other.

use std::{
    fs,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use carelink_tests::{
    PASSWORD, figure,
    fleet::{Fleet, Nurse, Plan, Times},
};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use tokio::time::{Instant, sleep, sleep_until};

use super::{Caller, Operation, connect, once, try_connect};

const CALLERS: &[usize] = &[16, 64];
const ROUNDS: usize = 3;
/// Who refreshes while others flood, and how long each of them pauses.
const AT_WORK: usize = 16;
const PAUSE: Duration = Duration::from_millis(20);
const REVOCATIONS: usize = 300;

/// Measures it all, or what the words name; a word with `=` is a setting for every process.
pub(super) async fn measure(seconds: f64, words: &[String]) {
    let (settings, parts): (Vec<&str>, Vec<&str>) = words.iter().map(String::as_str).partition(|word| word.contains('='));
    let plan =
        settings.iter().filter_map(|setting| setting.split_once('=')).fold(Plan::default(), |plan, (key, value)| plan.set(key, value));
    let wanted = |part: &str| parts.is_empty() || parts.contains(&part);
    if wanted("refreshes") {
        refreshes(plan.clone(), seconds).await;
    }
    if wanted("flood") {
        flood(dear(plan.clone()), seconds).await;
    }
    if wanted("revocations") {
        revocations(plan.pinned()).await;
    }
}

/// Callers with sessions, each with a connection to one of the gateways.
async fn callers(fleet: &Fleet, prefix: &str, count: usize) -> Vec<Caller> {
    let nurses = fleet.nurses(prefix, count).await;
    let gateways = fleet.of(carelink_tests::fleet::Service::Gateway);
    let mut callers = Vec::new();
    for (at, nurse) in nurses.iter().enumerate() {
        let pair = nurse.held();
        let sender = connect(gateways[at % gateways.len()].at).await;
        callers.push(Caller { sender, access: pair.access, refresh: pair.refresh });
    }
    callers
}

/// Everybody refreshes again and again, with or without a pause.
async fn drive(callers: Vec<Caller>, seconds: f64, pause: Duration) -> (Vec<Caller>, f64, Times) {
    let (began, end) = (Instant::now(), Instant::now() + Duration::from_secs_f64(seconds));
    let jobs: Vec<_> = callers
        .into_iter()
        .map(|mut caller| {
            tokio::spawn(async move {
                let mut took = Vec::new();
                while Instant::now() < end {
                    let began = Instant::now();
                    once(&mut caller, Operation::Refresh).await;
                    took.push(began.elapsed());
                    if !pause.is_zero() {
                        sleep(pause).await;
                    }
                }
                (caller, took)
            })
        })
        .collect();
    let (mut callers, mut all) = (Vec::new(), Vec::new());
    for job in jobs {
        let (caller, took) = job.await.unwrap();
        callers.push(caller);
        all.extend(took);
    }
    let rate = f64::from(u32::try_from(all.len()).unwrap()) / began.elapsed().as_secs_f64();
    (callers, rate, Times::of(all))
}

/// Durable updates of one row each, by so many clients that do nothing else.
async fn bare(fleet: &Fleet, clients: usize, seconds: f64) -> f64 {
    let script = fleet.home().join("update.sql");
    fs::write(&script, "\\set id random(1, 10000)\nUPDATE bench SET n = n + 1 WHERE id = :id;\n").unwrap();
    let mut pgbench = Command::new("pgbench");
    pgbench
        .args(["-n", "-M", "prepared", "-j", "2", "-c", &clients.to_string(), "-T", &format!("{}", seconds.ceil())])
        .arg("-f")
        .arg(script);
    pgbench.arg(fleet.database.superuser());
    let output = tokio::task::spawn_blocking(move || pgbench.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let tps = said.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    tps.unwrap_or_else(|| panic!("{said}{}", String::from_utf8_lossy(&output.stderr)))
}

async fn refreshes(plan: Plan, seconds: f64) {
    let fleet = plan.up().await;
    fleet.database.sql("CREATE TABLE public.bench (id int PRIMARY KEY, n int NOT NULL) WITH (fillfactor = 50)");
    fleet.database.sql("INSERT INTO public.bench SELECT id, 0 FROM generate_series(1, 10000) AS id; ANALYZE public.bench");
    for &count in CALLERS {
        let mut pool = callers(&fleet, &format!("of{count}-"), count).await;
        let (mut rates, mut bares, mut times) = (Vec::new(), Vec::new(), Times::default());
        for _ in 0..ROUNDS {
            bares.push(bare(&fleet, count, seconds).await);
            let (again, rate, took) = drive(pool, seconds, Duration::ZERO).await;
            (pool, times) = (again, took);
            rates.push(rate);
        }
        let (rate, bare) = (median(&mut rates), median(&mut bares));
        figure(&format!(
            "{count} callers over 2 gateways and 2 token-services: {rate:.0} refreshes/s, {}; bare durable one-row updates of the same \
             PostgreSQL: {bare:.0}/s; ratio {:.2}",
            times.text(),
            rate / bare
        ));
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// With passwords as dear as they are for good.
fn dear(plan: Plan) -> Plan {
    let plan = plan.set("password.argon2.memory_kib", "19456").set("password.argon2.iterations", "2");
    plan.set("password.failure_floor", "400ms")
}

async fn flood(plan: Plan, seconds: f64) {
    let fleet = plan.up().await;
    let pool = callers(&fleet, "nurse", AT_WORK).await;
    let gateways: Vec<_> = fleet.of(carelink_tests::fleet::Service::Gateway).iter().map(|replica| replica.at).collect();

    // What can be signed in, by callers who wait for each other.
    let (stop, signed_in) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let jobs: Vec<_> = (0..8)
        .map(|at| {
            let (stop, signed_in, gateway) = (stop.clone(), signed_in.clone(), gateways[at % gateways.len()]);
            tokio::spawn(async move {
                let mut sender = connect(gateway).await;
                while !stop.load(Ordering::Relaxed) {
                    if sign_in(&mut sender, at).await == 200 {
                        signed_in.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    sleep(Duration::from_secs_f64(seconds)).await;
    stop.store(true, Ordering::Relaxed);
    let capacity = f64::from(u32::try_from(signed_in.load(Ordering::Relaxed)).unwrap()) / seconds;
    for job in jobs {
        job.await.unwrap();
    }

    let (pool, _, calm) = drive(pool, seconds, PAUSE).await;
    // Ten times as many come, whether or not anybody has been answered.
    let stop = Arc::new(AtomicBool::new(false));
    let (accepted, turned_away) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let flooding = tokio::spawn({
        let (stop, accepted, turned_away) = (stop.clone(), accepted.clone(), turned_away.clone());
        async move {
            let (every, mut next, mut at) = (Duration::from_secs_f64(1.0 / (10.0 * capacity)), Instant::now(), 0);
            while !stop.load(Ordering::Relaxed) {
                next += every;
                at += 1;
                sleep_until(next).await;
                let (gateway, accepted, turned_away) = (gateways[at % gateways.len()], accepted.clone(), turned_away.clone());
                tokio::spawn(async move {
                    let Some(mut sender) = try_connect(gateway).await else { return };
                    let count = if sign_in(&mut sender, at).await == 200 { accepted } else { turned_away };
                    count.fetch_add(1, Ordering::Relaxed);
                });
            }
        }
    });
    sleep(Duration::from_secs(2)).await;
    let (_, _, flooded) = drive(pool, seconds, PAUSE).await;
    stop.store(true, Ordering::Relaxed);
    flooding.await.unwrap();
    figure(&format!(
        "refreshes of {AT_WORK} callers calm: {}; in a flood of {:.0} sign-ins/s, ten times capacity: {}; {} signed in, {} turned away; \
         ratio of p99 {:.1}",
        calm.text(),
        10.0 * capacity,
        flooded.text(),
        accepted.load(Ordering::Relaxed),
        turned_away.load(Ordering::Relaxed),
        flooded.per_mille(990) / calm.per_mille(990)
    ));
}

async fn sign_in(sender: &mut super::Sender, at: usize) -> u16 {
    let body = serde_json::json!({"username": format!("nurse{}", at % AT_WORK), "password": PASSWORD}).to_string();
    let request = Request::post("/account/token/").header("host", "localhost").header("content-type", "application/json");
    let Ok(()) = sender.ready().await else { return 0 };
    let Ok(response) = sender.send_request(request.body(Full::new(body.into())).unwrap()).await else { return 0 };
    let status = response.status().as_u16();
    let _ = response.into_body().collect().await; // a broken answer is one that did not come
    status
}

async fn revocations(plan: Plan) {
    let fleet = plan.up().await;
    let nurses: Vec<Nurse> = fleet.nurses("nurse", REVOCATIONS).await;
    let mut times = Vec::new();
    for nurse in &nurses {
        for gateway in 0..2 {
            nurse.verify_at(gateway).await.unwrap().expect(200);
        }
        let body = serde_json::json!({"refresh": nurse.held().refresh});
        nurse.doors.post(0, "/account/token/blacklist/", &body).await.unwrap().expect(200);
        let began = Instant::now();
        while nurse.verify_at(1).await.unwrap().status != 401 {
            assert!(began.elapsed() < Duration::from_secs(10), "{} is still in", nurse.name);
        }
        times.push(began.elapsed());
    }
    figure(&format!(
        "{REVOCATIONS} sign-outs at one token-service, from the answer to the refusal at the other's gateway: {}",
        Times::of(times).text()
    ));
}

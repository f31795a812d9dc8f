//! Load against a running CareLink, beside a bare axum handler in the same run: ratios, not rates, carry over to other machines.
//!
//! `cargo run --release -p carelink-tests --bin bench -- BIN [SECONDS] [OPERATION] [CALLERS]` starts `BIN up` on a throw-away directory, signs people in and
//! drives each operation at 1, 16 and 64 callers, interleaved with its rival. CPU is the server's, from /proc.
//!
//! `.. --bin bench -- fleet [SECONDS] [refreshes|flood|revocations ..] [SETTING=VALUE ..]` starts a fleet of the binaries beside it and
//! measures that ([`fleet`]).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr, clippy::indexing_slicing, clippy::panic)] // a tool of ours

mod fleet;

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::Instant};

type Sender = http1::SendRequest<Full<bytes::Bytes>>;

/// One caller: a kept connection and what it holds.
struct Caller {
    sender: Sender,
    access: String,
    refresh: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Operation {
    Bare,
    Me,
    VerifyAccess,
    VerifyRefresh,
    Refresh,
    Blacklist,
}

struct Server {
    child: Child,
    address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut args = std::env::args().skip(1);
    let binary = args.next().expect("usage: bench BIN [SECONDS] [OPERATION] [CALLERS] | bench fleet [SECONDS] .. | bench bare");
    if binary == "bare" {
        return bare().await;
    }
    if binary == "fleet" {
        let seconds = args.next().map_or(5.0, |text| text.parse().expect("seconds"));
        return fleet::measure(seconds, &args.collect::<Vec<_>>()).await;
    }
    let seconds: f64 = args.next().map_or(3.0, |text| text.parse().expect("seconds"));
    let only = args.next();
    let callers: Option<usize> = args.next().map(|text| text.parse().expect("callers"));
    let wanted = |operation: Operation| only.as_ref().is_none_or(|only| *only == format!("{operation:?}"));
    let dir = tempfile::tempdir().unwrap();
    let ours = up(&binary, dir.path());
    let rival = start(Command::new(std::env::current_exe().unwrap()).arg("bare"));
    let people = people(&binary, dir.path());
    println!(
        "{:15} {:>3} {:>10} {:>9} {:>9} {:>11} {:>12} {:>8}",
        "operation", "c", "per second", "p50 ms", "p99 ms", "CPU us/req", "bare us/req", "of bare"
    );
    for callers in callers.map_or_else(|| vec![1, 16, 64], |only| vec![only]) {
        let mut pool = Vec::new();
        for at in 0..callers {
            pool.push(sign_in(&ours, &people[at % people.len()]).await);
        }
        let mut idle = Vec::new();
        for _ in 0..callers {
            idle.push(Caller { sender: connect(rival.address).await, access: String::new(), refresh: String::new() });
        }
        for operation in
            [Operation::Me, Operation::VerifyAccess, Operation::VerifyRefresh, Operation::Refresh].into_iter().filter(|each| wanted(*each))
        {
            let mut rounds = Vec::new();
            for _ in 0..2 {
                let base = drive(&rival, &mut idle, Operation::Bare, seconds / 2.0).await;
                rounds.push((drive(&ours, &mut pool, operation, seconds / 2.0).await, base));
            }
            let ratio = rounds.iter().map(|(run, base)| run.rate / base.rate).sum::<f64>() / 2.0;
            report(operation, callers, &rounds[1], ratio);
        }
    }
    if !wanted(Operation::Blacklist) {
        return;
    }
    // A session can be signed out of once: every caller brings a stock of them.
    let mut stock = Vec::new();
    for at in 0..256 {
        stock.push(sign_in(&ours, &people[at % people.len()]).await);
    }
    let began = Instant::now();
    let jobs = stock.into_iter().map(|mut caller| tokio::spawn(async move { once(&mut caller, Operation::Blacklist).await }));
    futures::future::join_all(jobs).await;
    println!("{:15} {:>3} {:>10.0}", "Blacklist", 256, 256.0 / began.elapsed().as_secs_f64());
    let status = std::fs::read_to_string(format!("/proc/{}/status", ours.child.id())).unwrap();
    println!("{}", status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default());
}

struct Run {
    rate: f64,
    p50: Duration,
    p99: Duration,
    cpu: Duration,
}

fn report(operation: Operation, callers: usize, (run, base): &(Run, Run), ratio: f64) {
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    println!(
        "{:15} {callers:>3} {:>10.0} {:>9.2} {:>9.2} {:>11.1} {:>12.1} {ratio:>8.3}",
        format!("{operation:?}"),
        run.rate,
        ms(run.p50),
        ms(run.p99),
        run.cpu.as_secs_f64() * 1e6,
        base.cpu.as_secs_f64() * 1e6
    );
}

/// Every caller does the operation again and again.
async fn drive(server: &Server, pool: &mut Vec<Caller>, operation: Operation, seconds: f64) -> Run {
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let before = cpu(server.child.id());
    let began = Instant::now();
    let jobs = pool.drain(..).map(|mut caller| {
        tokio::spawn(async move {
            let mut took = Vec::with_capacity(1 << 16);
            while Instant::now() < end {
                let began = Instant::now();
                once(&mut caller, operation).await;
                took.push(began.elapsed());
            }
            (caller, took)
        })
    });
    let mut all = Vec::new();
    for job in jobs.collect::<Vec<_>>() {
        let (caller, took) = job.await.unwrap();
        pool.push(caller);
        all.extend(took);
    }
    let elapsed = began.elapsed().as_secs_f64();
    let used = cpu(server.child.id()) - before;
    all.sort_unstable();
    let at = |share: usize| all[all.len() * share / 100];
    let count = u32::try_from(all.len()).unwrap();
    Run { rate: f64::from(count) / elapsed, p50: at(50), p99: at(99), cpu: used / count }
}

async fn once(caller: &mut Caller, operation: Operation) {
    let (path, body) = match operation {
        Operation::Bare => ("/", String::new()),
        Operation::Me => ("/account/me/", String::new()),
        Operation::VerifyAccess => ("/account/token/verify/", format!(r#"{{"token":"{}"}}"#, caller.access)),
        Operation::VerifyRefresh => ("/account/token/verify/", format!(r#"{{"token":"{}"}}"#, caller.refresh)),
        Operation::Refresh => ("/account/token/refresh/", format!(r#"{{"refresh":"{}"}}"#, caller.refresh)),
        Operation::Blacklist => ("/account/token/blacklist/", format!(r#"{{"refresh":"{}"}}"#, caller.refresh)),
    };
    let method = if body.is_empty() { "GET" } else { "POST" };
    let request = Request::builder().method(method).uri(path).header("host", "localhost").header("content-type", "application/json");
    let request = if operation == Operation::Me { request.header("authorization", format!("Bearer {}", caller.access)) } else { request };
    caller.sender.ready().await.unwrap();
    let response = caller.sender.send_request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(status.is_success(), "{operation:?}: {status} {}", String::from_utf8_lossy(&body));
    if operation == Operation::Refresh {
        (caller.access, caller.refresh) = tokens(&body);
    }
}

fn tokens(body: &[u8]) -> (String, String) {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap();
    (body["access"].as_str().unwrap().to_owned(), body["refresh"].as_str().unwrap().to_owned())
}

async fn connect(address: SocketAddr) -> Sender {
    try_connect(address).await.expect("nobody listens")
}

async fn try_connect(address: SocketAddr) -> Option<Sender> {
    let stream = TcpStream::connect(address).await.ok()?;
    stream.set_nodelay(true).ok()?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    tokio::spawn(connection);
    Some(sender)
}

async fn sign_in(server: &Server, (name, password): &(String, String)) -> Caller {
    let mut sender = connect(server.address).await;
    let body = serde_json::json!({"username": name, "password": password}).to_string();
    let request = Request::post("/account/token/").header("host", "localhost").header("content-type", "application/json");
    let response = sender.send_request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
    let (access, refresh) = tokens(&response.into_body().collect().await.unwrap().to_bytes());
    Caller { sender, access, refresh }
}

/// Users of our own making.
fn people(binary: &str, dir: &std::path::Path) -> Vec<(String, String)> {
    let password = "a long night on the quiet ward";
    let add = |at: usize| {
        let name = format!("person{at}");
        let file = dir.join("password");
        std::fs::write(&file, password).unwrap();
        let added =
            Command::new(binary).args(["user", "add", &name, "--password-file"]).arg(&file).arg("--data").arg(dir).output().unwrap();
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
        (name, password.to_owned())
    };
    (0..8).map(add).collect()
}

fn up(binary: &str, dir: &std::path::Path) -> Server {
    let mut command = Command::new(binary);
    command.arg("up").arg("--data").arg(dir).args(["--port", "0", "--ops-port", "0"]);
    start(command.env("CARELINK_LIMITS__ENABLED", "false").env("CARELINK_TELEMETRY__LOG", "warn"))
}

/// Starts a server whose first line says where it listens.
fn start(command: &mut Command) -> Server {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    std::thread::spawn(move || lines.for_each(drop));
    Server { child, address: first.rsplit_once("//").unwrap().1.parse().unwrap() }
}

/// A handler that does nothing.
async fn bare() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("listening on http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new().route("/", axum::routing::get(|| async { "hello" }));
    axum::serve(listener, router).await.unwrap();
}

/// User and system time of a process.
fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

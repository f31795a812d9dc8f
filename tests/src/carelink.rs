//! A CareLink of one's own: the real binary in a fresh directory, started, killed, started again, and gone with its test.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::{Arc, Mutex, RwLock},
    time::Duration,
};

use http::{HeaderMap, Method};
use reqwest::Body;
use rusqlite::{Connection, OpenFlags};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use crate::{
    Answer, Http, Metrics, PASSWORD, Person, Said,
    cli::{command, run},
    eventually,
    wait::PATIENCE,
};

/// What hashing costs in most journeys: the least that is accepted. They are about something else.
const CHEAP: &[(&str, &str)] = &[
    ("password.argon2.memory_kib", "7168"),
    ("password.argon2.iterations", "1"),
    ("password.argon2.parallelism", "1"),
    ("password.failure_floor", "20ms"),
];

/// How a CareLink is to be started.
#[derive(Clone, Debug)]
pub struct Start {
    settings: Vec<(String, String)>,
    args: Vec<String>,
    data: Option<PathBuf>,
}

impl Default for Start {
    fn default() -> Self {
        Self {
            settings: CHEAP.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            args: ["--port", "0", "--ops-port", "0"].map(str::to_owned).to_vec(),
            data: None,
        }
    }
}

impl Start {
    /// As an operator finds it: nothing configured.
    pub fn unconfigured() -> Self {
        Self { settings: Vec::new(), ..Self::default() }
    }

    /// With a setting, by the environment: `session.grace`.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Without the rate limits: for floods.
    #[must_use]
    pub fn unlimited(self) -> Self {
        self.set("limits.enabled", "false")
    }

    /// With more arguments.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(ToString::to_string));
        self
    }

    /// With these arguments and no others.
    #[must_use]
    pub fn only_args(mut self, args: &[&str]) -> Self {
        self.args.clear();
        self.args(args)
    }

    /// In a directory that the test keeps.
    #[must_use]
    pub fn data(mut self, path: &Path) -> Self {
        self.data = Some(path.to_owned());
        self
    }

    fn command(&self, data: Option<&Path>) -> Command {
        let mut command = command();
        for (key, value) in &self.settings {
            let name = if key.chars().any(char::is_uppercase) {
                key.clone()
            } else {
                format!("CARELINK_{}", key.replace('.', "__").to_uppercase())
            };
            command.env(name, value);
        }
        command.arg("up").args(&self.args);
        if let Some(data) = data {
            command.arg("--data").arg(data);
        }
        command
    }

    /// Starts it and waits until it is ready.
    pub async fn up(self) -> Carelink {
        let home = tempfile::Builder::new().prefix("carelink-test-").tempdir().unwrap();
        let data = self.data.clone().unwrap_or_else(|| home.path().join("data"));
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        let carelink = Carelink {
            start: self,
            data,
            home: Arc::new(home),
            process: Mutex::new(None),
            at: RwLock::new(Addresses { http: nowhere, ops: nowhere }),
            http: Http::default(),
        };
        carelink.start().await;
        carelink
    }

    /// Starts it where it must not come up; gives what it said.
    pub async fn refused(self) -> Said {
        let home = tempfile::tempdir().unwrap();
        let data = self.data.clone().unwrap_or_else(|| home.path().join("data"));
        let said = run(self.command(Some(&data)), "");
        timeout(PATIENCE, said).await.expect("it should have refused to start, and runs")
    }
}

#[derive(Clone, Copy, Debug)]
struct Addresses {
    http: SocketAddr,
    ops: SocketAddr,
}

/// A running CareLink.
#[derive(Debug)]
pub struct Carelink {
    start: Start,
    data: PathBuf,
    home: Arc<TempDir>,
    process: Mutex<Option<Child>>,
    at: RwLock<Addresses>,
    http: Http,
}

impl Carelink {
    /// One with cheap hashing and nothing else configured.
    pub async fn up() -> Self {
        Start::default().up().await
    }

    /// One without rate limits.
    pub async fn unlimited() -> Self {
        Start::default().unlimited().up().await
    }

    /// Starts what is not running, and waits until it is ready.
    pub async fn start(&self) {
        let lines = fs::read_to_string(self.stdout()).unwrap_or_default().len();
        let open = |path: PathBuf| fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        // The demo makes a directory of its own.
        let data = if self.start.args.iter().any(|arg| arg == "--demo") { None } else { Some(self.data.as_path()) };
        let mut command = self.start.command(data);
        let child = command.stdout(open(self.stdout())).stderr(open(self.stderr())).spawn().unwrap();
        *self.process.lock().unwrap() = Some(child);
        let at = eventually("it says where it listens", async || {
            if let Some(status) = self.process.lock().unwrap().as_mut().unwrap().try_wait().unwrap() {
                panic!("it did not start ({status}): {}", self.log());
            }
            let said = fs::read_to_string(self.stdout()).unwrap_or_default();
            let line = |begins: &str| said[lines..].lines().find_map(|line| line.strip_prefix(begins)?.parse().ok());
            Some(Addresses { http: line("listening on http://")?, ops: line("health and metrics on http://")? })
        })
        .await;
        *self.at.write().unwrap() = at;
        eventually("it is ready", async || {
            let answer = self.ops("/readyz").await.ok()?;
            (answer.status == 200).then_some(())
        })
        .await;
    }

    /// What it said on standard output, over all of its lives.
    pub fn stdout_text(&self) -> String {
        fs::read_to_string(self.stdout()).unwrap()
    }

    /// Waits until it has said this on standard output; gives all it said.
    pub async fn says(&self, words: &str) -> String {
        eventually(format!("it says `{words}`"), async || Some(self.stdout_text()).filter(|text| text.contains(words))).await
    }

    /// What it logged, over all of its lives.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.stderr()).unwrap_or_default()).into_owned()
    }

    fn stdout(&self) -> PathBuf {
        self.home.path().join("stdout")
    }

    fn stderr(&self) -> PathBuf {
        self.home.path().join("stderr")
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// A directory for files of the test, gone with it.
    pub fn scratch(&self) -> &Path {
        self.home.path()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.at.read().unwrap().http
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        let process = self.process.lock().unwrap();
        i32::try_from(process.as_ref().and_then(Child::id).expect("it does not run")).unwrap()
    }

    /// What the kernel says of its memory, in MiB: `VmRSS` now, `VmHWM` at most.
    pub fn memory(&self, which: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(which)?.strip_prefix(':')).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid()).unwrap(), signal).unwrap();
    }

    /// Waits until it has ended.
    pub async fn ended(&self) -> ExitStatus {
        let mut child = self.process.lock().unwrap().take().expect("it does not run");
        timeout(PATIENCE, child.wait()).await.expect("it does not end").unwrap()
    }

    /// Ends it as a power cut would.
    pub async fn kill9(&self) {
        self.signal(Signal::KILL);
        self.ended().await;
    }

    /// Asks it to stop; it must drain and exit with 0.
    pub async fn terminate(&self) {
        self.signal(Signal::TERM);
        let status = self.ended().await;
        assert!(status.success(), "{status}: {}", self.log());
    }

    /// Stops it and starts it again.
    pub async fn restart(&self) {
        self.terminate().await;
        self.start().await;
    }

    /// Runs a command beside it.
    pub async fn cli(&self, args: &[&str]) -> Said {
        self.cli_with(args, "").await
    }

    /// Runs a command that reads this from stdin.
    pub async fn cli_with(&self, args: &[&str], stdin: &str) -> Said {
        let mut command = command();
        command.args(args).arg("--data").arg(&self.data);
        timeout(Duration::from_secs(120), run(command, stdin)).await.expect("the command does not end")
    }

    /// Runs a command with `--json`, which must work.
    pub async fn json(&self, args: &[&str]) -> Value {
        self.cli(args).await.json()
    }

    /// Makes a user; gives their `user_id`.
    pub async fn add_user(&self, name: &str, password: &str, roles: &[&str]) -> i64 {
        let mut args = vec!["user", "add", name, "--password-stdin", "--json"];
        for role in roles {
            args.extend(["--role", role]);
        }
        self.cli_with(&args, password).await.json()["user"]["user_id"].as_i64().unwrap()
    }

    /// Signs somebody in who must be let in.
    pub async fn sign_in(&self, name: &str, password: &str) -> Person<'_> {
        match Person::sign_in(self, name, password).await {
            Ok(person) => person,
            Err(answer) => panic!("{name} is not let in: {} {}", answer.status, answer.text()),
        }
    }

    /// A user with a password, signed in.
    pub async fn somebody(&self, name: &str) -> Person<'_> {
        self.add_user(name, PASSWORD, &["nurse"]).await;
        self.sign_in(name, PASSWORD).await
    }

    /// Asks over HTTP; an error is a connection that broke.
    pub async fn try_ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Result<Answer, reqwest::Error> {
        let url = format!("http://{}{path}", self.address());
        self.http.ask(method, &url, headers, body).await
    }

    /// Asks over HTTP.
    pub async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        self.try_ask(method, path, headers, body).await.unwrap_or_else(|error| panic!("{path}: {error:?}\n{}", self.log()))
    }

    /// Asks over HTTP, with headers that need not be text.
    pub async fn ask_with(&self, method: Method, path: &str, headers: HeaderMap, body: impl Into<Body>) -> Answer {
        let url = format!("http://{}{path}", self.address());
        self.http.ask_with(method, &url, headers, body).await.unwrap_or_else(|error| panic!("{path}: {error:?}\n{}", self.log()))
    }

    /// Posts JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask(Method::POST, path, &[("content-type", "application/json")], body.to_string()).await
    }

    /// Asks the ops port.
    pub async fn ops(&self, path: &str) -> Result<Answer, reqwest::Error> {
        let url = format!("http://{}{path}", self.at.read().unwrap().ops);
        self.http.ask(Method::GET, &url, &[], "").await
    }

    /// Its counters now.
    pub async fn metrics(&self) -> Metrics {
        Metrics::parse(&self.ops("/metrics").await.unwrap().text())
    }

    /// One of its databases, to look into.
    pub fn database(&self, service: &str) -> Connection {
        let path = self.data.join(format!("{service}.sqlite3"));
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
        connection.busy_timeout(Duration::from_secs(5)).unwrap();
        connection
    }

    /// How many rows a table has.
    pub fn count_rows(&self, service: &str, table: &str) -> i64 {
        self.database(service).query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    }

    /// Every file of the data directory as bytes.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let paths = fs::read_dir(&self.data).unwrap().map(|entry| entry.unwrap().path());
        paths.filter(|path| path.is_file()).map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }
}

impl Drop for Carelink {
    fn drop(&mut self) {
        if let Some(mut child) = self.process.lock().unwrap().take() {
            let _ = child.start_kill();
        }
        if !std::thread::panicking() {
            let log = self.log();
            assert!(!log.contains("panicked"), "somewhere it panicked:\n{log}");
        } else if std::env::var_os("CARELINK_TEST_LOG").is_some() {
            eprintln!("{}", self.log());
        }
    }
}

//! One process of a fleet: started, killed, frozen, stopped, started again, on addresses that stay its own.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::ExitStatus,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use http::Method;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use crate::{
    Http, Metrics,
    cli::{binary_of, clean},
    eventually,
    wait::PATIENCE,
};

/// Which service a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// The trail.
    Audit,
    /// Sessions and tokens.
    Token,
    /// Users and passwords.
    Auth,
    /// The edge.
    Gateway,
}

impl Service {
    /// In the order in which they are started: whoever is called comes first.
    pub const ALL: [Self; 4] = [Self::Audit, Self::Token, Self::Auth, Self::Gateway];
    /// Those with a database.
    pub const STORES: [Self; 3] = [Self::Auth, Self::Token, Self::Audit];

    /// Its binary, and its name on certificates.
    pub fn name(self) -> &'static str {
        match self {
            Self::Audit => "audit-service",
            Self::Token => "token-service",
            Self::Auth => "auth-service",
            Self::Gateway => "gateway",
        }
    }

    /// Its section of the configuration.
    pub fn short(self) -> &'static str {
        self.name().trim_end_matches("-service")
    }
}

/// A process.
#[derive(Debug)]
pub struct Replica {
    /// Which service.
    pub service: Service,
    /// Which of its replicas, from 0.
    pub number: usize,
    /// Where it serves: HTTP, or gRPC with mTLS.
    pub at: SocketAddr,
    /// Where it tells how it is.
    pub ops: SocketAddr,
    pub(super) environment: Vec<(String, String)>,
    pub(super) log: PathBuf,
    pub(super) child: Mutex<Option<Child>>,
    /// A supervisor leaves it as it is.
    pub(super) left_alone: AtomicBool,
    pub(super) starts: AtomicUsize,
    pub(super) http: Http,
}

impl Replica {
    /// `token-service/1`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.service.name(), self.number)
    }

    /// Starts it, and waits for nothing.
    pub fn spawn(&self) {
        // The kernel ends it with whoever started it, however that one ends; and shares the cores between it and others as between
        // units or containers, not between threads.
        let mut command = clean(Command::new("setsid"));
        command.args(["setpriv", "--pdeathsig", "KILL", "--"]).arg(binary_of(self.service.name()));
        command.args(["--ops-port", &self.ops.port().to_string()]).kill_on_drop(true);
        command.envs(self.environment.iter().map(|(key, value)| (key, value))).env("NO_COLOR", "1").stdin(std::process::Stdio::null());
        let log = || fs::OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        *self.child.lock().unwrap() = Some(command.stdout(log()).stderr(log()).spawn().unwrap());
        self.starts.fetch_add(1, Ordering::Relaxed);
    }

    /// Starts it and waits until it takes traffic.
    pub async fn start(&self) {
        self.spawn();
        self.left_alone.store(false, Ordering::Relaxed);
        self.ready().await;
    }

    /// Waits until it takes traffic.
    pub async fn ready(&self) {
        let mut said = String::new();
        let waited = timeout(PATIENCE * 2, async {
            while !self.is_ready(&mut said).await {
                assert!(!self.has_ended() || self.starts.load(Ordering::Relaxed) > 1, "{} did not start: {}", self.name(), self.log());
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        });
        assert!(waited.await.is_ok(), "{} does not get ready ({said}): {}", self.name(), self.log());
    }

    async fn is_ready(&self, said: &mut String) -> bool {
        match self.http.ask(Method::GET, &format!("http://{}/readyz", self.ops), &[], "").await {
            Ok(answer) => {
                *said = answer.text();
                answer.status == 200
            }
            Err(error) => {
                *said = error.to_string();
                false
            }
        }
    }

    /// Whether it says right now that it takes traffic.
    pub async fn says_ready(&self) -> bool {
        self.is_ready(&mut String::new()).await
    }

    /// Whether its process is over.
    pub fn has_ended(&self) -> bool {
        self.child.lock().unwrap().as_mut().is_none_or(|child| child.try_wait().unwrap().is_some())
    }

    /// Its process.
    pub fn pid(&self) -> Option<i32> {
        self.child.lock().unwrap().as_ref().and_then(Child::id).map(|pid| i32::try_from(pid).unwrap())
    }

    /// How often it was started.
    pub fn starts(&self) -> usize {
        self.starts.load(Ordering::Relaxed)
    }

    /// Sends a signal to it, if it runs.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            let _ = kill_process(Pid::from_raw(pid).unwrap(), signal); // it may just have ended
        }
    }

    /// Ends it as a power cut would; a supervisor starts it again.
    pub fn crash(&self) {
        self.signal(Signal::KILL);
    }

    /// Ends it as a power cut would, and it stays away until it is started.
    pub async fn kill9(&self) {
        self.left_alone.store(true, Ordering::Relaxed);
        self.signal(Signal::KILL);
        self.ended().await;
    }

    /// Asks it to stop and waits until it has drained.
    pub async fn terminate(&self) {
        self.left_alone.store(true, Ordering::Relaxed);
        self.signal(Signal::TERM);
        let status = self.ended().await;
        assert!(status.success(), "{}: {status}: {}", self.name(), self.log());
    }

    /// Stops it and starts it again.
    pub async fn restart(&self) {
        self.terminate().await;
        self.start().await;
    }

    /// Waits until it has ended.
    pub async fn ended(&self) -> ExitStatus {
        eventually(format!("{} ends", self.name()), async || self.child.lock().unwrap().as_mut().unwrap().try_wait().unwrap()).await
    }

    /// Its counters now.
    pub async fn metrics(&self) -> Metrics {
        let answer = self.http.ask(Method::GET, &format!("http://{}/metrics", self.ops), &[], "").await.unwrap();
        Metrics::parse(&answer.text())
    }

    /// What it logged, over all of its lives; of a long log its end.
    pub fn log(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(20_000)..]).into_owned()
    }
}

//! A PostgreSQL cluster: shared by tests that want a database, or one's own to be killed, stopped and restarted.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    TestDatabase,
    process::{Server, command, directory, free_port, run, wait_until},
};

/// The URL of a superuser of a cluster that is there already.
pub(crate) const SHARED: &str = "CARELINK_TEST_POSTGRES";

static RUNNING: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
static DATABASES: AtomicU64 = AtomicU64::new(1);

/// A cluster. Cheap to clone; the last clone ends it, unless it was there before.
#[derive(Clone, Debug)]
pub struct Postgres(Arc<Cluster>);

#[derive(Debug)]
struct Cluster {
    /// `user[:password]@host:port` of a superuser.
    superuser: String,
    own: Option<Own>,
}

#[derive(Debug)]
struct Own {
    server: Mutex<Option<Server>>,
    dir: TempDir,
    port: u16,
    fsync: Fsync,
    environment: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fsync {
    On,
    Off,
}

/// The cluster that tests share.
pub async fn postgres() -> Postgres {
    blocking(|| {
        let mut running = RUNNING.lock().unwrap();
        if let Some(cluster) = running.upgrade() {
            return Postgres(cluster);
        }
        let cluster = match env::var(SHARED) {
            Ok(url) => Arc::new(Cluster::there_already(&url)),
            Err(_) => Arc::new(Cluster::start(Fsync::Off, Vec::new())),
        };
        *running = Arc::downgrade(&cluster);
        Postgres(cluster)
    })
    .await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

impl Postgres {
    /// A cluster of one's own, which keeps its promises (fsync) and may be killed, stopped and restarted.
    pub async fn start_own() -> Self {
        Self::start_own_with(&[]).await
    }

    /// The same, with this in its environment.
    pub async fn start_own_with(environment: &[(String, String)]) -> Self {
        let environment = environment.to_vec();
        blocking(|| Self(Arc::new(Cluster::start(Fsync::On, environment)))).await
    }

    /// A fresh database with CareLink's roles and schemas; dropped with the value.
    pub async fn database(&self) -> TestDatabase {
        let number = DATABASES.fetch_add(1, Ordering::Relaxed);
        let (cluster, name) = (self.clone(), format!("test_{}_{number}", std::process::id()));
        blocking(move || TestDatabase::create(cluster, name)).await
    }

    /// A role's URL of a database.
    pub fn url(&self, role: &str, database: &str) -> String {
        let address = self.0.superuser.rsplit('@').next().unwrap();
        format!("postgres://{role}@{address}/{database}")
    }

    /// A superuser's URL of a database.
    pub fn superuser(&self, database: &str) -> String {
        format!("postgres://{}/{database}", self.0.superuser)
    }

    /// Host and port.
    pub fn address(&self) -> (String, u16) {
        let (host, port) = self.0.superuser.rsplit('@').next().unwrap().rsplit_once(':').unwrap();
        (host.to_owned(), port.parse().unwrap())
    }

    /// Runs SQL as a superuser; what it answers, fields separated by `|`. Panics where it fails.
    pub fn sql(&self, database: &str, text: &str) -> String {
        psql(&self.superuser(database), text).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Stops at once and without a checkpoint, as a power cut would; all connections are lost.
    pub async fn kill(&self) {
        self.end(Signal::QUIT).await;
    }

    /// Stops in good order; all connections are lost.
    pub async fn stop(&self) {
        self.end(Signal::INT).await;
    }

    /// Starts again what was stopped or killed, on the same port.
    pub async fn start(&self) {
        let cluster = self.clone();
        blocking(move || cluster.own().start()).await;
    }

    /// Lets all its processes stand still; connections stay open and nobody answers.
    pub fn stall(&self) {
        self.signal_all(Signal::STOP);
    }

    /// Goes on after [`Self::stall`].
    pub fn resume(&self) {
        self.signal_all(Signal::CONT);
    }

    fn signal_all(&self, signal: Signal) {
        if let Some(server) = self.own().server.lock().unwrap().as_ref() {
            server.signal_all(signal);
        }
    }

    async fn end(&self, signal: Signal) {
        let cluster = self.clone();
        blocking(move || {
            if let Some(server) = cluster.own().server.lock().unwrap().take() {
                server.signal_all(Signal::CONT);
                server.signal(signal);
                server.wait();
            }
        })
        .await;
    }

    fn own(&self) -> &Own {
        self.0.own.as_ref().expect("only a cluster of one's own may be stopped: Postgres::start_own()")
    }
}

impl Cluster {
    fn there_already(url: &str) -> Self {
        let address = url.split_once("://").map_or(url, |(_, rest)| rest);
        Self { superuser: address.split('/').next().unwrap().to_owned(), own: None }
    }

    fn start(fsync: Fsync, environment: Vec<(String, String)>) -> Self {
        let dir = directory();
        let data = dir.path().join("data");
        // Sorts as a hospital's server may, not as bytes: a text that forgot COLLATE "C" is found out.
        let mut initdb = command(&binary("initdb"));
        initdb.arg("-D").arg(&data).args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync", "--no-instructions"]);
        initdb.args(["--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US"]);
        run(&mut initdb);
        let mut own = Own { server: Mutex::new(None), dir, port: free_port(), fsync, environment };
        while !own.try_start() {
            own.port = free_port(); // somebody else was faster
        }
        Self { superuser: format!("postgres@127.0.0.1:{}", own.port), own: Some(own) }
    }
}

impl Own {
    /// Starts on the port that it has had.
    fn start(&self) {
        // Processes of the one that was killed may take a moment to notice, and keep memory or port until then.
        wait_until("PostgreSQL runs again", || self.try_start());
    }

    fn try_start(&self) -> bool {
        let mut postgres = command(&binary("postgres"));
        let dir = self.dir.path();
        postgres.envs(self.environment.iter().map(|(key, value)| (key, value)));
        postgres.arg("-D").arg(dir.join("data")).arg("-k").arg(dir);
        let mut set = |name: &str, value: &str| {
            postgres.arg("-c").arg(format!("{name}={value}"));
        };
        set("listen_addresses", "127.0.0.1");
        set("port", &self.port.to_string());
        set("max_connections", "200");
        set("log_checkpoints", "off");
        set("shared_buffers", "64MB");
        set("max_wal_size", "512MB");
        if self.fsync == Fsync::Off {
            for name in ["fsync", "full_page_writes", "synchronous_commit"] {
                set(name, "off");
            }
        }
        let server = Server::start(postgres, &dir.join("log"), Signal::QUIT);
        let mut ready = Command::new(binary("pg_isready"));
        ready.arg("-q").arg("-h").arg(dir).arg("-p").arg(self.port.to_string()).stderr(Stdio::null());
        let mut answers = false;
        wait_until("PostgreSQL answers", || {
            answers = ready.status().unwrap().success();
            answers || !server.is_running()
        });
        // The socket lies in this directory: whoever answers there is ours.
        if answers {
            *self.server.lock().unwrap() = Some(server);
        }
        answers
    }
}

/// Runs SQL; what it answers, or why not.
pub(crate) fn psql(url: &str, text: &str) -> Result<String, String> {
    let mut psql = Command::new(binary("psql"));
    psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", text]).stdin(Stdio::null());
    let output = psql.output().unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap().trim_end().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// A program of PostgreSQL: of the newest version that Debian has installed, or on the PATH.
pub(crate) fn binary(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let installed: BTreeSet<(u32, PathBuf)> = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin").join(name))))
        .filter(|(_, path)| path.is_file())
        .collect();
    installed.into_iter().next_back().map_or_else(|| Path::new(name).to_owned(), |(_, path)| path)
}

//! A fleet of one's own: real processes of every service, several of each, over mTLS on loopback, on a PostgreSQL and a Redis of its own.
//!
//! Each fleet has an address of its own in 127.0.0.0/8, so that a process that was killed finds its port free when it comes back.
//! Between processes there may be a [`Proxy`](crate::fault::Proxy).

mod load;
mod nurse;
mod replica;
mod supply;
mod trail;

use std::{
    collections::BTreeMap,
    fs,
    hash::{BuildHasher, Hasher, RandomState},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use carelink_servers::{Pgbouncer, Postgres, Redis, TestDatabase};
use futures::{StreamExt, stream};
use tempfile::TempDir;
use tokio::{task::JoinHandle, time::timeout};

pub use self::{
    load::{Load, Trouble},
    nurse::{Doors, Entry, Journal, Nurse, Said, Times},
    replica::{Replica, Service},
    supply::faketime,
    trail::{Event, Trail},
};
use crate::{
    Http, PASSWORD,
    cli::{self, command, run},
    fault::Proxy,
};

/// How a fleet is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    replicas: BTreeMap<Service, usize>,
    settings: Vec<(Option<Service>, String, String)>,
    clocks: Vec<(Service, usize, String)>,
    postgres: Vec<(String, String)>,
    proxied: bool,
    pooled: bool,
    pinned: bool,
}

impl Default for Plan {
    fn default() -> Self {
        let cheap = [
            ("password.argon2.memory_kib", "7168"),
            ("password.argon2.iterations", "1"),
            ("password.argon2.parallelism", "1"),
            ("password.failure_floor", "20ms"),
            ("gateway.allowed_hosts", "*"),
            ("limits.enabled", "false"),
        ];
        Self {
            replicas: Service::ALL.map(|service| (service, 2)).into(),
            settings: cheap.map(|(key, value)| (None, key.to_owned(), value.to_owned())).into(),
            clocks: Vec::new(),
            postgres: Vec::new(),
            proxied: false,
            pooled: false,
            pinned: false,
        }
    }
}

impl Plan {
    /// So many replicas of a service; two is what there are otherwise.
    #[must_use]
    pub fn replicas(mut self, service: Service, count: usize) -> Self {
        self.replicas.insert(service, count);
        self
    }

    /// With a setting everywhere: `session.grace`.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.push((None, key.to_owned(), value.to_owned()));
        self
    }

    /// With a setting in every process of one service.
    #[must_use]
    pub fn set_for(mut self, service: Service, key: &str, value: &str) -> Self {
        self.settings.push((Some(service), key.to_owned(), value.to_owned()));
        self
    }

    /// A process whose wall clock is so far off: `+45s`.
    #[must_use]
    pub fn clock(mut self, service: Service, number: usize, off: &str) -> Self {
        self.clocks.push((service, number, off.to_owned()));
        self
    }

    /// With this in the environment of PostgreSQL.
    #[must_use]
    pub fn postgres_reads(mut self, variable: &str, value: &str) -> Self {
        self.postgres.push((variable.to_owned(), value.to_owned()));
        self
    }

    /// With a proxy in front of every gRPC port.
    #[must_use]
    pub fn proxied(mut self) -> Self {
        self.proxied = true;
        self
    }

    /// Each gateway knows only the token-service of its own number.
    #[must_use]
    pub fn pinned(mut self) -> Self {
        self.pinned = true;
        self
    }

    /// With pgbouncer in transaction mode before PostgreSQL.
    #[must_use]
    pub fn pooled(mut self) -> Self {
        self.pooled = true;
        self
    }

    /// Starts it and waits until all of it takes traffic.
    pub async fn up(self) -> Fleet {
        Box::pin(Fleet::start(self)).await
    }
}

/// A running fleet; it ends with this value.
#[derive(Debug)]
pub struct Fleet {
    /// Its processes.
    pub replicas: Vec<Arc<Replica>>,
    /// Its PostgreSQL, which keeps its promises.
    pub postgres: Postgres,
    /// The database in it.
    pub database: TestDatabase,
    /// Its Redis.
    pub redis: Redis,
    /// What its clients saw.
    pub journal: Journal,
    /// Its gateways.
    pub doors: Doors,
    _pooler: Option<Pgbouncer>,
    proxies: BTreeMap<(Service, usize), Proxy>,
    supervisor: Mutex<Option<JoinHandle<()>>>,
    home: TempDir,
}

impl Fleet {
    async fn start(plan: Plan) -> Self {
        let home = tempfile::Builder::new().prefix("carelink-fleet-").tempdir().unwrap();
        let (postgres, redis) = tokio::join!(Postgres::start_own_with(&plan.postgres), Redis::start());
        let database = postgres.database().await;
        supply::certificates(home.path()).await;
        supply::migrate(home.path(), &database).await;
        let pooler = if plan.pooled { Some(Pgbouncer::start(&postgres, 20).await) } else { None };

        let mut wanted: Vec<(Service, usize)> = Vec::new();
        for service in Service::ALL {
            wanted.extend((0..plan.replicas.get(&service).copied().unwrap_or_default()).map(|number| (service, number)));
        }
        let addresses = free_addresses(wanted.len() * 2);
        let (served, ops) = addresses.split_at(wanted.len());
        let mut proxies = BTreeMap::new();
        let mut reached: BTreeMap<Service, Vec<SocketAddr>> = BTreeMap::new();
        for ((service, number), at) in wanted.iter().zip(served) {
            let mut address = *at;
            if plan.proxied && *service != Service::Gateway {
                let proxy = Proxy::to(*at).await;
                address = proxy.address();
                proxies.insert((*service, *number), proxy);
            }
            reached.entry(*service).or_default().push(address);
        }
        let mut replicas = Vec::new();
        for (((service, number), at), ops) in wanted.iter().zip(served).zip(ops) {
            let mut environment = supply::environment(home.path(), *service, *at, *ops, &reached);
            if Service::STORES.contains(service) {
                let role = format!("carelink_{}", service.short());
                let url = pooler.as_ref().map_or_else(|| database.url(&role), |pooler| pooler.url(&role, &database));
                environment.push((format!("{}.database_url", service.short()), url));
                if pooler.is_some() {
                    environment.push(("database.pooler".into(), "true".into()));
                }
            }
            if *service == Service::Gateway {
                environment.push(("limits.redis_url".into(), redis.url()));
                if plan.pinned {
                    environment.push(("grpc.token".into(), reached[&Service::Token][*number].to_string()));
                }
            }
            let ours = plan.settings.iter().filter(|(for_whom, ..)| for_whom.is_none_or(|whom| whom == *service));
            environment.extend(ours.map(|(_, key, value)| (key.clone(), value.clone())));
            let mut environment: Vec<_> = environment.into_iter().map(|(key, value)| (variable(&key), value)).collect();
            for (_, _, off) in plan.clocks.iter().filter(|(whose, which, _)| whose == service && which == number) {
                environment.extend(supply::clock(off));
            }
            let log = home.path().join(format!("{}-{number}.log", service.short()));
            replicas.push(Arc::new(Replica {
                service: *service,
                number: *number,
                at: *at,
                ops: *ops,
                environment,
                log,
                child: Mutex::default(),
                left_alone: false.into(),
                starts: 0.into(),
                http: Http::default(),
            }));
        }
        let gateways = replicas.iter().filter(|replica| replica.service == Service::Gateway).map(|replica| replica.at).collect();
        fs::write(home.path().join("operator.toml"), supply::operator(home.path(), &reached)).unwrap();
        for replica in &replicas {
            replica.spawn();
        }
        for replica in &replicas {
            replica.ready().await;
        }
        let (journal, doors) = (Journal::default(), Doors::to(gateways));
        Self { replicas, postgres, database, redis, journal, doors, _pooler: pooler, proxies, supervisor: Mutex::default(), home }
    }

    /// The processes of a service.
    pub fn of(&self, service: Service) -> Vec<&Arc<Replica>> {
        self.replicas.iter().filter(|replica| replica.service == service).collect()
    }

    /// One process.
    pub fn replica(&self, service: Service, number: usize) -> &Arc<Replica> {
        self.of(service)[number]
    }

    /// The proxy in front of a process.
    pub fn proxy(&self, service: Service, number: usize) -> &Proxy {
        &self.proxies[&(service, number)]
    }

    /// Its files: `pki/`, `keys/`, `operator.toml`, logs.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The folder of its certificates.
    pub fn pki(&self) -> PathBuf {
        self.home.path().join("pki")
    }

    /// From now on whatever ends by itself, or is killed, is started again.
    pub fn supervise(&self) {
        let replicas = self.replicas.clone();
        let watching = tokio::spawn(async move {
            loop {
                for replica in &replicas {
                    if !replica.left_alone.load(Ordering::Relaxed) && replica.has_ended() {
                        replica.spawn();
                    }
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        *self.supervisor.lock().unwrap() = Some(watching);
    }

    /// Waits until all of it takes traffic.
    pub async fn ready(&self) {
        for replica in &self.replicas {
            replica.ready().await;
        }
    }

    /// Runs an operator's command, by certificate.
    pub async fn cli(&self, args: &[&str], stdin: &str) -> cli::Said {
        let mut command = command();
        command.args(args).arg("--config").arg(self.home.path().join("operator.toml")).current_dir(self.home.path());
        timeout(Duration::from_secs(120), run(command, stdin)).await.expect("the command does not end")
    }

    /// Adds users with [`PASSWORD`].
    pub async fn add_users(&self, names: &[String], roles: &[&str]) {
        let add = |name: &String| {
            let name = name.clone();
            async move {
                let mut args = vec!["user", "add", &name, "--password-stdin", "--json"];
                for role in roles {
                    args.extend(["--role", role]);
                }
                self.cli(&args, PASSWORD).await.ok();
            }
        };
        let jobs: Vec<_> = names.iter().map(add).collect();
        stream::iter(jobs).buffer_unordered(4).collect::<()>().await;
    }

    /// So many sessions, of users called `{prefix}0` and on, of whom there are at most twenty.
    pub async fn nurses(&self, prefix: &str, count: usize) -> Vec<Nurse> {
        let names: Vec<String> = (0..count.min(20)).map(|at| format!("{prefix}{at}")).collect();
        self.add_users(&names, &["nurse"]).await;
        let sign_in = |at: usize| Nurse::sign_in(&self.doors, &self.journal, &names[at % names.len()], PASSWORD);
        let jobs: Vec<_> = (0..count).map(sign_in).collect();
        stream::iter(jobs).buffered(8).collect().await
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if let Some(supervisor) = self.supervisor.lock().unwrap().take() {
            supervisor.abort();
        }
        let panicked: Vec<_> = self.replicas.iter().filter(|replica| replica.log().contains("panicked")).collect();
        if std::thread::panicking() && std::env::var_os("CARELINK_TEST_LOG").is_some() {
            for replica in &self.replicas {
                eprintln!("---- {}\n{}", replica.name(), replica.log());
            }
        } else if !std::thread::panicking() {
            assert!(panicked.is_empty(), "somewhere it panicked: {}\n{}", panicked[0].name(), panicked[0].log());
        }
    }
}

/// `session.grace` as the environment has it.
fn variable(key: &str) -> String {
    if key.chars().any(char::is_uppercase) { key.to_owned() } else { format!("CARELINK_{}", key.replace('.', "__").to_uppercase()) }
}

/// Ports of an address of 127.0.0.0/8 that nobody else uses.
fn free_addresses(count: usize) -> Vec<SocketAddr> {
    let random = RandomState::new().build_hasher().finish().to_be_bytes();
    let own = Ipv4Addr::new(127, 1 + random[0] % 250, random[1], 1 + random[2] % 250);
    let bind = |host| (0..count).map(|_| TcpListener::bind((host, 0))).collect::<Result<Vec<_>, _>>();
    let listeners = bind(own).or_else(|_| bind(Ipv4Addr::LOCALHOST)).unwrap();
    listeners.iter().map(|listener| listener.local_addr().unwrap()).collect()
}

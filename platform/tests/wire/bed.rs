//! What the tests stand on: an authority, papers in files, a service that does what a test says, a wire that can be cut.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use carelink_platform::{
    clock::Clock,
    context::{RequestContext, TraceContext},
    errors::{Failure, Reason},
    grpc::{Caller, CallerRow, Channel, Credentials, GrpcConfig, Hooks, Lane, Network, Peers, Rooms, Stack, TlsServer},
    lifecycle::Shutdown,
    ops::Readiness,
    random::Random,
};
use carelink_proto::audit::{
    AppendRequest, AppendResponse, ListEventsRequest, ListEventsResponse,
    audit_service_client::AuditServiceClient,
    audit_service_server::{AuditService, AuditServiceServer},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use tonic::{Request, Response, Status, service::Routes};

/// The one service of these tests.
pub(crate) const SERVICE: &str = "audit-service";
pub(crate) const APPEND: &str = "/carelink.audit.v1.AuditService/Append";
pub(crate) const LIST: &str = "/carelink.audit.v1.AuditService/ListEvents";

/// Waits until something holds; a test that waits in vain is ended by its runner.
pub(crate) async fn until(mut holds: impl AsyncFnMut() -> bool) {
    while !holds().await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Serves within a context that has a deadline.
pub(crate) async fn within<T>(deadline: Duration, call: impl Future<Output = T>) -> T {
    let trace = TraceContext::root(&Random::system(), false);
    RequestContext { trace, deadline: Some(tokio::time::Instant::now() + deadline) }.scope(call).await
}

/// A certificate authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, format!("test root {}", Random::system().uuid_v4()));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for a DNS name, good from and until so many days from now, and its key.
    pub(crate) fn issue(&self, name: &str, days: (i64, i64)) -> (String, String) {
        let now = OffsetDateTime::from_unix_timestamp(Clock::system().now().as_secs()).unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        (params.not_before, params.not_after) = (now + time::Duration::days(days.0), now + time::Duration::days(days.1));
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }
}

/// Certificate, key and authorities of one process, in files.
pub(crate) struct Papers(TempDir);

impl Papers {
    /// Of somebody whom this authority vouches for, and who believes it.
    pub(crate) fn of(authority: &Authority, name: &str) -> Self {
        Self::from(&authority.issue(&format!("{name}.carelink.internal"), (-1, 1)), &authority.pem())
    }

    pub(crate) fn from(pair: &(String, String), ca: &str) -> Self {
        let papers = Self(tempfile::tempdir().unwrap());
        papers.put(Some(pair), Some(ca));
        papers
    }

    /// Replaces what is given, key first, each file at once.
    pub(crate) fn put(&self, pair: Option<&(String, String)>, ca: Option<&str>) {
        let write = |name: &str, text: &str| {
            let new = self.path("new");
            fs::write(&new, text).unwrap();
            fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
            fs::rename(new, self.path(name)).unwrap();
        };
        if let Some((certificate, key)) = pair {
            write("key.pem", key);
            write("certificate.pem", certificate);
        }
        if let Some(ca) = ca {
            write("ca.pem", ca);
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn config(&self) -> GrpcConfig {
        GrpcConfig {
            certificate_file: Some(self.path("certificate.pem")),
            key_file: Some(self.path("key.pem")),
            ca_file: Some(self.path("ca.pem")),
            ..GrpcConfig::default()
        }
    }

    pub(crate) fn credentials(&self) -> Credentials {
        Credentials::open(&self.config(), &Clock::system()).unwrap().unwrap()
    }

    pub(crate) fn network(&self) -> Network {
        Network::mtls(self.credentials())
    }

    /// The way to the service at these addresses.
    pub(crate) fn channel(&self, addresses: &[SocketAddr]) -> Channel {
        channel(self.network(), &addresses.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    pub(crate) fn client(&self, addresses: &[SocketAddr]) -> AuditServiceClient<Channel> {
        AuditServiceClient::new(self.channel(addresses))
    }
}

pub(crate) fn channel(network: Network, audit: &[String]) -> Channel {
    let config = GrpcConfig { audit: audit.to_vec(), ..GrpcConfig::default() };
    Peers::new(config, network, Random::system()).channel(SERVICE).unwrap()
}

/// Calls that are not sent twice, which say whom they found.
pub(crate) async fn list(client: &AuditServiceClient<Channel>) -> Result<(), Status> {
    client.clone().list_events(ListEventsRequest::default()).await.map(|_| ())
}

/// Calls that may be sent twice.
pub(crate) async fn append(client: &AuditServiceClient<Channel>) -> Result<(), Status> {
    client.clone().append(AppendRequest::default()).await.map(|_| ())
}

pub(crate) fn reason(status: &Status) -> Reason {
    Failure::from_status(status).reason()
}

/// What the service does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Behaviour {
    Answers,
    Slow(Duration),
    Fails(Reason),
    Hangs,
}

/// Who called, and how long they still had.
type Seen = (Caller, Option<Duration>);

/// The service: it counts, remembers who called with how much time left, and does what it is told.
#[derive(Clone)]
pub(crate) struct Ward {
    calls: Arc<AtomicUsize>,
    behaviour: watch::Sender<Behaviour>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Ward {
    fn new() -> Self {
        Self { calls: Arc::default(), behaviour: watch::Sender::new(Behaviour::Answers), seen: Arc::default() }
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    pub(crate) fn last(&self) -> Seen {
        self.seen.lock().unwrap().last().cloned().unwrap()
    }

    /// From now on, also for whoever waits.
    pub(crate) fn behave(&self, behaviour: Behaviour) {
        self.behaviour.send_replace(behaviour);
    }

    async fn act<T, R: Default>(&self, request: &Request<T>) -> Result<Response<R>, Status> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let caller = Caller::of(request.extensions()).unwrap().clone();
        self.seen.lock().unwrap().push((caller, RequestContext::remaining()));
        let mut behaviour = self.behaviour.subscribe();
        loop {
            let now = *behaviour.borrow_and_update();
            match now {
                Behaviour::Answers => return Ok(Response::new(R::default())),
                Behaviour::Fails(reason) => return Err(Failure::new(reason).to_status()),
                Behaviour::Slow(pause) => {
                    tokio::time::sleep(pause).await;
                    return Ok(Response::new(R::default()));
                }
                Behaviour::Hangs => behaviour.changed().await.unwrap(),
            }
        }
    }
}

#[tonic::async_trait]
impl AuditService for Ward {
    async fn append(&self, request: Request<AppendRequest>) -> Result<Response<AppendResponse>, Status> {
        self.act(&request).await
    }

    async fn list_events(&self, request: Request<ListEventsRequest>) -> Result<Response<ListEventsResponse>, Status> {
        self.act(&request).await
    }
}

const CALLERS: &[CallerRow] = &[
    CallerRow::services(APPEND, &["gateway", "token-service"]).lane(Lane::First),
    CallerRow::services(LIST, &["gateway"]).and_operators(),
];

/// A running server.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) ward: Ward,
    pub(crate) papers: Papers,
    pub(crate) shutdown: Shutdown,
    pub(crate) running: JoinHandle<()>,
    ready: watch::Sender<bool>,
}

/// How one is started.
pub(crate) struct Start {
    pub(crate) papers: Papers,
    pub(crate) max_age: Duration,
    pub(crate) rooms: Rooms,
    pub(crate) more: Option<axum::Router>,
}

impl Start {
    pub(crate) fn with(authority: &Authority) -> Self {
        let papers = Papers::of(authority, SERVICE);
        Self { papers, max_age: Duration::from_secs(600), rooms: Rooms::default(), more: None }
    }

    pub(crate) async fn start(self) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ward, shutdown, readiness) = (Ward::new(), Shutdown::new(), Readiness::default());
        let (ready, said) = watch::channel(true);
        readiness.require("test", move || if *said.borrow() { Ok(()) } else { Err("told so".to_owned()) });
        let mut router = Routes::new(AuditServiceServer::new(ward.clone())).into_axum_router();
        if let Some(more) = self.more {
            router = router.merge(more);
        }
        let watch = CallerRow::services("/carelink.token.v1.TokenService/Watch", &["gateway"]).and_every_service();
        let table: Vec<CallerRow> = CALLERS.iter().copied().chain([watch]).collect();
        let stack = Stack::new(Routes::from(router), &table, Hooks::default(), Random::system());
        let config = GrpcConfig { max_connection_age: self.max_age, ..self.papers.config() };
        let credentials = self.papers.credentials();
        tokio::spawn(credentials.clone().watch(shutdown.clone()));
        let server = TlsServer::new(&config, credentials, Random::system()).rooms(self.rooms);
        let serving = server.serve(listener, vec![stack], readiness, shutdown.clone());
        let running = tokio::spawn(async move { serving.await.unwrap() });
        Server { address, ward, papers: self.papers, shutdown, running, ready }
    }
}

impl Server {
    pub(crate) async fn start(authority: &Authority) -> Self {
        Start::with(authority).start().await
    }

    pub(crate) fn is_ready(&self, ready: bool) {
        self.ready.send_replace(ready);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.request();
    }
}

/// What a wire does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carries {
    /// What it should.
    All,
    /// Nothing, and nobody is told: as if the network had gone.
    Nothing,
    /// Nothing, and both ends are told: as if the machine behind it had died.
    Broken,
}

/// A wire to a server.
pub(crate) struct Wire {
    pub(crate) address: SocketAddr,
    /// Connections there have been.
    pub(crate) made: Arc<AtomicUsize>,
    carries: watch::Sender<Carries>,
}

impl Wire {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (carries, made) = (watch::Sender::new(Carries::All), Arc::new(AtomicUsize::new(0)));
        let (count, now) = (Arc::clone(&made), carries.clone());
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let mut now = now.subscribe();
                tokio::spawn(async move {
                    if *now.borrow() != Carries::Broken {
                        let mut far = TcpStream::connect(server).await.unwrap();
                        carry(&mut near, &mut far, &mut now).await;
                    }
                });
            }
        });
        Self { address, made, carries }
    }

    /// From now on.
    pub(crate) fn carries(&self, what: Carries) {
        self.carries.send_replace(what);
    }
}

async fn carry(near: &mut TcpStream, far: &mut TcpStream, now: &mut watch::Receiver<Carries>) {
    tokio::select! {
        biased;
        what = now.wait_for(|what| *what != Carries::All) => match what.map(|what| *what) {
            Ok(Carries::Nothing) => {}
            _ => return,
        },
        _ = tokio::io::copy_bidirectional(near, far) => return,
    }
    let _ = now.wait_for(|what| *what == Carries::Broken).await; // or the end of the test
}

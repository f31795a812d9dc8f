//! A service as a process of its own. Every service's `main` reads the same: configuration, telemetry, build, serve, flush.
//!
//! Certificates say who a process is (section `grpc`): with them it is served over mTLS and calls the others by [`Process::channel`].
//! Without them operators reach it through the control socket of its data directory and nobody else does; whoever it would call is
//! unavailable, and what waits in an outbox waits on.

mod args;
mod keys;
#[cfg(test)]
mod tests;

use std::{error::Error, future::Future, io::Write as _, net::SocketAddr, os::unix::fs::DirBuilderExt, path::PathBuf, process::ExitCode};

use carelink_verifier::Verifier;
use clap::Parser;
use tokio::net::TcpListener;
use tonic::{
    Status,
    body::Body,
    codegen::http::{Request, Response},
};
use tower::util::BoxCloneSyncService;

use self::args::Args;
pub use self::args::{KeysConfig, OpsConfig};
use crate::{
    clock::Clock,
    config::{ConfigError, SECTIONS, Settings},
    grpc::{Channel, Credentials, GrpcConfig, Network, Peers, Stack, TlsServer, serve_unix},
    lifecycle::Shutdown,
    location::{DatabaseConfig, Location, Postgres},
    operations::{self, Told},
    ops::{self, Readiness},
    random::Random,
    telemetry::{self, Telemetry},
    verified::VerifierConfig,
};

/// Exit status of a process whose configuration is wrong.
const BAD_CONFIGURATION: u8 = 64;

/// What a process may fail with before it serves.
pub type Failed = Box<dyn Error + Send + Sync>;

/// Which service a process is.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// As others know it: `token-service`.
    pub name: &'static str,
    /// What names its files and its section: `token`.
    pub short: &'static str,
    /// Where it is by default, on 127.0.0.1.
    pub port: u16,
    /// Where health and metrics are by default.
    pub ops_port: u16,
}

/// A process that is starting.
#[derive(Debug)]
pub struct Process {
    /// What is configured; the service asks for its sections.
    pub settings: Settings,
    /// Everything's time.
    pub clock: Clock,
    /// Everything's randomness.
    pub random: Random,
    service: Service,
    at: Location,
    data: PathBuf,
    listen: Option<SocketAddr>,
    /// Where services and operators reach it over mTLS.
    internal: Option<SocketAddr>,
    ops: SocketAddr,
    keys: KeysConfig,
    grpc: GrpcConfig,
    credentials: Option<Credentials>,
    peers: Option<Peers>,
    /// Of what takes requests.
    edge: Shutdown,
    /// Of the service behind it, which goes on until all requests are answered.
    inside: Shutdown,
    telemetry: Option<Telemetry>,
}

/// Runs a service: `serve` builds it and ends with [`Process::serve`].
pub fn run<F: Future<Output = Result<(), Failed>>>(service: Service, serve: impl FnOnce(Process) -> F) -> ExitCode {
    let args = Args::parse();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default(); // a second one in a test is the same
    let failed = |error: Failed| {
        let _ = writeln!(std::io::stderr(), "{}: {error}", service.name); // nobody left to tell
        if error.is::<ConfigError>() { ExitCode::from(BAD_CONFIGURATION) } else { ExitCode::FAILURE }
    };
    let served = tokio::runtime::Runtime::new().map_err(Failed::from).and_then(|runtime| {
        runtime.block_on(async {
            let process = Process::start(service, args, std::env::vars())?;
            serve(process).await
        })
    });
    served.map_or_else(failed, |()| ExitCode::SUCCESS)
}

impl Process {
    fn start(service: Service, args: Args, environment: impl IntoIterator<Item = (String, String)>) -> Result<Self, Failed> {
        let Args { config, data, listen, ops_port } = args;
        let file = config.or_else(|| Some(data.join("carelink.toml")).filter(|file| file.is_file()));
        let mut settings = Settings::load(file.as_deref(), environment)?;
        let telemetry = telemetry::init(&settings.section("telemetry")?, service.name)?;
        let grpc = settings.section::<GrpcConfig>("grpc")?.validate()?;
        let ops = settings.section::<OpsConfig>("ops")?.validate()?;
        let keys = settings.section("keys")?;
        let at = location(&mut settings, service, &data)?;
        settings.pass_over_databases()?;
        settings.ignore(SECTIONS);
        settings.finish()?;
        if let Location::File(file) = &at
            && service.has_database()
        {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(file.parent().unwrap_or(&data))?;
        }
        let (clock, random) = (Clock::system(), Random::system());
        let credentials = Credentials::open(&grpc, &clock)?;
        let edge = Shutdown::on_signals_after(ops.drain_delay)?;
        let listen = listen.or_else(|| grpc.listen.filter(|_| service.has_database()));
        let usual = SocketAddr::from(([127, 0, 0, 1], service.port));
        Ok(Self {
            settings,
            service,
            internal: if service.has_database() { Some(listen.unwrap_or(usual)) } else { ops.operators_listen },
            at,
            data,
            listen,
            ops: (ops.listen, ops_port.unwrap_or(service.ops_port)).into(),
            keys,
            peers: credentials.clone().map(|credentials| Peers::new(grpc.clone(), Network::mtls(credentials), random.clone())),
            credentials,
            grpc,
            inside: edge.after(),
            edge,
            clock,
            random,
            telemetry: Some(telemetry),
        })
    }

    /// Where the service's database is.
    pub fn database(&self) -> Location {
        self.at.clone()
    }

    /// How this service calls another.
    ///
    /// # Errors
    /// Where this process has certificates, but nothing says where the other one is.
    pub fn channel(&self, to: &'static str) -> Result<Channel, ConfigError> {
        match &self.peers {
            Some(peers) => peers.channel(to),
            None => Ok(BoxCloneSyncService::new(tower::service_fn(move |_: Request<Body>| async move {
                Err::<Response<Body>, _>(Status::unavailable(format!("no address of {to} is configured")))
            }))),
        }
    }

    /// What judges users' tokens here, by the stream of token-service.
    ///
    /// # Errors
    /// Where the section `verifier` cannot be used, or nothing says where token-service is.
    pub fn verifier(&mut self) -> Result<Verifier, ConfigError> {
        let config = self.settings.section::<VerifierConfig>("verifier")?;
        Ok(Verifier::start(config.named(self.service.name), self.channel("token-service")?))
    }

    /// What operators ask of this process, whatever it serves.
    pub fn operations(&self, told: Told) -> Stack {
        operations::stack(self.service.name, told, self.clock.clone(), self.random.clone())
    }

    /// Where the command line says that others reach this process; `grpc.listen` says it of all but the edge.
    pub fn listen(&self) -> Option<SocketAddr> {
        self.listen
    }

    /// When the service is to stop: once no more requests come.
    pub fn shutdown(&self) -> Shutdown {
        self.inside.clone()
    }

    /// Serves others, operators and the ops port while `running` runs; returns when it has ended and everything has drained.
    ///
    /// A stop has an order: not ready, no new requests, what is under way is answered, the service finishes what it began.
    ///
    /// # Errors
    /// Where a socket or port cannot be bound.
    pub async fn serve(mut self, stacks: Vec<Stack>, readiness: Readiness, running: impl Future<Output = ()>) -> Result<(), Failed> {
        let end = self.edge.after();
        let ops = ops::bind(self.ops).await.map_err(|error| taken(self.ops, "--ops-port", &error))?;
        end.spawn(ops::serve(ops, readiness.clone(), end.clone()));
        if let Some(credentials) = self.credentials.take() {
            self.edge.spawn(credentials.clone().watch(self.edge.clone()));
            if let Some(address) = self.internal.filter(|_| !stacks.is_empty()) {
                self.serve_tls(address, credentials, stacks.clone(), readiness).await?;
            }
        }
        if matches!(self.at, Location::File(_)) && self.service.has_database() && !stacks.is_empty() {
            serve_unix(&self.data.join("control.sock"), stacks, self.edge.clone()).await?;
        }
        let draining = async {
            self.edge.requested().await;
            if !self.edge.drained().await {
                tracing::warn!("some requests were still being answered at the end");
            }
            self.inside.request();
        };
        tokio::join!(draining, running);
        end.request();
        end.drained().await;
        drop(self.telemetry.take());
        Ok(())
    }

    async fn serve_tls(
        &self,
        address: SocketAddr,
        credentials: Credentials,
        stacks: Vec<Stack>,
        readiness: Readiness,
    ) -> Result<(), Failed> {
        let listener = TcpListener::bind(address).await.map_err(|error| taken(address, "--listen", &error))?;
        tracing::info!(address = %listener.local_addr()?, "serving over mTLS");
        let server = TlsServer::new(&self.grpc, credentials, self.random.clone());
        let stop = self.edge.clone();
        self.edge.spawn(async move {
            if let Err(error) = server.serve(listener, stacks, readiness, stop).await {
                tracing::error!(%error, "nothing is served over mTLS");
            }
        });
        Ok(())
    }
}

fn location(settings: &mut Settings, service: Service, data: &std::path::Path) -> Result<Location, ConfigError> {
    let config = settings.section::<DatabaseConfig>("database")?.validate()?;
    let url = if service.has_database() { settings.database_url(service.short)? } else { None };
    Ok(match url {
        Some(url) => Location::Postgres(Postgres { url, config }),
        None => Location::File(data.join(format!("{}.sqlite3", service.short))),
    })
}

impl Service {
    /// All but the edge.
    fn has_database(self) -> bool {
        self.short != "gateway"
    }
}

fn taken(address: SocketAddr, option: &str, error: &std::io::Error) -> Failed {
    format!("cannot listen on {address}: {error}; choose another with {option}").into()
}

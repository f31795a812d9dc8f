//! A service as a process of its own. Every service's `main` reads the same: configuration, telemetry, build, serve, flush.
//!
//! Operators reach it through the control socket of its data directory. Services reach each other by [`Process::channel`]; without
//! an address for them, whoever is called is unavailable, and what waits in an outbox waits on.

use std::{error::Error, future::Future, io::Write as _, net::Ipv4Addr, path::PathBuf, process::ExitCode};

use clap::Parser;
use tonic::{
    Status,
    body::Body,
    codegen::http::{Request, Response},
};
use tower::util::BoxCloneSyncService;

use crate::{
    clock::Clock,
    config::{ConfigError, SECTIONS, Settings},
    grpc::{Channel, Stack, serve_unix},
    lifecycle::Shutdown,
    ops::{self, Readiness},
    random::Random,
    secrets::{MasterKey, SecretError},
    telemetry::{self, Telemetry},
};

/// Exit status of a process whose configuration is wrong.
const BAD_CONFIGURATION: u8 = 64;

/// What a process may fail with before it serves.
pub type Failed = Box<dyn Error + Send + Sync>;

/// The command line of every service.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// The data directory: the database, the service's key, the operators' socket
    #[arg(long, value_name = "DIR", default_value = "./carelink-data")]
    data: PathBuf,
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The port for health and metrics, on 127.0.0.1; 0 for any free one
    #[arg(long, value_name = "PORT")]
    ops_port: Option<u16>,
}

/// Which service a process is.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// As others know it: `token-service`.
    pub name: &'static str,
    /// What names its files: `token`.
    pub short: &'static str,
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
    data: PathBuf,
    ops_port: u16,
    shutdown: Shutdown,
    telemetry: Option<Telemetry>,
}

/// Runs a service: `serve` builds it and ends with [`Process::serve`].
pub fn run<F: Future<Output = Result<(), Failed>>>(service: Service, serve: impl FnOnce(Process) -> F) -> ExitCode {
    let args = Args::parse();
    let failed = |error: Failed| {
        let _ = writeln!(std::io::stderr(), "{}: {error}", service.name); // nobody left to tell
        if error.is::<ConfigError>() { ExitCode::from(BAD_CONFIGURATION) } else { ExitCode::FAILURE }
    };
    let served = tokio::runtime::Runtime::new().map_err(Failed::from).and_then(|runtime| {
        runtime.block_on(async {
            let process = Process::start(service, args)?;
            serve(process).await
        })
    });
    served.map_or_else(failed, |()| ExitCode::SUCCESS)
}

impl Process {
    fn start(service: Service, args: Args) -> Result<Self, Failed> {
        let mut settings = Settings::load(args.config.as_deref(), std::env::vars())?;
        let telemetry = telemetry::init(&settings.section("telemetry")?, service.name)?;
        settings.ignore(SECTIONS);
        settings.finish()?;
        std::fs::create_dir_all(&args.data)?;
        Ok(Self {
            settings,
            clock: Clock::system(),
            random: Random::system(),
            service,
            data: args.data,
            ops_port: args.ops_port.unwrap_or(service.ops_port),
            shutdown: Shutdown::on_signals()?,
            telemetry: Some(telemetry),
        })
    }

    /// The service's database.
    pub fn database(&self) -> PathBuf {
        self.data.join(format!("{}.sqlite3", self.service.short))
    }

    /// The service's own master key (K3), made where there is none.
    ///
    /// # Errors
    /// Where it cannot be read or written.
    pub fn master_key(&self) -> Result<MasterKey, SecretError> {
        MasterKey::load_or_create(&self.data.join(format!("{}.key", self.service.short)), &self.random).map(|(key, _)| key)
    }

    /// How this service calls another.
    pub fn channel(&self, to: &'static str) -> Channel {
        BoxCloneSyncService::new(tower::service_fn(move |_: Request<Body>| async move {
            Err::<Response<Body>, _>(Status::unavailable(format!("no address of {to} is configured")))
        }))
    }

    /// When to stop.
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// Serves operators and the ops port while `running` runs; returns when it has ended and everything has drained.
    ///
    /// # Errors
    /// Where a socket or port cannot be bound.
    pub async fn serve(mut self, stacks: Vec<Stack>, readiness: Readiness, running: impl Future<Output = ()>) -> Result<(), Failed> {
        serve_unix(&self.data.join("control.sock"), stacks, self.shutdown.clone()).await?;
        let listener = ops::bind((Ipv4Addr::LOCALHOST, self.ops_port).into()).await?;
        self.shutdown.spawn(ops::serve(listener, readiness, self.shutdown.clone()));
        running.await;
        self.shutdown.drained().await;
        drop(self.telemetry.take());
        Ok(())
    }
}

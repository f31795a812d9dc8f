//! The audit service as a process of its own: parse, load, build, serve, flush.

use std::{error::Error, io::Write as _, net::Ipv4Addr, path::PathBuf, process::ExitCode};

use audit_service::{App, Config, Options};
use carelink_platform::{
    clock::Clock,
    config::{ConfigError, Settings},
    grpc::{Hooks, serve_unix},
    lifecycle::Shutdown,
    ops::{self, Readiness},
    random::Random,
    seal::{self, SealingKeyPair},
    secrets::MasterKey,
    telemetry::{self, TelemetryConfig},
};
use clap::Parser;

/// Sections of a file that configures other services too.
const OTHERS: &[&str] = &["session", "password", "limits", "gateway", "legacy", "token", "verifier"];
const BAD_CONFIGURATION: u8 = 64;

/// Keeps the trail of CareLink. `carelink up` runs it together with everything else.
#[derive(Parser)]
#[command(name = "audit-service", version, after_help = "Examples:\n  audit-service --data /var/lib/carelink-audit")]
struct Args {
    /// The data directory: the trail, its key, the operators' socket
    #[arg(long, value_name = "DIR", default_value = "./carelink-data")]
    data: PathBuf,
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The port for health and metrics, on 127.0.0.1
    #[arg(long, value_name = "PORT", default_value_t = 9103)]
    ops_port: u16,
}

#[tokio::main]
async fn main() -> ExitCode {
    match serve(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "audit-service: {error}"); // nobody left to tell
            if error.is::<ConfigError>() { ExitCode::from(BAD_CONFIGURATION) } else { ExitCode::FAILURE }
        }
    }
}

async fn serve(args: Args) -> Result<(), Box<dyn Error>> {
    let mut settings = Settings::load(args.config.as_deref(), std::env::vars())?;
    let (config, telemetry) = (settings.section::<Config>("audit")?.validate()?, settings.section::<TelemetryConfig>("telemetry")?);
    settings.ignore(OTHERS);
    settings.finish()?;
    let _flushed_at_the_end = telemetry::init(&telemetry, "audit-service")?;
    let (random, shutdown) = (Random::system(), Shutdown::on_signals()?);
    std::fs::create_dir_all(&args.data)?;
    let (master, _) = MasterKey::load_or_create(&args.data.join("audit.key"), &random)?;
    let sealing = SealingKeyPair::from_secret(&master.derive(seal::PURPOSE))?;
    let path = args.data.join("audit.sqlite3");
    let app = App::build(Options { config, path, clock: Clock::system(), random, sealing, hooks: Hooks::default() }).await?;
    serve_unix(&args.data.join("control.sock"), vec![app.stack()], shutdown.clone()).await?;
    let listener = ops::bind((Ipv4Addr::LOCALHOST, args.ops_port).into()).await?;
    shutdown.spawn(ops::serve(listener, Readiness::default(), shutdown.clone()));
    app.run(shutdown.clone()).await;
    shutdown.drained().await;
    Ok(())
}

//! `carelink up`: all of CareLink in one process, on embedded SQLite.
//!
//! `settings` reads what is configured, `directory` takes the data directory, `listen` binds, `house` wires the services through
//! their own stacks, `announce` tells the operator, `running` whoever asks later, `demo` puts people in.

mod announce;
mod demo;
mod directory;
mod house;
mod listen;
pub(crate) mod running;
mod settings;

use std::{net::SocketAddr, path::PathBuf};

use carelink_platform::{
    clock::Clock,
    grpc::serve_unix,
    lifecycle::Shutdown,
    ops::{self, Readiness},
    telemetry,
};
use clap::Args as ClapArgs;

use self::{directory::Directory, house::House, settings::Settings};
use crate::{before, cli::Context, error::failed};

/// Where HTTP is by default.
const PORT: u16 = 8000;

/// Of `carelink up --help`.
pub(crate) const EXAMPLES: &str = "Examples:
  carelink up --demo
  carelink up --data /var/lib/carelink
  carelink up --port 0 --ops-port 0
  carelink up --data /data --listen 0.0.0.0:8000";

/// `carelink up`.
#[derive(ClapArgs, Debug)]
pub(crate) struct Args {
    /// The port on 127.0.0.1 and [::1] (8000 where gateway.listen names none); 0 for any free one
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// The port for health and metrics; 0 for any free one
    #[arg(long, value_name = "PORT", default_value_t = 9000)]
    pub(crate) ops_port: u16,
    /// Listen here instead, for containers; may be repeated
    #[arg(long, value_name = "ADDRESS", conflicts_with = "port")]
    pub(crate) listen: Vec<SocketAddr>,
    /// A throw-away directory with a few users, whose passwords are printed
    #[arg(long, conflicts_with = "data")]
    pub(crate) demo: bool,
}

/// Runs until told to stop.
pub(crate) async fn run(args: Args, context: &mut Context) -> anyhow::Result<()> {
    let throw_away = args.demo.then(demo::directory).transpose()?;
    let data: PathBuf = throw_away.as_ref().map_or_else(|| context.data().to_owned(), |dir| dir.path().to_owned());
    let settings = Settings::read(context.config(), &data)?;
    let telemetry = telemetry::init(&settings.telemetry, "carelink")?;
    let (clock, random) = (Clock::system(), context.random.clone());
    let directory = Directory::take(&data, &random)?;
    if let Some(file) = before::keep(&data, &clock).await? {
        tracing::info!(file = %file.display(), "the databases are of an earlier version: before they are brought up to date, as they were");
    }
    let configured = args.listen.is_empty() && args.port.is_none();
    let named = if configured { &settings.gateway.gateway.listen } else { &args.listen };
    let listeners = listen::bind(named, args.port.unwrap_or(PORT)).await?;
    let ops = listen::bind_ops(args.ops_port).await?;
    let addresses = listen::Addresses::of(&settings.gateway.gateway, &listeners, &ops)?;
    let shutdown = Shutdown::on_signals()?;

    let house = House::build(settings, &directory, listeners, &clock, &random).await?;
    let readiness = Readiness::default();
    readiness.require("gateway", house.gateway_ready());
    serve_unix(&directory.socket(), house.stacks(), shutdown.clone())
        .await
        .map_err(|error| failed("control_socket", format!("{}: cannot serve the control socket: {error}", directory.socket().display())))?;
    shutdown.spawn(ops::serve(ops, readiness, shutdown.clone()));
    let people = if args.demo { demo::people(&house).await? } else { Vec::new() };
    let administrator = if args.demo { None } else { house.first_administrator().await? };
    let running = tokio::spawn(house.run(shutdown.clone()));
    running::remember(&data, &addresses);
    let announced = announce::all(context, &directory, &addresses, administrator.as_ref(), &people, args.listen.is_empty());
    if announced.is_err() {
        shutdown.request();
    }
    let ended = running.await;
    running::forget(&data);
    if !shutdown.drained().await {
        tracing::warn!("some work was still under way at the end");
    }
    drop(telemetry);
    ended.map_err(|error| failed("internal", format!("a service stopped by itself: {error}")))?;
    announced
}

//! `carelink up`: all of CareLink in one process.

use std::net::SocketAddr;

use clap::Args as ClapArgs;

use crate::{cli::Context, error::failed};

/// Of `carelink up --help`.
pub(crate) const EXAMPLES: &str = "Examples:
  carelink up --demo
  carelink up --data /var/lib/carelink
  carelink up --port 0 --ops-port 0
  carelink up --data /data --listen 0.0.0.0:8000";

/// `carelink up`.
#[derive(ClapArgs, Debug)]
pub(crate) struct Args {
    /// The port on 127.0.0.1 and [::1]; 0 for any free one
    #[arg(long, value_name = "PORT", default_value_t = 8000)]
    pub(crate) port: u16,
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
#[allow(clippy::unused_async)]
pub(crate) async fn run(_args: Args, _context: &mut Context) -> anyhow::Result<()> {
    Err(failed("failed", "not here yet"))
}

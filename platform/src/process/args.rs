//! The command line of every service, and the sections that every process reads.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::Parser;
use serde::{Deserialize, Serialize};

use crate::config::{ConfigError, duration};

/// Longer, and whoever stops the process will lose patience with it.
const LONGEST_DRAIN_DELAY: Duration = Duration::from_secs(60);

/// The command line of every service.
#[derive(Debug, Parser)]
#[command(version)]
pub(super) struct Args {
    /// The configuration file; otherwise carelink.toml of the data directory, where there is one
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// The data directory: the database, the service's key, the operators' socket. Not used with PostgreSQL
    #[arg(long, value_name = "DIR", default_value = "./carelink-data")]
    pub(super) data: PathBuf,
    /// Where others reach this process
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(super) listen: Option<SocketAddr>,
    /// The port for health and metrics; 0 for any free one
    #[arg(long, value_name = "PORT")]
    pub(super) ops_port: Option<u16>,
}

crate::settings! {
    /// The section `ops`.
    #[derive(Clone, Debug, Serialize, Deserialize)]
    pub struct OpsConfig {
        /// The address of the ops port.
        pub listen: IpAddr,
        /// Where operators reach a gateway by certificate, since it serves no other service; none: nowhere.
        pub operators_listen: Option<SocketAddr>,
        /// How long a process that is to stop says so before it takes no more requests.
        #[serde(with = "duration")]
        pub drain_delay: Duration,
    }
}

impl Default for OpsConfig {
    fn default() -> Self {
        Self { listen: IpAddr::V4(Ipv4Addr::LOCALHOST), operators_listen: None, drain_delay: Duration::from_millis(500) }
    }
}

impl OpsConfig {
    /// Checks what types cannot.
    ///
    /// # Errors
    /// Where a value cannot be meant.
    pub fn validate(self) -> Result<Self, ConfigError> {
        if self.drain_delay > LONGEST_DRAIN_DELAY {
            return Err(ConfigError::invalid("ops.drain_delay", "at most 60s"));
        }
        Ok(self)
    }
}

crate::settings! {
    /// The section `keys`: one file for a whole fleet may name them all, each process reads its own.
    #[derive(Clone, Debug, Default, Serialize, Deserialize)]
    pub struct KeysConfig {
        /// The service's own master key (K3). None: in the data directory.
        pub master_key_file: Option<PathBuf>,
        /// The public keys of auth-service, for token-service (G1).
        pub assertion_keys_file: Option<PathBuf>,
        /// The public key of audit-service, for whoever writes events (A3).
        pub sealing_key_file: Option<PathBuf>,
    }
}

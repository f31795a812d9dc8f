//! `running.json` in a data directory: where the process listens that has it, for `carelink doctor` and whoever else asks later.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use carelink_platform::secrets::write_private;
use serde::{Deserialize, Serialize};

use super::listen::Addresses;

/// What it says. It may be of a process that was killed.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Running {
    pub(crate) pid: u32,
    pub(crate) version: String,
    pub(crate) url: String,
    pub(crate) listening: Vec<SocketAddr>,
    pub(crate) ops: SocketAddr,
}

fn path(directory: &Path) -> PathBuf {
    directory.join("running.json")
}

/// Writes it. That it could not be written holds up nobody.
pub(super) fn remember(directory: &Path, addresses: &Addresses) {
    let running = Running {
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        url: addresses.url(),
        listening: addresses.http.clone(),
        ops: addresses.ops,
    };
    forget(directory); // of a process that was killed
    let written = serde_json::to_string(&running).map_err(io::Error::from).and_then(|text| write_private(&path(directory), &text));
    if let Err(error) = written {
        tracing::warn!(%error, "where this process listens could not be noted; carelink doctor has to be told");
    }
}

/// Removes it.
pub(super) fn forget(directory: &Path) {
    let _ = fs::remove_file(path(directory)); // there may be none
}

/// Reads it, where there is one.
pub(crate) fn read(directory: &Path) -> Option<Running> {
    serde_json::from_slice(&fs::read(path(directory)).ok()?).ok()
}

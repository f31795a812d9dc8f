//! The data directory: made private, held by one process at a time, with the key that everything else is sealed under.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use carelink_platform::{random::Random, secrets::MasterKey};
use rustix::fs::{FlockOperation, flock};

use crate::error::failed;

/// A data directory that this process holds.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    pub(super) master: MasterKey,
    /// Whether this start made the key.
    pub(super) new_master: bool,
    _held: File,
}

impl Directory {
    /// Makes the directory where there is none, and takes it.
    pub(super) fn take(path: &Path, random: &Random) -> anyhow::Result<Self> {
        let shown = path.display();
        let unusable = |error: io::Error| match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => failed(
                "data_directory",
                format!("{shown} cannot be written ({error}); give this user the directory, or name another with --data"),
            ),
            _ => failed("data_directory", format!("{shown} cannot be the data directory: {error}; name another with --data")),
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
        let held = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path.join("lock")).map_err(unusable)?;
        flock(&held, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            rustix::io::Errno::WOULDBLOCK => failed(
                "data_directory_in_use",
                format!("another `carelink up` runs on {shown}; stop it first, or name another directory with --data"),
            ),
            error => unusable(error.into()),
        })?;
        let (master, new_master) =
            MasterKey::load_or_create(&path.join("master.key"), random).map_err(|error| failed("master_key", error.to_string()))?;
        Ok(Self { path: path.to_owned(), master, new_master, _held: held })
    }

    /// A service's database.
    pub(super) fn database(&self, service: &str) -> PathBuf {
        self.path.join(format!("{service}.sqlite3"))
    }

    /// Where the operator's commands connect (G3).
    pub(super) fn socket(&self) -> PathBuf {
        self.path.join("control.sock")
    }

    /// Where the first administrator's password waits where there is no terminal (C6).
    pub(super) fn first_admin(&self) -> PathBuf {
        self.path.join("first-admin")
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

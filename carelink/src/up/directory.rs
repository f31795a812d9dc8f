//! The data directory: made private, held by one process at a time, with the key that everything else is sealed under.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use carelink_platform::{random::Random, secrets::MasterKey};
use rustix::fs::{FlockOperation, flock};

use crate::error::failed;

/// Whose databases are here, in the order in which a first start makes them.
const SERVICES: [&str; 3] = ["audit", "token", "auth"];

/// A data directory that this process holds.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    pub(super) master: MasterKey,
    /// Whether nothing was kept under the key before: also where an earlier start made it and got no further.
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
        let meta = fs::metadata(path).map_err(unusable)?;
        if meta.mode() & 0o002 != 0 {
            let sentence =
                format!("{shown} may be written by everybody, who could put files of their own in place; try: chmod o-w {shown}");
            return Err(failed("data_directory", sentence));
        }
        if meta.uid() != rustix::process::geteuid().as_raw() {
            tracing::warn!(owner = meta.uid(), "the data directory belongs to another user, who cannot run on the files made here");
        }
        let held = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path.join("lock")).map_err(unusable)?;
        flock(&held, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            rustix::io::Errno::WOULDBLOCK => failed(
                "data_directory_in_use",
                format!("another `carelink up` runs on {shown}; stop it first, or name another directory with --data"),
            ),
            error => unusable(error.into()),
        })?;
        let kept = SERVICES.into_iter().map(|service| database(path, service)).find(|database| database.exists());
        let key = path.join("master.key");
        if let (Some(database), false) = (&kept, key.exists()) {
            // A key made anew would open nothing, and stand in the way of the one that does.
            let sentence = format!(
                "{} is not there, and {} was written under it; put it back from where a copy was kept (mode 0600)",
                key.display(),
                database.display()
            );
            return Err(failed("master_key_missing", sentence));
        }
        if let Some((missing, later)) = gap(path) {
            let sentence = format!(
                "{} is not there, though {} is: what it held would be lost for good; put it back from a backup, or start with an empty directory",
                missing.display(),
                later.display()
            );
            return Err(failed("database_missing", sentence));
        }
        let (master, made) = MasterKey::load_or_create(&key, random).map_err(|error| failed("master_key", error.to_string()))?;
        Ok(Self { path: path.to_owned(), master, new_master: made || kept.is_none(), _held: held })
    }

    /// A service's database.
    pub(super) fn database(&self, service: &str) -> PathBuf {
        database(&self.path, service)
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

fn database(directory: &Path, service: &str) -> PathBuf {
    directory.join(format!("{service}.sqlite3"))
}

/// A database that is gone, and one that was made after it.
fn gap(directory: &Path) -> Option<(PathBuf, PathBuf)> {
    let databases = SERVICES.map(|service| database(directory, service));
    let last = databases.iter().rposition(|database| database.exists())?;
    let missing = databases.iter().take(last).find(|database| !database.exists())?;
    Some((missing.clone(), databases.get(last)?.clone()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn refused(path: &Path) -> String {
        Directory::take(path, &Random::seeded(1)).unwrap_err().to_string()
    }

    #[test]
    fn k3_a_missing_master_key_is_not_made_anew_beside_what_was_written_under_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        assert!(Directory::take(&path, &Random::seeded(1)).unwrap().new_master);
        fs::write(path.join("audit.sqlite3"), "").unwrap();
        assert!(!Directory::take(&path, &Random::seeded(1)).unwrap().new_master);
        fs::remove_file(path.join("master.key")).unwrap();
        let sentence = refused(&path);
        assert!(sentence.contains("master.key is not there") && sentence.contains("audit.sqlite3"), "{sentence}");
        assert!(!path.join("master.key").exists());
    }

    #[test]
    fn r2_a_database_that_is_gone_is_not_made_anew_beside_those_that_need_it() {
        let dir = tempfile::tempdir().unwrap();
        drop(Directory::take(dir.path(), &Random::seeded(1)).unwrap());
        for service in SERVICES {
            fs::write(dir.path().join(format!("{service}.sqlite3")), "").unwrap();
            drop(Directory::take(dir.path(), &Random::seeded(1)).unwrap()); // a first start that got so far goes on
        }
        fs::remove_file(dir.path().join("token.sqlite3")).unwrap();
        let sentence = refused(dir.path());
        assert!(sentence.contains("token.sqlite3 is not there, though") && sentence.contains("auth.sqlite3 is"), "{sentence}");
    }

    #[test]
    fn k3_a_key_is_new_until_something_is_kept_under_it() {
        let dir = tempfile::tempdir().unwrap();
        drop(Directory::take(dir.path(), &Random::seeded(1)).unwrap());
        assert!(Directory::take(dir.path(), &Random::seeded(1)).unwrap().new_master);
    }

    #[test]
    fn k3_a_directory_that_everybody_may_write_holds_no_keys() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(refused(dir.path()).contains("may be written by everybody"));
        assert!(!dir.path().join("master.key").exists());
    }
}

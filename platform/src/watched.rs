//! Something made of files that others renew under a running process: certificates and keys.
//!
//! What the files come to hold is made into a new value, which takes the place of the old one; what cannot be used is an error in the
//! log, and the old one goes on.

use std::{
    error::Error,
    fmt, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use aws_lc_rs::digest::{Context, SHA256};

use crate::lifecycle::Shutdown;

/// How often files are looked at. What changed must look the same twice: it may still be being written.
const LOOK: Duration = Duration::from_secs(1);

/// Why nothing can be made of the files.
pub type Unusable = Box<dyn Error + Send + Sync>;

type Make<T> = dyn Fn(&[Vec<u8>]) -> Result<T, Unusable> + Send + Sync;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A private key that is not private.
    #[error("{path} may be read by everybody; make it private: chmod 600 {path}", path = path.display())]
    Exposed {
        /// Which.
        path: PathBuf,
    },
}

/// A file, and whether everybody may read it.
#[derive(Clone, Debug)]
pub enum Source {
    /// Certificates.
    Public(PathBuf),
    /// Keys.
    Private(PathBuf),
}

/// A value that changes with its files. Cheap to clone.
pub struct Watched<T> {
    what: &'static str,
    sources: Arc<[Source]>,
    make: Arc<Make<T>>,
    current: Arc<RwLock<Arc<T>>>,
    used: [u8; 32],
}

impl<T> Clone for Watched<T> {
    fn clone(&self) -> Self {
        let (sources, make, current) = (Arc::clone(&self.sources), Arc::clone(&self.make), Arc::clone(&self.current));
        Self { what: self.what, sources, make, current, used: self.used }
    }
}

impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watched").field(&self.what).field(&self.sources).finish()
    }
}

impl<T: Send + Sync + 'static> Watched<T> {
    /// Reads the files and makes the first value. `what` names it in the log: "certificates".
    ///
    /// # Errors
    /// Where a file cannot be read, or nothing be made of them.
    pub fn open(
        what: &'static str,
        sources: Vec<Source>,
        make: impl Fn(&[Vec<u8>]) -> Result<T, Unusable> + Send + Sync + 'static,
    ) -> Result<Self, Unusable> {
        let contents = read(&sources)?;
        let current = Arc::new(RwLock::new(Arc::new(make(&contents)?)));
        Ok(Self { what, sources: sources.into(), make: Arc::new(make), current, used: digest(&contents) })
    }

    /// The value of now.
    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes up what the files come to hold, until the stop is requested.
    pub async fn watch(self, shutdown: Shutdown) {
        let (mut used, mut seen) = (Some(self.used), Some(self.used));
        let mut told = false;
        loop {
            tokio::select! { () = tokio::time::sleep(LOOK) => {}, () = shutdown.requested() => return }
            let sources = Arc::clone(&self.sources);
            let Ok(found) = tokio::task::spawn_blocking(move || read(&sources)).await else { continue };
            let contents = match found {
                Ok(contents) => contents,
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        self.refused(&error);
                    }
                    seen = None;
                    continue;
                }
            };
            told = false;
            let now = Some(digest(&contents));
            if std::mem::replace(&mut seen, now) != now || used == now {
                continue;
            }
            used = now;
            match (self.make)(&contents) {
                Ok(made) => {
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(made);
                    metrics::counter!("carelink_tls_reloads_total", "outcome" => "taken").increment(1);
                    tracing::info!(what = self.what, "changed files are in use");
                }
                Err(error) => self.refused(&*error),
            }
        }
    }

    fn refused(&self, error: &(dyn Error + 'static)) {
        metrics::counter!("carelink_tls_reloads_total", "outcome" => "failed").increment(1);
        tracing::error!(what = self.what, error, "changed files cannot be used; what they held before goes on");
    }
}

fn read(sources: &[Source]) -> Result<Vec<Vec<u8>>, FileError> {
    sources.iter().map(read_one).collect()
}

fn read_one(source: &Source) -> Result<Vec<u8>, FileError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| FileError::Unreadable { path, source }
    };
    let path = match source {
        Source::Public(path) => path,
        Source::Private(path) => {
            let mode = fs::metadata(path).map_err(unreadable(path))?.mode();
            if mode & 0o007 != 0 {
                return Err(FileError::Exposed { path: path.clone() });
            }
            path
        }
    };
    fs::read(path).map_err(unreadable(path))
}

fn digest(contents: &[Vec<u8>]) -> [u8; 32] {
    let mut hash = Context::new(&SHA256);
    for content in contents {
        hash.update(&(content.len() as u64).to_be_bytes());
        hash.update(content);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(hash.finish().as_ref());
    digest
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn text(contents: &[Vec<u8>]) -> Result<String, Unusable> {
        let text = String::from_utf8(contents.concat())?;
        if text.contains("broken") { Err("broken".into()) } else { Ok(text) }
    }

    fn private(path: &Path, content: &str) {
        fs::write(path, content).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_files_come_to_hold_is_taken_up_and_what_cannot_be_used_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = (dir.path().join("a.pem"), dir.path().join("a.key"));
        fs::write(&certificate, "one ").unwrap();
        private(&key, "key");
        let watched = Watched::open("things", vec![Source::Public(certificate.clone()), Source::Private(key.clone())], text).unwrap();
        assert_eq!(*watched.current(), "one key");
        let shutdown = Shutdown::new();
        let watching = tokio::spawn(watched.clone().watch(shutdown.clone()));
        let until = async |holds: &str| {
            while *watched.current() != holds {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        fs::write(&certificate, "two ").unwrap();
        until("two key").await;
        fs::write(&certificate, "broken").unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(*watched.current(), "two key");
        fs::remove_file(&certificate).unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(*watched.current(), "two key");
        fs::write(&certificate, "three ").unwrap();
        until("three key").await;
        shutdown.request();
        watching.await.unwrap();
    }

    #[test]
    fn a_key_that_everybody_may_read_is_no_key() {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("a.key");
        private(&key, "key");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        let refused = Watched::open("things", vec![Source::Private(key.clone())], text).unwrap_err().to_string();
        assert_eq!(refused, format!("{0} may be read by everybody; make it private: chmod 600 {0}", key.display()));
        let none = Watched::open("things", vec![Source::Public(dir.path().join("none"))], text).unwrap_err().to_string();
        assert!(none.contains("none: No such file"), "{none}");
    }
}

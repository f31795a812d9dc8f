//! A database without threads, for deterministic simulations of several processes on one file: everything runs within the caller's poll,
//! and a switch makes it stall or fail. Only with the feature `simulation`, which tests alone ask for.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use crate::StoreError;

/// How often somebody who waits for a stalled database looks again.
const LOOK: Duration = Duration::from_millis(5);

static PLAYED: LazyLock<Mutex<HashMap<PathBuf, Switch>>> = LazyLock::new(Mutex::default);

/// What a played database does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// What it should.
    Works,
    /// It does not answer, and comes to everything later.
    Stalled,
    /// It can be read; a write fails.
    ReadOnly,
    /// It cannot be reached.
    Away,
}

/// Sets what a played database does. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Switch(Arc<AtomicU8>);

impl Switch {
    /// From now on.
    pub fn set(&self, state: State) {
        self.0.store(state as u8, Ordering::SeqCst);
    }

    fn is(&self, state: State) -> bool {
        self.0.load(Ordering::SeqCst) == state as u8
    }

    /// Whether a write is to be tried now.
    pub(crate) fn admits_write(&self) -> Result<(), StoreError> {
        if self.is(State::ReadOnly) {
            return Err(StoreError::Unavailable("played: it cannot be written".to_owned()));
        }
        self.admits_read()
    }

    /// Whether a read is to be tried now.
    pub(crate) fn admits_read(&self) -> Result<(), StoreError> {
        if self.is(State::Away) {
            return Err(StoreError::Unavailable("played: it is away".to_owned()));
        }
        Ok(())
    }

    pub(crate) fn is_stalled(&self) -> bool {
        self.is(State::Stalled)
    }

    pub(crate) async fn goes_on(&self) {
        while self.is_stalled() {
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Whoever opens the file at `path` from now on shares it with all others who do, and needs no thread.
pub fn play(path: &Path) -> Switch {
    let switch = Switch(Arc::new(AtomicU8::new(State::Works as u8)));
    played().insert(path.to_owned(), switch.clone());
    switch
}

/// Forgets a file.
pub fn forget(path: &Path) {
    played().remove(path);
}

pub(crate) fn at(path: &Path) -> Option<Switch> {
    played().get(path).cloned()
}

fn played() -> std::sync::MutexGuard<'static, HashMap<PathBuf, Switch>> {
    PLAYED.lock().unwrap_or_else(PoisonError::into_inner)
}

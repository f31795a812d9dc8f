//! The life of a process: it serves until it is asked to stop, then drains.

use std::{future::Future, time::Duration};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long a draining process waits for what is under way.
pub const DRAIN: Duration = Duration::from_secs(10);

/// The wish to stop, shared by everything that runs, and the tasks that must end before the process does.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    requested: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    /// Nobody has asked yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asked by SIGTERM or SIGINT.
    ///
    /// # Errors
    /// Where the process may not handle signals.
    pub fn on_signals() -> std::io::Result<Self> {
        let shutdown = Self::new();
        let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let requested = shutdown.requested.clone();
        tokio::spawn(async move {
            tokio::select! { _ = term.recv() => {}, _ = interrupt.recv() => {}, () = requested.cancelled() => {} }
            requested.cancel();
        });
        Ok(shutdown)
    }

    /// A stop of a part: it comes with this one's, or by itself before.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { requested: self.requested.child_token(), tasks: TaskTracker::new() }
    }

    /// Asks for the stop.
    pub fn request(&self) {
        self.requested.cancel();
    }

    /// Waits until somebody asks.
    pub async fn requested(&self) {
        self.requested.cancelled().await;
    }

    /// Whether somebody has asked.
    pub fn is_requested(&self) -> bool {
        self.requested.is_cancelled()
    }

    /// Starts a task that [`Shutdown::drained`] waits for. It must end by itself once the stop is requested.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Waits until every task has ended, at most [`DRAIN`]. Says whether all did.
    pub async fn drained(&self) -> bool {
        self.tasks.close();
        tokio::time::timeout(DRAIN, self.tasks.wait()).await.is_ok()
    }
}

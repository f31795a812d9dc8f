//! The life of a process: it serves until it is asked to stop, then drains.

use std::{future::Future, time::Duration};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long a draining process waits for what is under way.
pub const DRAIN: Duration = Duration::from_secs(10);

/// The wish to stop, shared by everything that runs, and the tasks that must end before the process does.
///
/// A stop is announced first, so that balancers see a process that is not ready any more, and requested a little later.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    announced: CancellationToken,
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
        Self::on_signals_after(Duration::ZERO)
    }

    /// Announced by SIGTERM or SIGINT, and asked for after the delay or by a second signal.
    ///
    /// # Errors
    /// Where the process may not handle signals.
    pub fn on_signals_after(delay: Duration) -> std::io::Result<Self> {
        let shutdown = Self::new();
        let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let stop = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! { _ = term.recv() => {}, _ = interrupt.recv() => {}, () = stop.requested() => {} }
            stop.announced.cancel();
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                _ = term.recv() => {}
                _ = interrupt.recv() => {}
                () = stop.requested() => {}
            }
            stop.request();
        });
        Ok(shutdown)
    }

    /// A stop of a part: it comes with this one's, or by itself before.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { announced: self.announced.child_token(), requested: self.requested.child_token(), tasks: TaskTracker::new() }
    }

    /// A stop that is announced with this one's and comes when it is asked for itself: of what must outlast this.
    #[must_use]
    pub fn after(&self) -> Self {
        Self { announced: self.announced.clone(), requested: CancellationToken::new(), tasks: TaskTracker::new() }
    }

    /// Asks for the stop.
    pub fn request(&self) {
        self.announced.cancel();
        self.requested.cancel();
    }

    /// Waits until a stop is announced.
    pub async fn announced(&self) {
        self.announced.cancelled().await;
    }

    /// Whether a stop is announced.
    pub fn is_announced(&self) -> bool {
        self.announced.is_cancelled()
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

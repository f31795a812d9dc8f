//! What the service does by itself, under a lease where there may be several replicas: sweeping.

use std::time::Duration;

use carelink_database::lease::Lease;
use carelink_platform::lifecycle::Shutdown;
use tokio::time::sleep;

use crate::{App, store};

/// How often what ages is swept.
const SWEEP: Duration = Duration::from_secs(60);

impl App {
    /// Deletes what is old or too much, a small batch at a time.
    pub(crate) async fn sweep(&self, shutdown: &Shutdown) {
        let lease = Lease::new("sweep", &self.store.random);
        loop {
            let batch = async {
                match lease.acquire(&self.store.db).await? {
                    Some(epoch) => store::sweep(&self.store, &lease, epoch).await,
                    None => Ok(()),
                }
            };
            if let Err(error) = batch.await {
                tracing::warn!(%error, "sweeping failed; trying again in a minute");
            }
            tokio::select! { () = sleep(SWEEP) => {}, () = shutdown.requested() => break }
        }
        if self.store.db.is_shared() {
            let _ = lease.release(&self.store.db).await; // it runs out by itself
        }
    }
}

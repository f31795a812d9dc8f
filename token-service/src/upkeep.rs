//! What the service does by itself, each under a lease where there may be several replicas: sweeping, keys that follow each other, the
//! pulse; and an eye on the clock.

use std::{sync::Arc, time::Duration};

use carelink_database::lease::Lease;
use carelink_platform::{events::EventType, lifecycle::Shutdown};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    App, Error,
    domain::session::EndReason,
    keys,
    store::{self, Change, Ending},
};

/// How often what ages is swept (T1), and keys are looked at.
const SWEEP: Duration = Duration::from_secs(60);
/// How often the pulse is written (T5), and a clock looked at.
const BEAT: Duration = Duration::from_secs(1);
/// How long the pulse's lease holds: whoever writes it dies, and another one does before it counts as an outage.
pub(crate) const PULSE_LEASE: Duration = Duration::from_secs(2);
/// A clock that jumps further is an event (T1).
const STEP: Duration = Duration::from_secs(5);

impl App {
    /// Ends what is past its end and deletes what is old.
    pub(crate) async fn sweep(&self, shutdown: &Shutdown) {
        let lease = Lease::new("sweep", &self.random);
        let ending = |reason: EndReason| {
            let trail = self.trail.clone();
            let event = Arc::new(move |_, now| {
                trail.note(EventType::SessionEnded, now, |event| event.actor(trail.actor()).reason(reason.as_str()))
            });
            Ending { reason, event }
        };
        let (expired, idle) = (ending(EndReason::Expired), ending(EndReason::Idle));
        loop {
            let batch = async {
                match lease.acquire(&self.store.db).await? {
                    Some(epoch) => store::sweep(&self.store, &lease, epoch, expired.clone(), idle.clone()).await,
                    None => Ok(store::Swept::default()),
                }
            };
            let more = match batch.await {
                Ok(swept) => swept.more,
                Err(error) => {
                    tracing::warn!(%error, "sweeping failed; trying again in a minute");
                    false
                }
            };
            let pause = if more { Duration::ZERO } else { SWEEP };
            tokio::select! { () = sleep(pause) => {}, () = shutdown.requested() => break }
        }
        self.release(&lease).await;
    }

    /// Lets the next keys sign when they are due, and deletes those past the last token they signed (K1).
    pub(crate) async fn keep_keys(&self, shutdown: &Shutdown) {
        let lease = Lease::new("keys", &self.random);
        loop {
            if let Err(error) = self.look_after_keys(&lease).await {
                tracing::warn!(%error, "keys could not be looked after; trying again in a minute");
            }
            tokio::select! { () = sleep(SWEEP) => {}, () = shutdown.requested() => break }
        }
        self.release(&lease).await;
    }

    async fn look_after_keys(&self, lease: &Lease) -> Result<(), Error> {
        let change = keys::change(&self.config, &self.master, &self.trail, &self.random, &self.trail.actor(), None);
        if store::load_keys(&self.store).await?.want_change(&change.policy, change.access_lifetime)
            && let Some(epoch) = lease.acquire(&self.store.db).await?
        {
            store::change_keys(&self.store, Change { under: Some((lease.clone(), epoch)), ..change }).await?;
            self.keys.reload().await?;
        }
        Ok(())
    }

    /// Writes the pulse (T5), unless another replica does.
    pub(crate) async fn beat(&self, shutdown: &Shutdown) {
        if !self.store.db.is_shared() {
            return;
        }
        let mut failed = false;
        loop {
            let next = Instant::now() + BEAT;
            let beat = async {
                match store::beat(&self.store, &self.pulse, self.config.session.grace).await {
                    Ok(Some(beat)) => {
                        if let Some(began) = beat.outage_began {
                            let lasted = beat.at.since(began);
                            tracing::warn!(%began, ?lasted, "the database took no writes; grace runs from now for what was rotated then");
                            metrics::counter!("carelink_database_outages_total").increment(1);
                        }
                        false
                    }
                    Ok(None) => false,
                    Err(error) => {
                        if !failed {
                            tracing::warn!(%error, "the pulse cannot be written: verifiers hear no heartbeat");
                        }
                        true
                    }
                }
            };
            tokio::select! {
                biased;
                () = shutdown.requested() => break,
                result = beat => failed = result,
            }
            tokio::select! { () = sleep_until(next) => {}, () = shutdown.requested() => break }
        }
        self.release(&self.pulse).await;
    }

    /// Another replica need not wait until it runs out.
    async fn release(&self, lease: &Lease) {
        if let Err(error) = lease.release(&self.store.db).await {
            tracing::debug!(%error, "a lease could not be given back; it runs out by itself");
        }
    }

    /// Notices a clock that jumps (T1). It is followed, never frozen.
    pub(crate) async fn watch_clock(&self, shutdown: &Shutdown) {
        loop {
            let (before, began) = (self.now(), Instant::now());
            tokio::select! { () = sleep(BEAT) => {}, () = shutdown.requested() => return }
            let expected = before + began.elapsed();
            let now = self.now();
            let step = now.since(expected).max(expected.since(now));
            if step > STEP {
                let ahead = now > expected;
                tracing::error!(step_ms = u64::try_from(step.as_millis()).unwrap_or(u64::MAX), ahead, "the clock jumped");
                let event = self.trail.note(EventType::ClockStepped, now, |event| {
                    event.actor(self.trail.actor()).detail("step_ms", step).detail("ahead", ahead)
                });
                if let Err(error) = self.trail.record(vec![event]).await {
                    tracing::error!(%error, "the jump of the clock could not be recorded");
                }
            }
        }
    }
}

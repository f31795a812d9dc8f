//! What a service does while the trail does not keep up (A6): the section `audit`, and the gate that its policy closes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use carelink_platform::{
    config::ConfigError,
    errors::{Failure, Reason},
};
use serde::{Deserialize, Serialize};

/// Events that may wait in one outbox, about 400 MB of them.
const DEFAULT_MAX_BACKLOG: u64 = 1_000_000;
/// Relays count what waits as often.
pub(crate) const COUNTED_EVERY: Duration = Duration::from_secs(5);

carelink_platform::settings! {
    /// The section `audit`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct BacklogConfig {
        /// How many events may wait in one service's outbox before `policy` decides.
        pub max_backlog: u64,
        /// What the service does past it.
        pub policy: Policy,
    }
}

/// What a service does past `audit.max_backlog`. Signing out, revoking and disabling are never refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Go on; the backlog is a metric and an alert.
    #[default]
    Serve,
    /// Answer 503 to what would write another event.
    Refuse,
}

impl Default for BacklogConfig {
    fn default() -> Self {
        Self { max_backlog: DEFAULT_MAX_BACKLOG, policy: Policy::default() }
    }
}

impl BacklogConfig {
    /// Checks what types cannot.
    ///
    /// # Errors
    /// Where a value cannot be meant.
    pub fn validate(self) -> Result<Self, ConfigError> {
        if self.max_backlog == 0 {
            return Err(ConfigError::invalid("audit.max_backlog", "0 would refuse everything; write how many events may wait"));
        }
        Ok(self)
    }
}

/// How far the trail is behind, as the relay last counted it. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Backlog {
    config: BacklogConfig,
    waiting: Arc<AtomicU64>,
}

impl Backlog {
    /// Under this section.
    pub fn new(config: BacklogConfig) -> Self {
        Self { config, waiting: Arc::default() }
    }

    /// Told by whoever counts.
    pub fn observe(&self, waiting: u64) {
        let (before, max) = (self.waiting.swap(waiting, Ordering::Relaxed), self.config.max_backlog);
        match (before > max, waiting > max) {
            (false, true) => {
                tracing::error!(waiting, max, policy = ?self.config.policy, "the trail is behind by more than audit.max_backlog");
            }
            (true, false) => tracing::info!(waiting, max, "the trail has caught up"),
            _ => {}
        }
    }

    /// Whether something that would write an event may be done. Not to be asked before what takes something away.
    ///
    /// # Errors
    /// Where the policy is to refuse and too much waits.
    pub fn admit(&self) -> Result<(), Failure> {
        if self.config.policy == Policy::Refuse && self.waiting.load(Ordering::Relaxed) > self.config.max_backlog {
            let message = "The audit trail is too far behind; try again";
            return Err(Failure::new(Reason::Overloaded).message(message).retry_after(COUNTED_EVERY));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use carelink_platform::config::Settings;

    use super::*;

    fn config(pairs: &[(&str, &str)]) -> Result<BacklogConfig, ConfigError> {
        let given = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Settings::load(None, given)?.section::<BacklogConfig>("audit")?.validate()
    }

    #[test]
    fn a6_serves_unless_told_to_refuse() {
        assert_eq!(config(&[]).unwrap(), BacklogConfig::default());
        let backlog = Backlog::default();
        backlog.observe(u64::MAX);
        assert!(backlog.admit().is_ok());
    }

    #[test]
    fn a6_refuses_past_the_limit_and_no_longer() {
        let told = config(&[("CARELINK_AUDIT__POLICY", "refuse"), ("CARELINK_AUDIT__MAX_BACKLOG", "10")]).unwrap();
        let backlog = Backlog::new(told);
        for (waiting, admitted) in [(0, true), (10, true), (11, false), (12, false), (10, true)] {
            backlog.clone().observe(waiting);
            assert_eq!(backlog.admit().is_ok(), admitted, "{waiting}");
        }
        backlog.observe(11);
        let refused = backlog.admit().unwrap_err();
        assert_eq!((refused.reason(), refused.retry()), (Reason::Overloaded, Some(COUNTED_EVERY)));
    }

    #[test]
    fn a6_what_cannot_be_meant_is_a_sentence() {
        assert!(config(&[("CARELINK_AUDIT__POLICY", "panic")]).is_err());
        assert!(config(&[("CARELINK_AUDIT__MAX_BACKLOG", "0")]).unwrap_err().to_string().contains("how many events may wait"));
    }
}

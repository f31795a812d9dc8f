//! The section `audit`: what happens where the trail does not keep up (A6).

use carelink_platform::config::ConfigError;
use serde::{Deserialize, Serialize};

/// Events that may wait on their way to the trail, about 400 MB of them.
const DEFAULT_MAX_BACKLOG: u64 = 1_000_000;

/// The section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// How many events may wait in one service's outbox before `policy` decides.
    pub max_backlog: u64,
    /// What the services do past it.
    pub policy: Policy,
}

/// What the services do past `max_backlog`. Signing out, revoking and disabling are never refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Go on; the backlog is a metric and an alert.
    #[default]
    Serve,
    /// Answer 503 to whatever would write another event.
    Refuse,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_backlog: DEFAULT_MAX_BACKLOG, policy: Policy::default() }
    }
}

impl Config {
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

#[cfg(test)]
mod tests {
    use carelink_platform::config::Settings;

    use super::*;

    fn config(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let given = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Settings::load(None, given)?.section::<Config>("audit")?.validate()
    }

    #[test]
    fn a6_serves_unless_told_to_refuse() {
        assert_eq!(config(&[]).unwrap().policy, Policy::Serve);
        let told = config(&[("CARELINK_AUDIT__POLICY", "refuse"), ("CARELINK_AUDIT__MAX_BACKLOG", "10")]).unwrap();
        assert_eq!(told, Config { max_backlog: 10, policy: Policy::Refuse });
    }

    #[test]
    fn a6_what_cannot_be_meant_is_a_sentence() {
        assert!(config(&[("CARELINK_AUDIT__POLICY", "panic")]).is_err());
        assert!(config(&[("CARELINK_AUDIT__MAX_BACKLOG", "0")]).unwrap_err().to_string().contains("how many events may wait"));
    }
}

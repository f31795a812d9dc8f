//! What an embedder decides; everything has a default.

use std::time::Duration;

/// A verifier's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Who embeds it: the label `service` of its metrics.
    pub service: String,
    /// How long a stale verifier that nobody answers goes on by what it last knew (V3).
    pub max_staleness: Duration,
    /// Signatures remembered (V4).
    pub cache_entries: usize,
    /// Sessions the revocation set has room for; past it the verifier is stale (V3).
    pub max_revocations: usize,
    /// How long a stale verifier waits for an answer.
    pub introspect_timeout: Duration,
    /// How many tokens it asks about at once.
    pub introspect_at_once: usize,
    /// What the chance in its waits begins from; `None`: from the system's. For simulations, which must repeat themselves.
    pub seed: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            service: "verifier".into(),
            max_staleness: Duration::from_secs(5 * 60),
            cache_entries: 65_536,
            max_revocations: 1_000_000,
            introspect_timeout: Duration::from_secs(1),
            introspect_at_once: 64,
            seed: None,
        }
    }
}

impl Config {
    /// The defaults, for `service`.
    pub fn named(service: impl Into<String>) -> Self {
        Self { service: service.into(), ..Self::default() }
    }
}

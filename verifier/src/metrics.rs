//! What a verifier counts. Handles are made once, with whatever recorder is installed then: install it first.

use metrics::{
    Counter, Gauge, Histogram, SharedString, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use crate::refusal::Refusal;

/// The handles of one verifier, labelled with the service that embeds it.
pub(crate) struct Metrics {
    service: SharedString,
    pub(crate) cache_hits: Counter,
    pub(crate) cache_misses: Counter,
    pub(crate) cache_entries: Gauge,
    pub(crate) revocations: Gauge,
    pub(crate) keys: Gauge,
    pub(crate) head: Gauge,
    pub(crate) ready: Gauge,
    pub(crate) stale: Gauge,
    pub(crate) lag_seconds: Gauge,
    pub(crate) revoked: Counter,
    pub(crate) revocation_seconds: Histogram,
}

impl Metrics {
    pub(crate) fn new(service: &str) -> Self {
        describe_counter!("carelink_verifier_cache_hits_total", "Tokens whose signature had been verified before");
        describe_counter!("carelink_verifier_cache_misses_total", "Tokens looked at for the first time");
        describe_gauge!("carelink_verifier_cache_entries", "Signatures remembered");
        describe_gauge!("carelink_verifier_revocations", "Sessions in the revocation set");
        describe_gauge!("carelink_verifier_keys", "Public keys in force");
        describe_gauge!("carelink_verifier_head", "Highest revocation number known");
        describe_gauge!("carelink_verifier_ready", "1 once there has been a snapshot");
        describe_gauge!("carelink_verifier_stale", "1 while the view of keys and revocations is not certain");
        describe_gauge!("carelink_verifier_lag_seconds", Unit::Seconds, "Time since the last matching heartbeat");
        describe_counter!("carelink_verifier_revocations_total", "Revocations heard of");
        describe_histogram!(
            "carelink_verifier_revocation_seconds",
            Unit::Seconds,
            "From a revocation's commit until it is obeyed here, without the least time that the way takes"
        );
        describe_counter!("carelink_verifier_refusals_total", "Tokens not accepted, by what was wrong");
        describe_counter!("carelink_verifier_introspections_total", "Questions to token-service while stale, by outcome");
        describe_counter!("carelink_verifier_reports_failed_total", "Reports of which sessions were used that did not reach token-service");
        describe_counter!("carelink_verifier_reconnects_total", "Ends of the Watch stream, by cause");
        let service = SharedString::from_shared(service.into());
        let label = || service.clone();
        Self {
            service: label(),
            cache_hits: counter!("carelink_verifier_cache_hits_total", "service" => label()),
            cache_misses: counter!("carelink_verifier_cache_misses_total", "service" => label()),
            cache_entries: gauge!("carelink_verifier_cache_entries", "service" => label()),
            revocations: gauge!("carelink_verifier_revocations", "service" => label()),
            keys: gauge!("carelink_verifier_keys", "service" => label()),
            head: gauge!("carelink_verifier_head", "service" => label()),
            ready: gauge!("carelink_verifier_ready", "service" => label()),
            stale: gauge!("carelink_verifier_stale", "service" => label()),
            lag_seconds: gauge!("carelink_verifier_lag_seconds", "service" => label()),
            revoked: counter!("carelink_verifier_revocations_total", "service" => label()),
            revocation_seconds: histogram!("carelink_verifier_revocation_seconds", "service" => label()),
        }
    }

    pub(crate) fn refused(&self, refusal: Refusal) {
        counter!("carelink_verifier_refusals_total", "service" => self.service.clone(), "reason" => refusal.detail()).increment(1);
    }

    pub(crate) fn introspected(&self, outcome: &'static str) {
        counter!("carelink_verifier_introspections_total", "service" => self.service.clone(), "outcome" => outcome).increment(1);
    }

    pub(crate) fn report_failed(&self) {
        counter!("carelink_verifier_reports_failed_total", "service" => self.service.clone()).increment(1);
    }

    pub(crate) fn reconnected(&self, cause: &'static str) {
        counter!("carelink_verifier_reconnects_total", "service" => self.service.clone(), "cause" => cause).increment(1);
    }
}

/// A count as a gauge takes it; past 2^53 it is rounded.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn count(value: u64) -> f64 {
    value as f64
}

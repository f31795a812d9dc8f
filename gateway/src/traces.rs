//! Trace ids for requests that bring none: unique, cheap, and nothing anybody's authority hangs on.
//!
//! A draw from the system's generator would cost more than everything else a request does here but checking its token. So one draw at
//! the start is a key, and each id a keyed hash (SipHash) of a count.

use std::{
    hash::{DefaultHasher, Hasher},
    sync::atomic::{AtomicU64, Ordering},
};

use carelink_platform::{context::TraceContext, random::Random};

/// Makes the beginnings of traces.
#[derive(Debug)]
pub(crate) struct Traces {
    key: [u8; 32],
    count: AtomicU64,
}

impl Traces {
    pub(crate) fn new(random: &Random) -> Self {
        Self { key: random.bytes(), count: AtomicU64::new(0) }
    }

    /// A trace that begins here.
    pub(crate) fn root(&self, sampled: bool) -> TraceContext {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let mut keyed = DefaultHasher::new();
        keyed.write(&self.key);
        keyed.write_u64(count);
        let mut part = |n: u8| {
            keyed.write_u8(n);
            u128::from(keyed.finish())
        };
        let trace_id = (part(0) << 64 | part(1)).max(1);
        let [.., a, b, c, d, e, f, g, h] = part(2).max(1).to_be_bytes();
        TraceContext { trace_id: trace_id.to_be_bytes(), span_id: [a, b, c, d, e, f, g, h], sampled }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_requests_share_an_id_and_no_two_processes_count_alike() {
        let (one, other) = (Traces::new(&Random::seeded(1)), Traces::new(&Random::seeded(2)));
        let mut seen = HashSet::new();
        for _ in 0..10_000 {
            for trace in [one.root(false), other.root(true)] {
                assert!(seen.insert(trace.trace_id) && TraceContext::parse(&trace.to_traceparent()) == Some(trace));
            }
        }
    }
}

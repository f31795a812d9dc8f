//! The rule of a budget (GCRA): what was charged flows off at a steady rate, and no more than the whole may be on it.
//!
//! All there is to remember of a budget is the moment at which nothing will be on it any more. `gcra.lua` is the same rule over Redis's
//! clock; a test holds them against each other.

use std::time::Duration;

use super::config::Budget;

const A_MINUTE: u64 = 60_000_000_000;

/// Nanoseconds since this process began to count; or a stretch of them.
pub(super) type Nanos = u64;

/// How a budget flows off.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// What one charge puts on it.
    pub(super) one: Nanos,
    /// What may be on it.
    pub(super) whole: Nanos,
}

impl Rate {
    pub(super) fn new(budget: Budget) -> Self {
        let one = (A_MINUTE / u64::from(budget.per_minute.max(1))).max(1);
        Self { one, whole: one.saturating_mul(u64::from(budget.burst.max(1))) }
    }

    /// What is on a budget that will be free at that moment. Never more than the whole: a clock that jumped locks nobody out.
    pub(super) fn used(self, free_at: Nanos, now: Nanos) -> Nanos {
        free_at.saturating_sub(now).min(self.whole)
    }

    /// What is on it after one more; or how long until there is room for that.
    pub(super) fn charge(self, used: Nanos) -> Result<Nanos, Duration> {
        let after = used.saturating_add(self.one);
        if after <= self.whole { Ok(after) } else { Err(Duration::from_nanos(after - self.whole)) }
    }
}

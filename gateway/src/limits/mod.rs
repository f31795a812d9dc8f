//! How often somebody may sign in and refresh: GCRA buckets per network, and per account within a network.
//!
//! The budgets are made for a hospital behind one address. At a change of shift 2,000 people sign in within ten minutes: a network
//! may bring 2,000 sign-ins at once and twenty more each second, while one account within it gets 20 at once and then one every three
//! seconds. Refreshing is cheap and frequent: a network may bring 20,000 at once and 10,000 more each second; within it one session
//! gets 1,000 at once and then a hundred a second, which no number of open tabs reaches and a client in a loop does.
//!
//! For refreshing, "account" is the session that the token names, not yet verified: session ids cannot be guessed, user ids can, and
//! so nobody can use up a colleague's budget with forged tokens. Only hashes are kept, under a key that dies with the process.

mod store;

use std::{
    hash::{BuildHasher, Hash, RandomState},
    net::IpAddr,
    num::NonZeroU32,
    time::Duration,
};

use carelink_platform::config::ConfigError;
use governor::{
    Quota, RateLimiter,
    clock::{Clock, MonotonicClock, Reference},
    middleware::NoOpMiddleware,
};
use serde::{Deserialize, Serialize};

use crate::proxies::network;

/// Keys remembered per bucket kind; about 3 MB each when full.
const CAPACITY: usize = 100_000;

/// A budget: so many at once, and so many more each minute.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Budget {
    /// At once.
    pub burst: u32,
    /// Refilled evenly over a minute.
    pub per_minute: u32,
}

/// The budgets of one operation.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Budgets {
    /// Of a network: an IPv4 address or an IPv6 /64.
    pub network: Budget,
    /// Of an account within a network.
    pub account: Budget,
}

/// Section `limits`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct LimitsConfig {
    /// Whether there are any.
    pub enabled: bool,
    /// For signing in.
    pub sign_in: Budgets,
    /// For refreshing.
    pub refresh: Budgets,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            sign_in: Budgets { network: Budget { burst: 2_000, per_minute: 1_200 }, account: Budget { burst: 20, per_minute: 20 } },
            refresh: Budgets {
                network: Budget { burst: 20_000, per_minute: 600_000 },
                account: Budget { burst: 1_000, per_minute: 6_000 },
            },
        }
    }
}

impl LimitsConfig {
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        for (key, budgets) in [("limits.sign_in", &self.sign_in), ("limits.refresh", &self.refresh)] {
            for (part, budget) in [("network", budgets.network), ("account", budgets.account)] {
                if budget.burst == 0 || budget.per_minute == 0 {
                    return Err(ConfigError::invalid(
                        format!("{key}.{part}"),
                        "burst and per_minute are at least 1; limits.enabled turns limits off",
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Which budget was used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    Network,
    Account,
}

impl Scope {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Account => "account",
        }
    }
}

/// Too many, and when the next one will pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Throttled {
    pub(crate) scope: Scope,
    pub(crate) retry_after: Duration,
}

/// All limits of a gateway. Its state is this process's own.
#[derive(Debug)]
pub(crate) struct Limits<C: Clock = MonotonicClock>(Option<(Operation<C>, Operation<C>)>);

impl Limits {
    pub(crate) fn new(config: &LimitsConfig) -> Self {
        Self::with_clock(config, &MonotonicClock)
    }
}

impl<C: Clock + Clone> Limits<C> {
    fn with_clock(config: &LimitsConfig, clock: &C) -> Self {
        Self(config.enabled.then(|| (Operation::new(config.sign_in, clock), Operation::new(config.refresh, clock))))
    }

    /// Whether `client` may try to sign in as `name`.
    pub(crate) fn sign_in(&self, client: IpAddr, name: &str) -> Result<(), Throttled> {
        self.0.as_ref().map_or(Ok(()), |(sign_in, _)| sign_in.admit(client, Some(name)))
    }

    /// Whether `client` may try to refresh `session`, which is asked for where there are limits; none where the token names none.
    pub(crate) fn refresh(&self, client: IpAddr, session: impl FnOnce() -> Option<String>) -> Result<(), Throttled> {
        self.0.as_ref().map_or(Ok(()), |(_, refresh)| refresh.admit(client, session().as_deref()))
    }

    /// Forgets whoever has their whole budget again. To be called now and then.
    pub(crate) fn sweep(&self) {
        if let Some((sign_in, refresh)) = &self.0 {
            for bucket in [&sign_in.network, &sign_in.account, &refresh.network, &refresh.account] {
                bucket.retain_recent();
            }
        }
    }
}

type Bucket<C> = RateLimiter<u64, store::Store, C, NoOpMiddleware<<C as Clock>::Instant>>;

#[derive(Debug)]
struct Operation<C: Clock> {
    network: Bucket<C>,
    account: Bucket<C>,
    hasher: RandomState,
    clock: C,
}

impl<C: Clock + Clone> Operation<C> {
    fn new(budgets: Budgets, clock: &C) -> Self {
        let bucket = |budget: Budget| RateLimiter::new(quota(budget), store::Store::new(CAPACITY), clock.clone());
        Self { network: bucket(budgets.network), account: bucket(budgets.account), hasher: RandomState::new(), clock: clock.clone() }
    }

    fn admit(&self, client: IpAddr, account: Option<&str>) -> Result<(), Throttled> {
        let network = network(client);
        self.charge(&self.network, Scope::Network, network)?;
        account.map_or(Ok(()), |account| self.charge(&self.account, Scope::Account, (network, account)))
    }

    fn charge(&self, bucket: &Bucket<C>, scope: Scope, key: impl Hash) -> Result<(), Throttled> {
        bucket
            .check_key(&self.hasher.hash_one(key))
            .map_err(|until| Throttled { scope, retry_after: until.earliest_possible().duration_since(self.clock.now()).into() })
    }
}

fn quota(budget: Budget) -> Quota {
    let at_least_one = |n: u32| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
    Quota::per_minute(at_least_one(budget.per_minute)).allow_burst(at_least_one(budget.burst))
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn limits(clock: &FakeRelativeClock) -> Limits<FakeRelativeClock> {
        Limits::with_clock(&LimitsConfig::default(), clock)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_change_of_shift_behind_one_address_passes() {
        let clock = FakeRelativeClock::default();
        let limits = limits(&clock);
        for person in 0..2_000 {
            limits.sign_in(ip("192.0.2.1"), &format!("person{person}")).unwrap();
            clock.advance(Duration::from_millis(300));
        }
        for _ in 0..20 {
            for session in 0..5_000 {
                limits.refresh(ip("192.0.2.1"), || Some(session.to_string())).unwrap();
            }
            clock.advance(Duration::from_secs(1));
        }
    }

    #[test]
    fn one_account_is_held_back_and_its_neighbours_are_not() {
        let clock = FakeRelativeClock::default();
        let limits = limits(&clock);
        for _ in 0..20 {
            limits.sign_in(ip("192.0.2.1"), "amina").unwrap();
        }
        let throttled = limits.sign_in(ip("192.0.2.1"), "amina").unwrap_err();
        assert_eq!(throttled, Throttled { scope: Scope::Account, retry_after: Duration::from_secs(3) });
        limits.sign_in(ip("192.0.2.1"), "bo").unwrap();
        limits.sign_in(ip("192.0.2.2"), "amina").unwrap();
        clock.advance(throttled.retry_after - Duration::from_nanos(1));
        assert_eq!(limits.sign_in(ip("192.0.2.1"), "amina").unwrap_err().retry_after, Duration::from_nanos(1));
        clock.advance(Duration::from_nanos(1));
        limits.sign_in(ip("192.0.2.1"), "amina").unwrap();
    }

    #[test]
    fn one_network_is_held_back_whatever_names_it_tries() {
        let clock = FakeRelativeClock::default();
        let limits = limits(&clock);
        for n in 0..2_000 {
            limits.sign_in(ip(&format!("2001:db8::{n:x}")), &n.to_string()).unwrap();
        }
        let throttled = limits.sign_in(ip("2001:db8::ffff"), "x").unwrap_err();
        assert_eq!(throttled, Throttled { scope: Scope::Network, retry_after: Duration::from_millis(50) });
        limits.sign_in(ip("2001:db8:0:1::1"), "x").unwrap();
        limits.refresh(ip("2001:db8::1"), || None).unwrap();
    }

    #[test]
    fn state_is_bounded_and_forgotten_when_refilled() {
        let clock = FakeRelativeClock::default();
        let limits = limits(&clock);
        let (sign_in, _) = limits.0.as_ref().unwrap();
        for n in 0..150_000_u32 {
            let _ = limits.sign_in(IpAddr::V4(n.into()), "x");
        }
        assert!(sign_in.network.len() <= CAPACITY + 1024, "{}", sign_in.network.len());
        limits.sign_in(ip("0.0.0.1"), "x").unwrap();
        clock.advance(Duration::from_secs(600));
        limits.sweep();
        assert_eq!((sign_in.network.len(), sign_in.account.len()), (0, 0));
    }

    #[test]
    fn switched_off_nothing_is_counted() {
        let config = LimitsConfig { enabled: false, ..LimitsConfig::default() };
        let limits = Limits::new(&config);
        for _ in 0..5_000 {
            limits.sign_in(ip("192.0.2.1"), "x").unwrap();
            limits.refresh(ip("192.0.2.1"), || Some("x".to_owned())).unwrap();
        }
        limits.sweep();
    }

    #[test]
    fn a_budget_of_nothing_is_refused() {
        let mut config = LimitsConfig::default();
        config.refresh.account.burst = 0;
        assert!(config.validate().unwrap_err().to_string().contains("limits.refresh.account"));
    }
}

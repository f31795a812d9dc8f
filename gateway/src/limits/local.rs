//! The budgets of one operation as this process knows them: its own count, or the last it heard of the shared one.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    time::Duration,
};

use super::{
    Scope, Throttled,
    config::Budgets,
    gcra::{Nanos, Rate},
    store::Store,
};

/// Keys remembered per kind of budget; about 3 MB each when full.
pub(super) const CAPACITY: usize = 100_000;

/// One kind of budget.
#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) rate: Rate,
    pub(super) store: Store,
}

/// Both kinds of one operation.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) name: &'static str,
    pub(super) network: Bucket,
    pub(super) account: Bucket,
    hasher: RandomState,
}

/// Who is charged: keys in the two stores. Hashes under a key that dies with the process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Charged {
    network: u64,
    account: Option<u64>,
}

impl Operation {
    pub(super) fn new(name: &'static str, budgets: Budgets) -> Self {
        let bucket = |budget| Bucket { rate: Rate::new(budget), store: Store::new(CAPACITY) };
        Self { name, network: bucket(budgets.network), account: bucket(budgets.account), hasher: RandomState::new() }
    }

    /// A network, and an account within it.
    pub(super) fn who(&self, network: IpAddr, account: Option<&str>) -> Charged {
        Charged { network: self.hasher.hash_one(network), account: account.map(|account| self.hasher.hash_one((network, account))) }
    }

    /// Charges both, or neither where one has no room.
    pub(super) fn charge(&self, who: Charged, now: Nanos) -> Result<(), Throttled> {
        self.network.store.change(who.network, |of_network| {
            let of_network = charge(&self.network, of_network, now);
            let Some(account) = who.account else { return of_network.map(|free_at| (free_at, ())).map_err(Scope::Network.throttled()) };
            self.account.store.change(account, |of_account| match (of_network, charge(&self.account, of_account, now)) {
                (Ok(of_network), Ok(of_account)) => Ok((of_account, (of_network, ()))),
                (network, account) => Err(Throttled::longest(network.err(), account.err())),
            })
        })
    }

    /// Whether there would be room, as far as is known here.
    pub(super) fn may_have_room(&self, who: Charged, now: Nanos) -> Result<(), Throttled> {
        let network = charge(&self.network, self.network.store.of(who.network), now).err();
        let account = who.account.and_then(|account| charge(&self.account, self.account.store.of(account), now).err());
        if network.is_none() && account.is_none() { Ok(()) } else { Err(Throttled::longest(network, account)) }
    }

    /// Takes over what is on the shared budgets.
    pub(super) fn learn(&self, who: Charged, network: Nanos, account: Option<Nanos>, now: Nanos) {
        self.network.store.learn(who.network, now.saturating_add(network));
        if let (Some(key), Some(used)) = (who.account, account) {
            self.account.store.learn(key, now.saturating_add(used));
        }
    }

    pub(super) fn sweep(&self, now: Nanos) {
        self.network.store.sweep(now);
        self.account.store.sweep(now);
    }
}

/// When a bucket charged once more will be free; or how long it takes until there is room for that.
fn charge(bucket: &Bucket, free_at: Nanos, now: Nanos) -> Result<Nanos, Duration> {
    bucket.rate.charge(bucket.rate.used(free_at, now)).map(|used| now.saturating_add(used))
}

#[cfg(test)]
mod tests {
    use super::{super::LimitsConfig, *};

    const MS: Nanos = 1_000_000;
    const SECOND: Nanos = 1_000 * MS;

    fn sign_in() -> Operation {
        Operation::new("sign_in", LimitsConfig::default().sign_in)
    }

    fn refresh() -> Operation {
        Operation::new("refresh", LimitsConfig::default().refresh)
    }

    impl Operation {
        fn at(&self, now: Nanos, network: &str, account: &str) -> Result<(), Throttled> {
            self.charge(self.who(network.parse().unwrap(), Some(account)), now)
        }
    }

    #[test]
    fn a_change_of_shift_behind_one_address_passes() {
        let (sign_in, refresh) = (sign_in(), refresh());
        for person in 0..2_000 {
            sign_in.at(person * 300 * MS, "192.0.2.1", &format!("person{person}")).unwrap();
        }
        for second in 0..20 {
            for session in 0..5_000 {
                refresh.at(second * SECOND, "192.0.2.1", &session.to_string()).unwrap();
            }
        }
    }

    #[test]
    fn one_account_is_held_back_and_its_neighbours_are_not() {
        let limits = sign_in();
        for _ in 0..20 {
            limits.at(0, "192.0.2.1", "amina").unwrap();
        }
        let throttled = limits.at(0, "192.0.2.1", "amina").unwrap_err();
        assert_eq!(throttled, Throttled { scope: Scope::Account, retry_after: Duration::from_secs(3) });
        limits.at(0, "192.0.2.1", "bo").unwrap();
        limits.at(0, "192.0.2.2", "amina").unwrap();
        assert_eq!(limits.at(3 * SECOND - 1, "192.0.2.1", "amina").unwrap_err().retry_after, Duration::from_nanos(1));
        limits.at(3 * SECOND, "192.0.2.1", "amina").unwrap();
    }

    #[test]
    fn one_network_is_held_back_whatever_names_it_tries_and_what_is_turned_away_costs_it_nothing() {
        let limits = sign_in();
        for _ in 0..5_000 {
            let _ = limits.at(0, "192.0.2.1", "amina");
        }
        for n in 0..1_980 {
            limits.at(0, "192.0.2.1", &n.to_string()).unwrap();
        }
        let throttled = limits.at(0, "192.0.2.1", "x").unwrap_err();
        assert_eq!(throttled, Throttled { scope: Scope::Network, retry_after: Duration::from_millis(50) });
        limits.at(0, "192.0.2.2", "x").unwrap();
        assert_eq!(limits.at(0, "192.0.2.1", "amina").unwrap_err().retry_after, Duration::from_secs(3), "the longer wait is the true one");
        assert!(limits.charge(limits.who("192.0.2.1".parse().unwrap(), None), 0).is_err());
        assert!(limits.charge(limits.who("192.0.2.1".parse().unwrap(), None), 50 * MS).is_ok());
    }

    #[test]
    fn state_is_bounded_and_forgotten_when_refilled() {
        let limits = sign_in();
        for n in 0..150_000_u32 {
            let _ = limits.charge(limits.who(IpAddr::V4(n.into()), Some("x")), 0);
            limits.learn(limits.who(IpAddr::V4((n + 1_000_000).into()), None), SECOND, None, 0);
        }
        assert!(limits.network.store.len() <= CAPACITY + 1024, "{}", limits.network.store.len());
        limits.at(0, "0.0.0.1", "x").unwrap();
        limits.sweep(600 * SECOND);
        assert_eq!((limits.network.store.len(), limits.account.store.len()), (0, 0));
    }

    #[test]
    fn a_clock_that_steps_back_an_hour_locks_nobody_out_for_it() {
        let limits = sign_in();
        for _ in 0..20 {
            limits.at(3_600 * SECOND, "192.0.2.1", "amina").unwrap();
        }
        assert_eq!(limits.at(0, "192.0.2.1", "amina").unwrap_err().retry_after, Duration::from_secs(3));
    }
}

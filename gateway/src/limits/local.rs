//! The budgets of one operation as this process knows them: its own count, or the last it heard of the shared one.

use std::{
    convert::Infallible,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    time::Duration,
};

use super::{
    Scope, Throttled,
    config::{Budget, Budgets},
    gcra::{Nanos, Rate},
    store::Store,
};

/// Keys remembered per kind of budget; about 3 MB each when full.
pub(super) const CAPACITY: usize = 100_000;

/// One kind of budget.
#[derive(Debug)]
pub(super) struct Bucket {
    of: Budget,
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

/// Who is charged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Who<'a> {
    pub(super) network: IpAddr,
    /// Whether the network itself is.
    pub(super) counts: bool,
    /// Within the network.
    pub(super) account: Option<&'a str>,
}

/// Who is charged: keys in the two stores. Hashes under a key that dies with the process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Charged {
    network: Option<u64>,
    account: Option<u64>,
}

impl Operation {
    pub(super) fn new(name: &'static str, budgets: Budgets) -> Self {
        let bucket = |of| Bucket { of, rate: Rate::new(of), store: Store::new(CAPACITY) };
        Self { name, network: bucket(budgets.network), account: bucket(budgets.account), hasher: RandomState::new() }
    }

    /// A network, and an account within it, as they are known here.
    pub(super) fn charged(&self, Who { network, counts, account }: Who<'_>) -> Charged {
        let of_network = counts.then(|| self.hasher.hash_one(network));
        Charged { network: of_network, account: account.map(|account| self.hasher.hash_one((network, account))) }
    }

    /// How long there is no room, by whichever of the budgets that is longer.
    pub(super) fn judge(&self, network: Option<Duration>, account: Option<Duration>) -> Result<(), Throttled> {
        let (network, account) = (network.unwrap_or_default(), account.unwrap_or_default());
        match network.max(account) {
            Duration::ZERO => Ok(()),
            retry_after if network > account => Err(Throttled { scope: Scope::Network, retry_after, of: self.network.of }),
            retry_after => Err(Throttled { scope: Scope::Account, retry_after, of: self.account.of }),
        }
    }

    /// Charges both, or neither where one has no room.
    pub(super) fn charge(&self, who: Charged, now: Nanos) -> Result<(), Throttled> {
        change(&self.network, who.network, |of_network| {
            let of_network = charge(&self.network, of_network, now);
            change(&self.account, who.account, |of_account| match (of_network, charge(&self.account, of_account, now)) {
                (Ok(of_network), Ok(of_account)) => Ok((of_account, (of_network, ()))),
                (network, account) => self.judge(network.err(), account.err()).map(|()| (0, (0, ()))), // an error, since one is
            })
        })
    }

    /// Gives both back one charge.
    pub(super) fn refund(&self, who: Charged, now: Nanos) {
        for (bucket, key) in [(&self.network, who.network), (&self.account, who.account)] {
            let one = bucket.rate.one;
            let _: Result<(), Infallible> = change(bucket, key, |free_at| Ok((free_at.saturating_sub(one).max(now), ())));
        }
    }

    /// Whether there would be room, as far as is known here.
    pub(super) fn may_have_room(&self, who: Charged, now: Nanos) -> Result<(), Throttled> {
        let missing = |bucket: &Bucket, key: Option<u64>| key.and_then(|key| charge(bucket, bucket.store.of(key), now).err());
        self.judge(missing(&self.network, who.network), missing(&self.account, who.account))
    }

    /// Takes over what is on the shared budgets.
    pub(super) fn learn(&self, who: Charged, network: Option<Nanos>, account: Option<Nanos>, now: Nanos) {
        for (bucket, key, used) in [(&self.network, who.network, network), (&self.account, who.account, account)] {
            if let (Some(key), Some(used)) = (key, used) {
                bucket.store.learn(key, now.saturating_add(used));
            }
        }
    }

    pub(super) fn sweep(&self, now: Nanos) {
        self.network.store.sweep(now);
        self.account.store.sweep(now);
    }
}

/// Changes what is remembered of a key; of nobody nothing is.
fn change<T, E>(bucket: &Bucket, key: Option<u64>, change: impl FnOnce(Nanos) -> Result<(Nanos, T), E>) -> Result<T, E> {
    match key {
        Some(key) => bucket.store.change(key, change),
        None => change(0).map(|(_, done)| done),
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

    fn counted(network: IpAddr, account: Option<&str>) -> Who<'_> {
        Who { network, counts: true, account }
    }

    impl Operation {
        fn at(&self, now: Nanos, network: &str, account: &str) -> Result<(), Throttled> {
            self.charge(self.charged(counted(network.parse().unwrap(), Some(account))), now)
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
        assert_eq!((throttled.scope, throttled.retry_after), (Scope::Account, Duration::from_secs(3)));
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
        assert_eq!((throttled.scope, throttled.retry_after), (Scope::Network, Duration::from_millis(50)));
        limits.at(0, "192.0.2.2", "x").unwrap();
        assert_eq!(limits.at(0, "192.0.2.1", "amina").unwrap_err().retry_after, Duration::from_secs(3), "the longer wait is the true one");
        let nobody = limits.charged(counted("192.0.2.1".parse().unwrap(), None));
        assert!(limits.charge(nobody, 0).is_err());
        assert!(limits.charge(nobody, 50 * MS).is_ok());
    }

    #[test]
    fn state_is_bounded_and_forgotten_when_refilled() {
        let limits = sign_in();
        for n in 0..150_000_u32 {
            let _ = limits.charge(limits.charged(counted(IpAddr::V4(n.into()), Some("x"))), 0);
            limits.learn(limits.charged(counted(IpAddr::V4((n + 1_000_000).into()), None)), Some(SECOND), None, 0);
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

//! How often somebody may sign in and refresh: budgets per network, and per account within a network.
//!
//! The budgets are made for a hospital behind one address. At a change of shift 2,000 people sign in within ten minutes: a network
//! may bring 2,000 sign-ins at once and twenty more each second, while one account within it gets 20 at once and then one every three
//! seconds. Refreshing is cheap and frequent: a network may bring 20,000 at once and 10,000 more each second; within it one session
//! gets 1,000 at once and then a hundred a second, which no number of open tabs reaches and a client in a loop does. What is turned
//! away is not charged, so that one account in a loop does not use up its network.
//!
//! For refreshing, "account" is the session that the token names, not yet verified: session ids cannot be guessed, user ids can, and
//! so nobody can use up a colleague's budget with forged tokens. Only hashes are kept.
//!
//! One rule (`gcra`), two places: this process (`local`, in a `store` of bounded size), and a Redis for all gateways (`shared`). What
//! Redis answers is remembered here: a budget that is known to be used up is not asked for again before its time, and where Redis is
//! away each gateway goes on from there by itself.

#[cfg(test)]
mod against_redis;
mod config;
mod gcra;
mod local;
mod shared;
mod store;

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use carelink_platform::config::ConfigError;

pub use self::config::{Budget, Budgets, LimitsConfig, RedisUrl, RedisUrlError};
use self::{gcra::Nanos, local::Operation, shared::Shared};
use crate::proxies::network;

/// How often what is free again is forgotten.
const SWEEP: Duration = Duration::from_secs(60);

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

    fn throttled(self) -> impl FnOnce(Duration) -> Throttled {
        move |retry_after| Throttled { scope: self, retry_after }
    }
}

/// Too many, and when the next one will pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Throttled {
    pub(crate) scope: Scope,
    pub(crate) retry_after: Duration,
}

impl Throttled {
    /// By whichever of the budgets it takes longer.
    fn longest(network: Option<Duration>, account: Option<Duration>) -> Self {
        let (network, account) = (network.unwrap_or_default(), account.unwrap_or_default());
        if network > account {
            Self { scope: Scope::Network, retry_after: network }
        } else {
            Self { scope: Scope::Account, retry_after: account }
        }
    }
}

/// All limits of a gateway.
#[derive(Debug)]
pub(crate) struct Limits {
    began: Instant,
    operations: Option<(Operation, Operation)>,
    shared: Option<Shared>,
}

impl Limits {
    /// From what is configured; nothing is connected before [`Limits::keep`].
    pub(crate) fn new(config: &LimitsConfig) -> Result<Self, ConfigError> {
        let operation = |name, budgets| Operation::new(name, budgets);
        let operations = config.enabled.then(|| (operation("sign_in", config.sign_in), operation("refresh", config.refresh)));
        Ok(Self { began: Instant::now(), operations, shared: config.redis()?.map(Shared::new) })
    }

    fn now(&self) -> Nanos {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Whether `client` may try to sign in as `name`.
    pub(crate) async fn sign_in(&self, client: IpAddr, name: &str) -> Result<(), Throttled> {
        let Some((sign_in, _)) = &self.operations else { return Ok(()) };
        self.admit(sign_in, client, Some(name)).await
    }

    /// Whether `client` may try to refresh `session`, which is asked for where there are limits; none where the token names none.
    pub(crate) async fn refresh(&self, client: IpAddr, session: impl FnOnce() -> Option<String>) -> Result<(), Throttled> {
        let Some((_, refresh)) = &self.operations else { return Ok(()) };
        self.admit(refresh, client, session().as_deref()).await
    }

    /// The shared budgets decide, where they answer.
    async fn admit(&self, operation: &Operation, client: IpAddr, account: Option<&str>) -> Result<(), Throttled> {
        let network = network(client);
        let who = operation.who(network, account);
        if let Some(shared) = self.shared.as_ref().filter(|shared| shared.answers()) {
            operation.may_have_room(who, self.now())?;
            if let Some(answer) = shared.charge(operation, network, account).await {
                operation.learn(who, answer.network.used, answer.account.map(|level| level.used), self.now());
                return answer.judged();
            }
        }
        operation.charge(who, self.now())
    }

    /// Keeps the connection to Redis, if one is configured, and forgets whoever has their whole budget again. Does not end.
    pub(crate) async fn keep(&self) {
        let sweeping = async {
            loop {
                tokio::time::sleep(SWEEP).await;
                if let Some((sign_in, refresh)) = &self.operations {
                    sign_in.sweep(self.now());
                    refresh.sweep(self.now());
                }
            }
        };
        let connected = async {
            match &self.shared {
                Some(shared) => Box::pin(shared.keep()).await,
                None => std::future::pending().await,
            }
        };
        futures::future::join(sweeping, connected).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn switched_off_nothing_is_counted() {
        let limits = Limits::new(&LimitsConfig { enabled: false, ..LimitsConfig::default() }).unwrap();
        for _ in 0..5_000 {
            limits.sign_in([192, 0, 2, 1].into(), "x").await.unwrap();
            limits.refresh([192, 0, 2, 1].into(), || Some("x".to_owned())).await.unwrap();
        }
    }

    #[tokio::test]
    async fn an_ipv6_network_is_its_first_half() {
        let limits = Limits::new(&LimitsConfig::default()).unwrap();
        for n in 0..2_000 {
            limits.sign_in(format!("2001:db8::{n:x}").parse().unwrap(), &n.to_string()).await.unwrap();
        }
        assert_eq!(limits.sign_in("2001:db8::ffff".parse().unwrap(), "x").await.unwrap_err().scope, Scope::Network);
        limits.sign_in("2001:db8:0:1::1".parse().unwrap(), "x").await.unwrap();
        limits.refresh("2001:db8::1".parse().unwrap(), || None).await.unwrap();
    }
}

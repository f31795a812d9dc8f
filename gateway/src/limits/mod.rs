//! How often somebody may sign in and refresh: budgets per network, and per account within a network.
//!
//! The budgets are made for a hospital behind one address. At a change of shift 2,000 people sign in within ten minutes: a network
//! may bring 2,000 sign-ins at once and twenty more each second, while one account within it gets 20 at once and then one every three
//! seconds. Refreshing is cheap and frequent: a network may bring 20,000 at once and 10,000 more each second; within it one session
//! gets 1,000 at once and then a hundred a second, which no number of open tabs reaches and a client in a loop does. What is turned
//! away is not charged, so that one account in a loop does not use up its network; nor is a network charged in the end for a sign-in
//! that succeeds (C4): that is given back. Networks in `limits.trusted_networks` have no budget themselves, the accounts within them have.
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

use std::{net::IpAddr, time::Duration};

use carelink_platform::config::ConfigError;
use http::HeaderValue;
use tokio::time::Instant;

pub use self::config::{Budget, Budgets, LimitsConfig, RedisUrl, RedisUrlError};
use self::{
    gcra::Nanos,
    local::{Operation, Who},
    shared::Shared,
};
use crate::proxies::{Cidr, network, trusts};

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
}

/// Too many, and when the next one will pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Throttled {
    pub(crate) scope: Scope,
    pub(crate) retry_after: Duration,
    /// The budget.
    pub(crate) of: Budget,
}

impl Throttled {
    /// `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11): how much in how long, and that nothing is left for
    /// how long.
    pub(crate) fn headers(self, wait: u64) -> Option<[HeaderValue; 2]> {
        let (name, Budget { burst, per_minute }) = (self.scope.as_str(), self.of);
        let window = (u64::from(burst) * 60).div_ceil(u64::from(per_minute.max(1)));
        let policy = HeaderValue::try_from(format!("\"{name}\";q={burst};w={window}")).ok()?;
        Some([policy, HeaderValue::try_from(format!("\"{name}\";r=0;t={wait}")).ok()?])
    }
}

/// What is limited.
#[derive(Debug)]
struct Operations {
    sign_in: Operation,
    /// Signing in from a network whose budget is used up, for those who are known there (C4).
    known: Operation,
    refresh: Operation,
}

/// Who may try to sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// Whoever they are.
    Anybody,
    /// The network's budget is used up: those alone whom auth-service knows from there, or from the device they use; all others
    /// are to hear this.
    KnownOrigins(Throttled),
}

/// All limits of a gateway.
#[derive(Debug)]
pub(crate) struct Limits {
    began: Instant,
    operations: Option<Operations>,
    trusted: Vec<Cidr>,
    shared: Option<Shared>,
}

impl Limits {
    /// From what is configured; nothing is connected before [`Limits::keep`].
    pub(crate) fn new(config: &LimitsConfig) -> Result<Self, ConfigError> {
        let operations = config.enabled.then(|| Operations {
            sign_in: Operation::new("sign_in", config.sign_in),
            known: Operation::new("sign_in_known", config.sign_in),
            refresh: Operation::new("refresh", config.refresh),
        });
        let shared = match config.redis()? {
            Some(client) => Some(Shared::new(client, config.key()?)),
            None => None,
        };
        Ok(Self { began: Instant::now(), operations, trusted: config.trusted_networks.clone(), shared })
    }

    fn now(&self) -> Nanos {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Whether `client` may try to sign in as `name`.
    pub(crate) async fn sign_in(&self, client: IpAddr, name: &str) -> Result<Leave, Throttled> {
        let Some(operations) = &self.operations else { return Ok(Leave::Anybody) };
        match self.admit(&operations.sign_in, client, Some(name)).await {
            Ok(()) => Ok(Leave::Anybody),
            Err(throttled) if throttled.scope == Scope::Network => {
                self.admit(&operations.known, client, Some(name)).await.map(|()| Leave::KnownOrigins(throttled))
            }
            Err(throttled) => Err(throttled),
        }
    }

    /// Whether `client` may try to refresh `session`, which is asked for where there are limits; none where the token names none.
    pub(crate) async fn refresh(&self, client: IpAddr, session: impl FnOnce() -> Option<String>) -> Result<(), Throttled> {
        let Some(operations) = &self.operations else { return Ok(()) };
        self.admit(&operations.refresh, client, session().as_deref()).await
    }

    /// Gives a network back what a sign-in was charged, since it succeeded.
    pub(crate) async fn signed_in(&self, client: IpAddr, leave: Leave) {
        self.give_back(client, None, leave).await;
    }

    /// Gives network and account back what a sign-in was charged, since nobody looked at it.
    pub(crate) async fn not_tried(&self, client: IpAddr, name: &str, leave: Leave) {
        self.give_back(client, Some(name), leave).await;
    }

    async fn give_back(&self, client: IpAddr, account: Option<&str>, leave: Leave) {
        let Some(operations) = &self.operations else { return };
        let operation = if leave == Leave::Anybody { &operations.sign_in } else { &operations.known };
        let who = self.who(client, account);
        operation.refund(operation.charged(who), self.now());
        if let Some(shared) = self.shared.as_ref().filter(|_| who.counts || account.is_some()) {
            shared.refund(operation, who).await;
        }
    }

    fn who<'a>(&self, client: IpAddr, account: Option<&'a str>) -> Who<'a> {
        Who { network: network(client), counts: !trusts(&self.trusted, client), account }
    }

    /// The shared budgets decide, where they answer.
    async fn admit(&self, operation: &Operation, client: IpAddr, account: Option<&str>) -> Result<(), Throttled> {
        let who = self.who(client, account);
        if !who.counts && who.account.is_none() {
            return Ok(());
        }
        let charged = operation.charged(who);
        if let Some(shared) = self.shared.as_ref().filter(|shared| shared.answers()) {
            operation.may_have_room(charged, self.now())?;
            if let Some(answer) = shared.charge(operation, who).await {
                operation.learn(charged, answer.network.map(|level| level.used), answer.account.map(|level| level.used), self.now());
                return answer.judged(operation);
            }
        }
        operation.charge(charged, self.now())
    }

    /// Keeps the connection to Redis, if one is configured, and forgets whoever has their whole budget again. Does not end.
    pub(crate) async fn keep(&self) {
        let sweeping = async {
            loop {
                tokio::time::sleep(SWEEP).await;
                for operation in self.operations.iter().flat_map(|all| [&all.sign_in, &all.known, &all.refresh]) {
                    operation.sweep(self.now());
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
        assert!(matches!(limits.sign_in("2001:db8::ffff".parse().unwrap(), "x").await.unwrap(), Leave::KnownOrigins(_)));
        assert_eq!(limits.sign_in("2001:db8:0:1::1".parse().unwrap(), "x").await.unwrap(), Leave::Anybody);
        limits.refresh("2001:db8::1".parse().unwrap(), || None).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_trusted_network_has_no_budget_and_its_accounts_have() {
        let trusted = vec!["192.0.2.0/24".parse().unwrap()];
        let limits = Limits::new(&LimitsConfig { trusted_networks: trusted, ..LimitsConfig::default() }).unwrap();
        for n in 0..5_000 {
            limits.sign_in([192, 0, 2, 1].into(), &n.to_string()).await.unwrap();
            limits.refresh([192, 0, 2, 1].into(), || None).await.unwrap();
        }
        for _ in 0..19 {
            limits.sign_in([192, 0, 2, 1].into(), "1").await.unwrap();
        }
        assert_eq!(limits.sign_in([192, 0, 2, 1].into(), "1").await.unwrap_err().scope, Scope::Account);
        for n in 0..2_000 {
            assert_eq!(limits.sign_in([198, 51, 100, 1].into(), &n.to_string()).await.unwrap(), Leave::Anybody);
        }
        assert!(matches!(limits.sign_in([198, 51, 100, 1].into(), "x").await.unwrap(), Leave::KnownOrigins(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn c4_a_network_is_charged_for_what_fails_alone() {
        let limits = Limits::new(&LimitsConfig::default()).unwrap();
        let from = [192, 0, 2, 1].into();
        for n in 0..10_000 {
            assert_eq!(limits.sign_in(from, &n.to_string()).await.unwrap(), Leave::Anybody);
            limits.signed_in(from, Leave::Anybody).await;
        }
        for n in 0..2_000 {
            assert_eq!(limits.sign_in(from, &n.to_string()).await.unwrap(), Leave::Anybody);
        }
        let Leave::KnownOrigins(throttled) = limits.sign_in(from, "x").await.unwrap() else { panic!("it is used up") };
        assert_eq!((throttled.scope, throttled.retry_after), (Scope::Network, Duration::from_millis(50)));
        limits.signed_in(from, Leave::Anybody).await;
        assert_eq!(limits.sign_in(from, "x").await.unwrap(), Leave::Anybody);
        for _ in 0..100 {
            limits.not_tried(from, "x", Leave::Anybody).await;
            assert_eq!(limits.sign_in(from, "x").await.unwrap(), Leave::Anybody, "neither of them was charged");
        }
        for n in 0..1_999 {
            let leave = limits.sign_in(from, &n.to_string()).await.unwrap();
            assert!(matches!(leave, Leave::KnownOrigins(_)), "those who are known have a budget of their own");
        }
        assert_eq!(limits.sign_in(from, "x").await.unwrap_err().scope, Scope::Network, "which has an end, too");
    }

    #[test]
    fn the_headers_say_how_much_in_how_long_and_when_again() {
        let budgets = LimitsConfig::default().sign_in;
        let said = |scope, of| {
            let throttled = Throttled { scope, retry_after: Duration::from_secs(3), of };
            throttled.headers(3).unwrap().map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(said(Scope::Account, budgets.account), ["\"account\";q=20;w=60", "\"account\";r=0;t=3"]);
        assert_eq!(said(Scope::Network, budgets.network), ["\"network\";q=2000;w=100", "\"network\";r=0;t=3"]);
    }
}

//! Budgets that all gateways share, in Redis: one script, one round trip for all budgets of a request.
//!
//! Redis holds nothing but moments under hashed keys, each of which expires when its budget is free again. What belongs to one network
//! lies in one slot of a cluster (`{..}`). The hashes are keyed by `limits.key_file`, without which who can read Redis and guesses an
//! address can confirm it, for as long as it is being charged.
//!
//! No request waits long for Redis: after [`Patience::answer`] it is judged by what is known here, and from then on so is every other,
//! until the keeper has run the script itself, with success. The keeper alone connects, asks again and again while Redis is away, and
//! tells of each change once.

use std::{fmt::Write as _, net::IpAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use aws_lc_rs::hmac::{Context, Key};
use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};
use redis::{AsyncConnectionConfig, Client, Cmd, ErrorKind, RedisError, Script, ServerErrorKind, aio::MultiplexedConnection};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

use super::{
    Throttled,
    gcra::{Nanos, Rate},
    local::{Operation, Who},
};

/// Commands that may wait to be sent; those who find no room wait for it.
const QUEUE: usize = 1_024;
/// What the keeper charges to see whether Redis takes charges.
const PROBE: &str = "carelink:{probe}";

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For an answer that a request waits for.
    pub(super) answer: Duration,
    /// For a connection, and for an answer in that time on it.
    pub(super) connect: Duration,
    /// Between two looks at whether Redis is (still) there.
    pub(super) look: Duration,
}

const PATIENCE: Patience = Patience {
    answer: if cfg!(test) { Duration::from_secs(20) } else { Duration::from_millis(50) }, // a loaded machine is no subject of a test
    connect: Duration::from_secs(1),
    look: Duration::from_millis(500),
};

/// The way to Redis.
pub(super) struct Shared {
    client: Client,
    script: Script,
    refund: Script,
    key: Key,
    patience: Patience,
    /// None while Redis is away, or not known to be there.
    connection: ArcSwapOption<MultiplexedConnection>,
    /// A request got no answer.
    doubted: Notify,
    in_force: Gauge,
    unanswered: Counter,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("answers", &self.answers()).finish_non_exhaustive()
    }
}

/// A shared budget as Redis sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level {
    /// What is on it.
    pub(super) used: Nanos,
    /// How long until there is room.
    pub(super) missing: Duration,
}

/// What became of a request's charges.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) network: Option<Level>,
    pub(super) account: Option<Level>,
}

impl Answer {
    pub(super) fn judged(&self, operation: &Operation) -> Result<(), Throttled> {
        operation.judge(self.network.map(|level| level.missing), self.account.map(|level| level.missing))
    }
}

/// Why Redis is no help.
#[derive(Debug, thiserror::Error)]
enum Away {
    #[error("{0}")]
    Failed(#[from] RedisError),
    #[error("no answer within {0:?}")]
    Silent(Duration),
    #[error("an answer that nobody can read")]
    Unreadable,
}

impl Shared {
    pub(super) fn new(client: Client, key: Key) -> Self {
        Self::with_patience(client, key, PATIENCE)
    }

    pub(super) fn with_patience(client: Client, key: Key, patience: Patience) -> Self {
        describe_gauge!("carelink_limits_shared", "1 while all gateways share their limits, 0 while Redis is away and each has its own");
        describe_counter!("carelink_limits_unanswered_total", "Requests judged by this gateway alone because Redis did not answer");
        Self {
            client,
            script: Script::new(include_str!("gcra.lua")),
            refund: Script::new(include_str!("refund.lua")),
            key,
            patience,
            connection: ArcSwapOption::empty(),
            doubted: Notify::new(),
            in_force: gauge!("carelink_limits_shared"),
            unanswered: counter!("carelink_limits_unanswered_total"),
        }
    }

    /// Whether it is worth asking.
    pub(super) fn answers(&self) -> bool {
        self.connection.load().is_some()
    }

    /// Charges a network where it counts, and an account within it; none: Redis is away.
    pub(super) async fn charge(&self, operation: &Operation, who: Who<'_>) -> Option<Answer> {
        let connection = self.connection.load_full()?;
        let keys = Keys::new(&self.key, operation.name, who.network, who.account);
        let of_network = who.counts.then_some((keys.network.as_str(), operation.network.rate));
        let of_account = keys.account.as_deref().map(|key| (key, operation.account.rate));
        let levels = self.answered(self.run(&connection, &self.script, [of_network, of_account], self.patience.answer).await)?;
        let mut levels = levels.into_iter();
        let mut next = |asked: bool| if asked { levels.next() } else { None };
        Some(Answer { network: next(of_network.is_some()), account: next(of_account.is_some()) })
    }

    /// Gives a network where it counts, and an account within it, back one charge.
    pub(super) async fn refund(&self, operation: &Operation, who: Who<'_>) {
        let Some(connection) = self.connection.load_full() else { return };
        let keys = Keys::new(&self.key, operation.name, who.network, who.account);
        let of_network = who.counts.then_some((keys.network.as_str(), operation.network.rate));
        let of_account = keys.account.as_deref().map(|key| (key, operation.account.rate));
        self.answered(self.run(&connection, &self.refund, [of_network, of_account], self.patience.answer).await);
    }

    /// Where there is no answer nobody else waits for one.
    fn answered(&self, answer: Result<Vec<Level>, Away>) -> Option<Vec<Level>> {
        answer
            .inspect_err(|away| {
                tracing::debug!(%away, "limits: Redis did not answer");
                self.unanswered.increment(1);
                self.connection.store(None);
                self.in_force.set(0.0);
                self.doubted.notify_one();
            })
            .ok()
    }

    /// Runs a script over the budgets given; their levels, in that order.
    async fn run(
        &self,
        connection: &MultiplexedConnection,
        script: &Script,
        budgets: [Option<(&str, Rate)>; 2],
        within: Duration,
    ) -> Result<Vec<Level>, Away> {
        // One buffer: a script's invocation of the library would keep every key and argument apart.
        let mut call = Cmd::with_capacity(5 + 2 + 4, 256);
        let budgets = || budgets.into_iter().flatten();
        call.arg("EVALSHA").arg(script.get_hash()).arg(budgets().count());
        budgets().for_each(|(key, _)| {
            call.arg(key);
        });
        budgets().for_each(|(_, rate)| {
            call.arg(rate.one).arg(rate.whole);
        });
        let mut connection = connection.clone();
        let answered = async {
            match call.query_async(&mut connection).await {
                Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                    script.load_async(&mut connection).await?;
                    call.query_async(&mut connection).await
                }
                answered => answered,
            }
        };
        let levels: Vec<u64> = timeout(within, answered).await.map_err(|_| Away::Silent(within))??;
        let levels = levels.chunks_exact(2).filter_map(|pair| match pair {
            [used, missing] => Some(Level { used: used.saturating_mul(1_000), missing: Duration::from_micros(*missing) }),
            _ => None,
        });
        let levels: Vec<Level> = levels.collect();
        if levels.len() == budgets().count() { Ok(levels) } else { Err(Away::Unreadable) }
    }

    /// Keeps the connection. Does not end.
    pub(super) async fn keep(&self) {
        self.in_force.set(0.0);
        let mut in_force = None;
        loop {
            let away = match self.connect().await {
                Ok(connection) => {
                    if in_force.replace(true) != Some(true) {
                        tracing::info!("limits: all gateways share theirs through Redis");
                    }
                    self.watch(connection).await
                }
                Err(away) => away,
            };
            self.connection.store(None);
            self.in_force.set(0.0);
            if in_force.replace(false) != Some(false) {
                tracing::warn!(%away, "limits: without Redis, this gateway limits by itself");
            }
            sleep(self.patience.look).await;
        }
    }

    /// A connection on which the script has run.
    async fn connect(&self) -> Result<MultiplexedConnection, Away> {
        let Patience { connect, .. } = self.patience;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None) // all of it together has one
            .set_response_timeout(None)
            .set_pipeline_buffer_size(QUEUE);
        let connecting = self.client.get_multiplexed_async_connection_with_config(&config);
        let connection = timeout(connect, connecting).await.map_err(|_| Away::Silent(connect))??;
        self.well(&connection).await?;
        Ok(connection)
    }

    /// Waits until the script runs as fast as requests want it. A moment's hesitation is no outage; a Redis that is always slow is.
    async fn well(&self, connection: &MultiplexedConnection) -> Result<(), Away> {
        let Patience { answer, connect, .. } = self.patience;
        let (began, rate) = (Instant::now(), Rate { one: 1_000, whole: 1_000_000_000 });
        loop {
            match self.run(connection, &self.script, [Some((PROBE, rate)), None], answer).await {
                Err(Away::Silent(_)) if began.elapsed() < connect => {}
                ran => return ran.map(|_| ()),
            }
        }
    }

    /// Hands the connection to requests for as long as the script runs on it, and says why that ended.
    async fn watch(&self, connection: MultiplexedConnection) -> Away {
        let shared = Arc::new(connection);
        loop {
            self.connection.store(Some(Arc::clone(&shared)));
            self.in_force.set(1.0);
            let _ = timeout(self.patience.look, self.doubted.notified()).await; // either way it is time to look
            if let Err(away) = self.well(&shared).await {
                return away;
            }
        }
    }
}

/// Where in Redis a request's budgets lie.
struct Keys {
    network: String,
    account: Option<String>,
}

impl Keys {
    fn new(key: &Key, operation: &str, network: IpAddr, account: Option<&str>) -> Self {
        let place = match network {
            IpAddr::V4(address) => hashed(key, &[&address.octets()]),
            IpAddr::V6(address) => hashed(key, &[&address.octets()]),
        };
        let account =
            account.map(|account| format!("carelink:{{{place}}}:{operation}:{}", hashed(key, &[place.as_bytes(), account.as_bytes()])));
        Self { network: format!("carelink:{{{place}}}:{operation}"), account }
    }
}

/// 128 bits of HMAC-SHA-256, in hexadecimal.
fn hashed(key: &Key, parts: &[&[u8]]) -> String {
    let mut hash = Context::with_key(key);
    for part in parts {
        hash.update(part);
    }
    hash.sign().as_ref().iter().take(16).fold(String::with_capacity(32), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // to a String
        text
    })
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::hmac::HMAC_SHA256;

    use super::*;

    #[test]
    fn keys_hold_no_name_and_no_address_and_lie_in_one_slot() {
        let key = Key::new(HMAC_SHA256, &[7; 32]);
        let keys = Keys::new(&key, "sign_in", [192, 0, 2, 1].into(), Some("amina"));
        let account = keys.account.unwrap();
        for key in [&keys.network, &account] {
            assert!(key.starts_with("carelink:{") && !key.contains("192.0.2.1") && !key.contains("amina"), "{key}");
            assert_eq!(key.split(['{', '}']).nth(1), account.split(['{', '}']).nth(1));
        }
        let other = Keys::new(&key, "sign_in", [192, 0, 2, 2].into(), Some("amina"));
        assert_ne!(account.rsplit(':').next(), other.account.unwrap().rsplit(':').next(), "the same name elsewhere is another account");
        assert_ne!(keys.network, Keys::new(&key, "refresh", [192, 0, 2, 1].into(), None).network);
        let elsewhere = Keys::new(&Key::new(HMAC_SHA256, &[8; 32]), "sign_in", [192, 0, 2, 1].into(), Some("amina"));
        assert!(elsewhere.network != keys.network && elsewhere.account.unwrap() != account, "only who has the key can guess");
    }
}

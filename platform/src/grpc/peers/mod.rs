//! The caller's end over a network: one [`Channel`] per service, spread over all of its replicas.
//!
//! `resolve` finds the addresses, `replica` keeps a connection to each, `balance` chooses one for each call and decides what may be sent
//! again, `budget` bounds how much of that.

mod balance;
mod budget;
mod network;
mod replica;
mod resolve;

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tower::util::BoxCloneSyncService;

use self::balance::{Balanced, Pool};
pub use self::network::{Network, Stream};
use super::{Channel, GrpcConfig};
use crate::{config::ConfigError, random::Random};

/// The services that a process calls. Cheap to clone; connections go with the last channel.
#[derive(Clone)]
pub struct Peers {
    config: Arc<GrpcConfig>,
    network: Network,
    random: Random,
    made: Arc<Mutex<HashMap<&'static str, Channel>>>,
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").finish_non_exhaustive()
    }
}

impl Peers {
    /// Over this network; nothing is looked up or reached yet.
    pub fn new(config: GrpcConfig, network: Network, random: Random) -> Self {
        Self { config: Arc::new(config), network, random, made: Arc::default() }
    }

    /// The way to a service, the same for all who ask. It connects by itself, within a runtime, and is never waited for.
    ///
    /// # Errors
    /// Where nothing says where the service is.
    pub fn channel(&self, to: &'static str) -> Result<Channel, ConfigError> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = made.get(to) {
            return Ok(channel.clone());
        }
        let addresses = self.config.addresses(to).to_vec();
        if addresses.is_empty() {
            let key = format!("grpc.{}", to.trim_end_matches("-service"));
            return Err(ConfigError::invalid(key, format!("is missing: where is {to}? Write host:port, several with commas between")));
        }
        let (pool, channel) = self.pool(to);
        tokio::spawn(resolve::run(pool, addresses));
        made.insert(to, channel.clone());
        Ok(channel)
    }

    /// The way to each replica of a service by itself, as its names are looked up now; none where nothing says where it is.
    ///
    /// # Errors
    /// Where a name cannot be looked up.
    pub async fn each(&self, to: &'static str) -> std::io::Result<Vec<(SocketAddr, Channel)>> {
        let mut found = BTreeSet::new();
        for name in self.config.addresses(to) {
            found.extend(self.network.resolve(name).await?);
        }
        let way = |address| {
            let (pool, channel) = self.pool(to);
            pool.set(&[address]);
            (address, channel)
        };
        Ok(found.into_iter().map(way).collect())
    }

    fn pool(&self, to: &'static str) -> (Arc<Pool>, Channel) {
        let pool = Pool::new(to, self.network.clone(), self.random.clone());
        let guard = Arc::new(pool.stop.clone().drop_guard());
        let channel = BoxCloneSyncService::new(Balanced::new(Arc::clone(&pool), guard));
        (pool, channel)
    }
}

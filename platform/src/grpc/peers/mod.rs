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
    collections::HashMap,
    fmt,
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
        let pool = Pool::new(to, self.network.clone(), self.random.clone());
        let guard = Arc::new(pool.stop.clone().drop_guard());
        tokio::spawn(resolve::run(Arc::clone(&pool), addresses));
        let channel = BoxCloneSyncService::new(Balanced::new(pool, guard));
        made.insert(to, channel.clone());
        Ok(channel)
    }
}

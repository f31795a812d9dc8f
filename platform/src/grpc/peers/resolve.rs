//! Where the replicas are: names are looked up again and again, all of their addresses are used.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use tokio::time::timeout;

use super::balance::Pool;

/// How often names are looked up.
const AGAIN: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(2);

/// Keeps a pool's replicas at what the names say, until it stops. A name that cannot be looked up keeps the addresses it had.
pub(super) async fn run(pool: Arc<Pool>, names: Vec<String>) {
    let mut known: HashMap<&str, Vec<SocketAddr>> = HashMap::new();
    let mut failing = false;
    loop {
        let mut failed = None;
        for name in &names {
            match timeout(PATIENCE, pool.network.resolve(name)).await {
                Ok(Ok(found)) if found.is_empty() => {}
                Ok(Ok(found)) => drop(known.insert(name, found)),
                Ok(Err(error)) => failed = Some(format!("{name}: {error}")),
                Err(_) => failed = Some(format!("{name}: the lookup took too long")),
            }
        }
        if let Some(why) = failed.as_ref().filter(|_| !failing) {
            tracing::warn!(to = pool.to, %why, "a service's address cannot be looked up; trying on");
        }
        failing = failed.is_some();
        let mut addresses: Vec<SocketAddr> = known.values().flatten().copied().collect();
        addresses.sort_unstable();
        addresses.dedup();
        pool.set(&addresses);
        tokio::select! {
            biased;
            () = tokio::time::sleep(pool.random.jitter(AGAIN, 0.2)) => {}
            () = pool.stop.cancelled() => return,
        }
    }
}

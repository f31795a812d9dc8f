//! Room for connections: so many in all, and no network may take more than half of it.
//!
//! Half is more than a hospital behind one address needs, and leaves the other half to everybody else. Trusted proxies and this machine
//! stand for many and have no share. When little room is left, whoever holds a connection without using it loses it sooner.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use metrics::{Counter, counter, describe_counter};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    config::{IDLE_TIMEOUT, MAX_CONNECTIONS, PRESSED_IDLE_TIMEOUT},
    proxies::{Cidr, network, trusts},
};

/// The room, and who is in it.
pub(crate) struct Crowd {
    places: Arc<Semaphore>,
    room: u32,
    trusted: Vec<Cidr>,
    networks: Mutex<HashMap<IpAddr, u32>>,
    refused: Counter,
}

/// A place for one connection, until it is dropped.
pub(crate) struct Place {
    _place: OwnedSemaphorePermit,
    share: Option<(Arc<Crowd>, IpAddr)>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((crowd, network)) = &self.share else { return };
        let mut networks = crowd.networks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = networks.get_mut(network) {
            *held -= 1;
            if *held == 0 {
                networks.remove(network);
            }
        }
    }
}

impl Crowd {
    /// Of as much room as the process may have.
    pub(crate) fn new(trusted: &[Cidr]) -> Arc<Self> {
        Self::of(room(), trusted)
    }

    fn of(room: u32, trusted: &[Cidr]) -> Arc<Self> {
        describe_counter!("carelink_http_connections_refused_total", "Connections of networks that held their share of the room");
        Arc::new(Self {
            places: Arc::new(Semaphore::new(usize::try_from(room).unwrap_or(usize::MAX))),
            room,
            trusted: trusted.to_vec(),
            networks: Mutex::default(),
            refused: counter!("carelink_http_connections_refused_total"),
        })
    }

    /// Waits for room; further connections wait in the kernel's queue.
    pub(crate) async fn room(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    /// Gives the room to whoever came; none: their network has its share.
    pub(crate) fn seat(self: &Arc<Self>, place: OwnedSemaphorePermit, peer: IpAddr) -> Option<Place> {
        if peer.to_canonical().is_loopback() || trusts(&self.trusted, peer) {
            return Some(Place { _place: place, share: None });
        }
        let network = network(peer);
        let mut networks = self.networks.lock().unwrap_or_else(PoisonError::into_inner);
        let held = networks.entry(network).or_default();
        if *held >= (self.room / 2).max(1) {
            self.refused.increment(1);
            return None;
        }
        *held += 1;
        Some(Place { _place: place, share: Some((Arc::clone(self), network)) })
    }

    /// How long a connection may be of no use.
    pub(crate) fn patience(&self) -> Duration {
        let left = u32::try_from(self.places.available_permits()).unwrap_or(u32::MAX);
        if left < self.room / 4 { PRESSED_IDLE_TIMEOUT } else { IDLE_TIMEOUT }
    }

    /// Waits until nobody is there any more.
    pub(crate) async fn gone(&self) {
        let _ = self.places.acquire_many(self.room).await; // never closed
    }
}

/// How many connections there is room for: half of the files that the process may have open, after asking for as many as it may.
fn room() -> u32 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some() {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }); // fewer will have to do
    }
    let files = getrlimit(Resource::Nofile).current.map_or(u32::MAX, |files| u32::try_from(files).unwrap_or(u32::MAX));
    MAX_CONNECTIONS.min(files / 2).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn come(crowd: &Arc<Crowd>, from: &str) -> Option<Place> {
        crowd.seat(crowd.room().await.unwrap(), from.parse().unwrap())
    }

    #[tokio::test]
    async fn one_network_takes_half_and_leaves_the_rest_to_the_others() {
        let crowd = Crowd::of(8, &["10.0.0.0/8".parse().unwrap()]);
        let mut there = Vec::new();
        for _ in 0..4 {
            there.push(come(&crowd, "192.0.2.1").await.unwrap());
        }
        assert!(come(&crowd, "192.0.2.1").await.is_none());
        there.push(come(&crowd, "192.0.2.2").await.unwrap());
        there.pop();
        there.pop();
        assert!(come(&crowd, "192.0.2.1").await.is_some(), "who leaves makes room");
        there.clear();
        assert!(crowd.networks.lock().unwrap().is_empty());
        for n in 0..4 {
            there.push(come(&crowd, &format!("2001:db8::{n}")).await.unwrap());
        }
        assert!(come(&crowd, "2001:db8::9").await.is_none());
    }

    #[tokio::test]
    async fn proxies_and_the_machine_itself_stand_for_many() {
        for many in ["10.1.2.3", "127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            let crowd = Crowd::of(8, &["10.0.0.0/8".parse().unwrap()]);
            let mut there = Vec::new();
            for _ in 0..8 {
                there.push(come(&crowd, many).await.unwrap());
            }
            assert_eq!(crowd.patience(), PRESSED_IDLE_TIMEOUT);
            there.clear();
            assert_eq!(crowd.patience(), IDLE_TIMEOUT);
            crowd.gone().await;
        }
    }
}

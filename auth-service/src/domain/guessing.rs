//! Guessing at an account (C5): three ways to it, each closed by its own failures alone, so that nobody locks anybody out from elsewhere.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use carelink_platform::{clock::Timestamp, random::Random, secrets::MasterKey};
use uuid::Uuid;

/// The most guesses in a row by strangers.
pub const STRANGERS: u32 = 60;
/// The most of them from one network.
pub const ONE_NETWORK: u32 = 20;
/// The most guesses in a row from networks that are known of the user.
pub const KNOWN_NETWORKS: u32 = 25;
/// The most guesses in a row from devices that are known of the user. With the others 100, as NIST 800-63B-4 3.2.2 has it.
pub const KNOWN_DEVICES: u32 = 15;
/// How long a device is known after a sign-in.
pub const DEVICE_LIFETIME: Duration = Duration::from_secs(180 * 24 * 60 * 60);

/// What the master key is asked for (K3).
const DEVICES_PURPOSE: &str = "auth/known-device/v1";
const NETWORKS_PURPOSE: &str = "auth/networks/v1";
/// The longest value that a device could bring.
const MAX_VALUE: usize = 128;

/// By which way somebody comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// Neither device nor network are known of the user.
    Strangers,
    /// The user has signed in from that network within 30 days.
    KnownNetworks,
    /// The device has what an earlier sign-in of the user left with it.
    KnownDevices,
}

/// Guesses in a row, since the last success.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guesses {
    /// By strangers.
    pub strangers: u32,
    /// By strangers from each network, by its key.
    pub by_network: BTreeMap<String, u32>,
    /// From known networks.
    pub known_networks: u32,
    /// From known devices.
    pub known_devices: u32,
}

/// A network as an account's guesses know it: by a keyed hash, IPv6 by /64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkKey {
    /// None where nobody says from where.
    hash: Option<[u8; 16]>,
}

/// Knows networks and devices again. Prints nothing.
pub struct Origins {
    networks: hmac::Key,
    master: MasterKey,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Strangers, Self::KnownNetworks, Self::KnownDevices];

    /// As statements, events and metrics call it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Strangers => "strangers",
            Self::KnownNetworks => "known_networks",
            Self::KnownDevices => "known_devices",
        }
    }

    /// As statements called it; whoever cannot be told is a stranger.
    pub fn read(text: &str) -> Self {
        Self::ALL.into_iter().find(|way| way.as_str() == text).unwrap_or(Self::Strangers)
    }

    /// At how many guesses it is closed.
    pub const fn limit(self) -> u32 {
        match self {
            Self::Strangers => STRANGERS,
            Self::KnownNetworks => KNOWN_NETWORKS,
            Self::KnownDevices => KNOWN_DEVICES,
        }
    }
}

impl Guesses {
    /// As the database kept them.
    pub fn new(strangers: u32, known_networks: u32, known_devices: u32, by_network: &str) -> Self {
        Self { strangers, by_network: serde_json::from_str(by_network).unwrap_or_default(), known_networks, known_devices }
    }

    /// How many by this way.
    pub fn by(&self, way: Way) -> u32 {
        match way {
            Way::Strangers => self.strangers,
            Way::KnownNetworks => self.known_networks,
            Way::KnownDevices => self.known_devices,
        }
    }

    /// Which ways are closed.
    pub fn closed(&self) -> Vec<Way> {
        Way::ALL.into_iter().filter(|way| self.by(*way) >= way.limit()).collect()
    }

    /// How many networks strangers may not guess from any more.
    pub fn networks_closed(&self) -> usize {
        self.by_network.values().filter(|guesses| **guesses >= ONE_NETWORK).count()
    }

    /// What the try just made has closed, if it failed: the way, or for strangers their one network.
    pub fn just_closed(&self, way: Way, network: &NetworkKey) -> Option<&'static str> {
        if self.by(way) == way.limit() {
            return Some(way.as_str());
        }
        let here = self.by_network.get(&network.name()).copied();
        (way == Way::Strangers && here == Some(ONE_NETWORK)).then_some("one_network")
    }
}

impl NetworkKey {
    /// As a key of the JSON object that counts by network.
    pub fn name(&self) -> String {
        format!("n{}", self.hash.map(hex::encode).unwrap_or_default())
    }

    /// As it is kept among the user's networks; none where nobody says from where.
    pub fn hash(&self) -> Option<[u8; 16]> {
        self.hash
    }
}

impl Origins {
    /// By keys of the master key.
    pub fn new(master: MasterKey) -> Self {
        Self { networks: hmac::Key::new(hmac::HMAC_SHA256, &master.derive::<32>(NETWORKS_PURPOSE)), master }
    }

    /// The network that an address lies in.
    pub fn network(&self, address: &str) -> NetworkKey {
        let network =
            address.split('/').next().and_then(|address| address.parse::<IpAddr>().ok()).map(|address| match address.to_canonical() {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().iter().take(8).copied().collect(), // a /64
            });
        NetworkKey { hash: network.and_then(|network| hmac::sign(&self.networks, &network).as_ref().first_chunk().copied()) }
    }

    /// What a device of this user keeps from now on. Sealed: it says nothing to whoever holds it.
    pub fn device(&self, user: Uuid, now: Timestamp, random: &Random) -> String {
        let plain = [user.as_bytes().as_slice(), &now.as_micros().to_be_bytes()].concat();
        URL_SAFE_NO_PAD.encode(self.master.seal(DEVICES_PURPOSE, random, &plain, &[]))
    }

    /// Whom a device is known of; nobody where it brings what we did not make, or made too long ago.
    pub fn known(&self, value: &str, now: Timestamp) -> Option<Uuid> {
        let sealed = URL_SAFE_NO_PAD.decode(value.get(..value.len().min(MAX_VALUE))?).ok().filter(|sealed| !sealed.is_empty())?;
        let plain = self.master.open(DEVICES_PURPOSE, &sealed, &[]).ok()?;
        let (user, made) = plain.split_at_checked(16)?;
        let made = Timestamp::from_micros(i64::from_be_bytes(made.try_into().ok()?));
        (now.since(made) < DEVICE_LIFETIME).then(|| Uuid::from_slice(user).ok())?
    }
}

impl std::fmt::Debug for Origins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Origins")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(byte: u8) -> Origins {
        Origins::new(MasterKey::new([byte; 32]))
    }

    #[test]
    fn c5_the_three_ways_together_are_a_hundred_guesses() {
        assert_eq!(Way::ALL.map(Way::limit), [60, 25, 15]);
        assert_eq!(Way::ALL.map(Way::limit).iter().sum::<u32>(), 100);
        assert!(Way::ALL.iter().all(|way| Way::read(way.as_str()) == *way));
    }

    #[test]
    fn c5_a_device_is_known_of_its_user_for_a_while_and_tells_nobody_whose_it_is() {
        let (user, then, random) = (Uuid::from_u128(7), Timestamp::from_secs(1_800_000_000), Random::seeded(1));
        let value = origins(1).device(user, then, &random);
        assert!(value.len() <= MAX_VALUE);
        assert_eq!(origins(1).known(&value, then), Some(user));
        assert_eq!(origins(1).known(&value, then + (DEVICE_LIFETIME - Duration::from_secs(1))), Some(user));
        assert_eq!(origins(1).known(&value, then + DEVICE_LIFETIME), None);
        assert_eq!(origins(2).known(&value, then), None);
        assert_ne!(value, origins(1).device(user, then, &random), "two devices have nothing in common");
        let read = URL_SAFE_NO_PAD.decode(&value).unwrap();
        assert!(!read.windows(16).any(|window| window == user.as_bytes()));
        for garbage in ["", "x", "é", &"A".repeat(4_000), value.get(1..).unwrap(), &format!("{value}A")] {
            assert_eq!(origins(1).known(garbage, then), None, "{garbage}");
        }
    }

    #[test]
    fn c5_a_network_is_known_by_a_keyed_hash_and_ipv6_by_its_first_half() {
        let key = |address: &str| origins(1).network(address);
        assert_eq!(key("192.0.2.7"), key("::ffff:192.0.2.7"));
        assert_ne!(key("192.0.2.7"), key("192.0.2.8"));
        assert_eq!(key("2001:db8:1:2::7"), key("2001:db8:1:2:ffff::"));
        assert_eq!(key("2001:db8:1:2::7"), key("2001:db8:1:2::/64"));
        assert_ne!(key("2001:db8:1:2::7"), key("2001:db8:1:3::7"));
        assert_ne!(key("192.0.2.7").hash(), origins(2).network("192.0.2.7").hash());
        assert_eq!((key("").hash(), key("a ward").name().as_str()), (None, "n"));
    }

    #[test]
    fn c5_what_a_try_has_closed_is_told_once() {
        let network = origins(1).network("192.0.2.7");
        let guesses = |strangers, here| Guesses { strangers, by_network: [(network.name(), here)].into(), ..Guesses::default() };
        assert_eq!(guesses(19, 19).just_closed(Way::Strangers, &network), None);
        assert_eq!(guesses(20, 20).just_closed(Way::Strangers, &network), Some("one_network"));
        assert_eq!(guesses(60, 3).just_closed(Way::Strangers, &network), Some("strangers"));
        assert_eq!(guesses(59, 3).just_closed(Way::Strangers, &network), None);
        let known = Guesses { known_devices: 15, ..guesses(60, 20) };
        assert_eq!(known.just_closed(Way::KnownDevices, &network), Some("known_devices"));
        assert_eq!((known.closed(), known.networks_closed()), (vec![Way::Strangers, Way::KnownDevices], 1));
    }
}

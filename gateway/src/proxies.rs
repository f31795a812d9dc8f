//! Who is calling: the peer's address, or the one a trusted proxy vouches for.
//!
//! `X-Forwarded-For` is believed only if the peer itself is in `gateway.trusted_proxies`; then the client is the rightmost hop that is
//! not a trusted proxy. What stands further left is what somebody claims and is never looked at.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use http::{HeaderMap, HeaderName};
use serde::{Serialize, Serializer};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// No honest chain is longer; beyond it nothing is read.
const MAX_HOPS: usize = 32;

/// A block of addresses: `10.0.0.0/8`, `fd00::/8`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    prefix: u32,
}

/// What a block of addresses looks like.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not an address or a block of addresses such as 10.0.0.0/8")]
pub struct CidrError(String);

impl Cidr {
    fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(block), IpAddr::V4(one)) => u64::from(block.to_bits() ^ one.to_bits()) >> (32 - self.prefix) == 0,
            (IpAddr::V6(block), IpAddr::V6(one)) => (block.to_bits() ^ one.to_bits()).checked_shr(128 - self.prefix).unwrap_or(0) == 0,
            _ => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let wrong = || CidrError(text.to_owned());
        let (address, prefix) = text.trim().split_once('/').map_or((text.trim(), None), |(address, prefix)| (address, Some(prefix)));
        let address = address.parse::<IpAddr>().map_err(|_| wrong())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(longest), str::parse).map_err(|_| wrong())?;
        if prefix > longest { Err(wrong()) } else { Ok(Self { address, prefix }) }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The address of whoever is calling.
pub(crate) fn client(trusted: &[Cidr], peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    let mut client = peer.to_canonical();
    if trusted.is_empty() {
        return client;
    }
    let mut hops = headers.get_all(FORWARDED_FOR).iter().rev().flat_map(|value| value.to_str().unwrap_or("?").rsplit(',')).take(MAX_HOPS);
    while trusts(trusted, client) {
        match hops.next().and_then(hop) {
            Some(further) => client = further,
            None => break,
        }
    }
    client
}

/// Whether what an address says of others is believed.
pub(crate) fn trusts(trusted: &[Cidr], address: IpAddr) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|block| block.contains(address))
}

/// The network an address belongs to, for limits: itself, or its /64.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(one) => Ipv6Addr::from_bits(one.to_bits() & !u128::from(u64::MAX)).into(),
        four => four,
    }
}

/// One hop: an address, or an address and a port.
fn hop(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(text, |(inside, _)| inside);
    let address = bare.parse().ok().or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|socket| socket.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn blocks(texts: &[&str]) -> Vec<Cidr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn seen(trusted: &[&str], peer: &str, forwarded: &[&'static str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED_FOR, HeaderValue::from_static(value));
        }
        client(&blocks(trusted), peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn a_stranger_cannot_choose_its_address() {
        assert_eq!(seen(&[], "198.51.100.7", &["10.0.0.1"]), "198.51.100.7");
        assert_eq!(seen(&["10.0.0.0/8"], "198.51.100.7", &["10.0.0.1"]), "198.51.100.7");
    }

    #[test]
    fn behind_proxies_the_rightmost_untrusted_hop_is_the_client() {
        let trusted = ["10.0.0.0/8", "fd00::/8"];
        assert_eq!(seen(&trusted, "10.0.0.1", &["192.0.2.9"]), "192.0.2.9");
        assert_eq!(seen(&trusted, "10.0.0.1", &["1.1.1.1, 192.0.2.9, 10.9.9.9"]), "192.0.2.9");
        assert_eq!(seen(&trusted, "fd00::1", &["1.1.1.1", "192.0.2.9", "10.9.9.9"]), "192.0.2.9");
        assert_eq!(seen(&trusted, "10.0.0.1", &["10.1.1.1,10.2.2.2"]), "10.1.1.1");
        assert_eq!(seen(&trusted, "10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(seen(&trusted, "::ffff:10.0.0.1", &["::ffff:192.0.2.9"]), "192.0.2.9");
        assert_eq!(seen(&trusted, "10.0.0.1", &["192.0.2.9:4711"]), "192.0.2.9");
        assert_eq!(seen(&trusted, "10.0.0.1", &["[2001:db8::9]:4711"]), "2001:db8::9");
    }

    #[test]
    fn what_is_no_address_ends_the_chain_at_the_last_trusted_hop() {
        assert_eq!(seen(&["10.0.0.0/8"], "10.0.0.1", &["192.0.2.9, unknown"]), "10.0.0.1");
        assert_eq!(seen(&["10.0.0.0/8"], "10.0.0.1", &["192.0.2.9,,10.0.0.2"]), "10.0.0.2");
        assert_eq!(seen(&["0.0.0.0/0"], "10.0.0.1", &["x"]), "10.0.0.1");
    }

    #[test]
    fn a_block_is_as_wide_as_its_prefix_says() {
        for (block, inside, outside) in [
            ("10.1.2.0/23", "10.1.3.255", "10.1.4.0"),
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"),
            ("::1/128", "::1", "::2"),
        ] {
            let block: Cidr = block.parse().unwrap();
            assert!(block.contains(inside.parse().unwrap()) && !block.contains(outside.parse().unwrap()), "{block}");
        }
        assert!(blocks(&["0.0.0.0/0"])[0].contains("203.0.113.1".parse().unwrap()));
        assert!(blocks(&["::/0"])[0].contains("2001:db8::1".parse().unwrap()));
        for wrong in ["", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1", "ward", "10.0.0/8"] {
            assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_ipv6_client_is_its_slash_64() {
        let same = network("2001:db8:1:2:3:4:5:6".parse().unwrap());
        assert_eq!(same, network("2001:db8:1:2:ffff::".parse().unwrap()));
        assert_ne!(same, network("2001:db8:1:3::".parse().unwrap()));
        assert_eq!(network("::ffff:192.0.2.9".parse().unwrap()).to_string(), "192.0.2.9");
    }
}

//! Addresses and networks that a firewall lets in.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An address, or a network as `203.0.113.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is neither.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNetwork {
    /// It is something else.
    #[error(
        "`{0}` is no address and no network: write `203.0.113.7`, `203.0.113.0/24` or `2001:db8::/48`"
    )]
    Text(String),
    /// It has bits behind its prefix.
    #[error("`{0}` has an address behind its prefix: the network is `{1}`")]
    Bits(String, Network),
}

impl Network {
    /// Whether it is of IPv4.
    pub fn is_v4(&self) -> bool {
        self.address.is_ipv4()
    }

    /// Whether all of `other` is inside.
    pub fn contains(&self, other: &Self) -> bool {
        self.is_v4() == other.is_v4()
            && self.prefix <= other.prefix
            && masked(other.address, self.prefix) == self.address
    }

    /// The networks without those that are inside others, in order: overlapping ones are refused by
    /// nftables.
    pub fn merged(networks: &[Self]) -> Vec<Self> {
        let mut sorted = networks.to_vec();
        sorted.sort_by_key(|network| (network.address.is_ipv6(), network.prefix, network.address));
        let mut kept: Vec<Self> = Vec::new();
        for network in sorted {
            if !kept.iter().any(|other| other.contains(&network)) {
                kept.push(network);
            }
        }
        kept.sort();
        kept
    }

    fn bits(&self) -> u8 {
        if self.is_v4() { 32 } else { 128 }
    }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((u32::from(address) & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6((u128::from(address) & mask).into())
        }
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { address, prefix: if address.is_ipv4() { 32 } else { 128 } }
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let invalid = || InvalidNetwork::Text(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let Some(prefix) = prefix else { return Ok(address.into()) };
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.parse().ok().filter(|prefix| *prefix <= most).ok_or_else(invalid)?;
        let network = Self { address: masked(address, prefix), prefix };
        match network.address == address {
            true => Ok(network),
            false => Err(InvalidNetwork::Bits(text.to_owned(), network)),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix == self.bits() {
            true => write!(f, "{}", self.address),
            false => write!(f, "{}/{}", self.address, self.prefix),
        }
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_and_written() {
        for text in ["203.0.113.7", "203.0.113.0/24", "0.0.0.0/0", "2001:db8::/48", "::1", "::/0"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
        assert_eq!("10.0.0.1/32".parse::<Network>().unwrap().to_string(), "10.0.0.1");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "ten", "10.0.0.0/33", "10.0.0.0/", "10.0.0/8", "::/129", "10.0.0.0/+8 "] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
        let told = "10.0.0.9/8".parse::<Network>().unwrap_err().to_string();
        assert!(told.ends_with("the network is `10.0.0.0/8`"), "{told}");
    }

    #[test]
    fn what_is_inside_another_network_is_left_out() {
        let all = ["10.1.0.0/16", "10.0.0.0/8", "10.0.0.1", "192.0.2.1", "192.0.2.1", "::1"];
        let all: Vec<Network> = all.iter().map(|text| text.parse().unwrap()).collect();
        let shown: Vec<String> = Network::merged(&all).iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["10.0.0.0/8", "192.0.2.1", "::1"]);
    }
}

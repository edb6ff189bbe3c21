//! How many connections each client has open, so that one alone can't have all of them.
//!
//! A client is an address; with IPv6 a network of 64 bits, because every customer has one. Private
//! addresses aren't counted: there a balancer, a gateway or a container's host stands for any number
//! of people. Nor is a balancer of the same environment, wherever it is, once it has said the key of
//! its fleet. Whoever comes beyond is closed at once, unheard; what is open goes on.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::limits::Limits;

/// How often the log says who comes too often: somebody who floods is no reason to fill a disk.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// The connections of all clients that are counted, over all workers.
#[derive(Default)]
pub(crate) struct Crowd(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    open: HashMap<IpAddr, usize>,
    told: Option<Instant>,
}

/// The client has as many connections as one may.
#[derive(Debug)]
pub(crate) struct Crowded;

/// One open connection of a client; given back when it is dropped.
pub(crate) struct Seat {
    crowd: Arc<Crowd>,
    client: IpAddr,
}

impl Crowd {
    /// A seat for one more connection; none for those who aren't counted.
    pub(crate) fn admit(
        self: &Arc<Self>,
        peer: IpAddr,
        limits: &Limits,
    ) -> Result<Option<Seat>, Crowded> {
        if !(limits.counts)(peer) {
            return Ok(None);
        }
        let client = client_of(peer);
        let mut counts = self.lock();
        let open = counts.open.get(&client).copied().unwrap_or(0);
        if open < limits.connections_per_client {
            counts.open.insert(client, open + 1);
            return Ok(Some(Seat { crowd: self.clone(), client }));
        }
        let tell = counts.told.is_none_or(|told| told.elapsed() >= TOLD_EVERY);
        if tell {
            counts.told = Some(Instant::now());
        }
        drop(counts);
        if tell {
            eprintln!("more connections of {peer} are closed at once: it has {open} open");
        }
        Err(Crowded)
    }

    /// The counts are whole at any time, whoever panicked.
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Entry::Occupied(mut open) = self.crowd.lock().open.entry(self.client) {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
    }
}

/// Whether an address is one of the internet, where each belongs to a customer of some provider.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(own) => !(own.is_loopback() || own.is_private() || own.is_link_local()),
        IpAddr::V6(own) => {
            !(own.is_loopback() || own.is_unique_local() || own.is_unicast_link_local())
        }
    }
}

fn client_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(own) => Ipv6Addr::from_bits(own.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(connections_per_client: usize) -> Limits {
        Limits { connections_per_client, ..Limits::default() }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn those_who_leave_make_room_and_nobody_is_remembered() {
        let (crowd, limits) = (Arc::new(Crowd::default()), limits(2));
        let enter = |who| crowd.admit(address(who), &limits);
        let mut seats = vec![enter("203.0.113.7").unwrap(), enter("203.0.113.7").unwrap()];
        assert!(enter("203.0.113.7").is_err());
        assert!(enter("203.0.113.8").is_ok(), "others aren't concerned");
        seats.pop();
        seats.push(enter("203.0.113.7").unwrap());
        assert!(enter("203.0.113.7").is_err());
        drop(seats);
        assert!(crowd.lock().open.is_empty());
    }

    #[test]
    fn a_network_of_64_bits_is_one_client() {
        let (crowd, limits) = (Arc::new(Crowd::default()), limits(1));
        let _seat = crowd.admit(address("2001:db8:0:1::7"), &limits).unwrap();
        assert!(crowd.admit(address("2001:db8:0:1:ffff::8"), &limits).is_err());
        assert!(crowd.admit(address("2001:db8:0:2::7"), &limits).is_ok());
    }

    #[test]
    fn private_addresses_stand_for_any_number_of_people() {
        let none = limits(0);
        let is_counted = |who| Arc::new(Crowd::default()).admit(address(who), &none).is_err();
        for own in ["127.0.0.1", "10.1.2.3", "172.31.0.1", "192.168.1.1", "169.254.1.1"] {
            assert!(!is_counted(own), "{own}");
        }
        for own in ["::1", "fd12::1", "fe80::1"] {
            assert!(!is_counted(own), "{own}");
        }
        // 100.64.0.0/10: customers of one provider who share their addresses.
        for other in ["203.0.113.7", "172.32.0.1", "100.64.0.1", "2001:db8::1"] {
            assert!(is_counted(other), "{other}");
        }
    }
}

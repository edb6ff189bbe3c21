//! What listens on a machine, from `/proc/net`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use onward_core::machine::{Listener, Protocol};

use super::place::Place;

/// How the kernel writes the state of a TCP socket that listens, and of a UDP socket that belongs to
/// no one peer.
const STATES: [(Protocol, &str); 2] = [(Protocol::Tcp, "0A"), (Protocol::Udp, "07")];
/// What has the sockets of units that are not started yet.
const SYSTEMD: &str = "systemd";
/// Where onward is on a server.
const OWN_PROGRAMS: &str = "/var/lib/onward/bin";
/// Where the ports of outgoing connections begin when the system does not say.
const OUTGOING_FIRST: u16 = 32_768;

/// What listens, one for each protocol, port and address.
pub(super) fn listening(place: &Place) -> Vec<Listener> {
    let programs = programs(place);
    let outgoing = place.text("/proc/sys/net/ipv4/ip_local_port_range");
    let outgoing = outgoing.split_ascii_whitespace().next().and_then(|text| text.parse().ok());
    let outgoing: u16 = outgoing.unwrap_or(OUTGOING_FIRST);
    let mut found = BTreeSet::new();
    for (protocol, state) in STATES {
        for version in ["", "6"] {
            let table = place.text(&format!("/proc/net/{protocol}{version}"));
            for socket in table.lines().filter_map(|line| parse(line, state)) {
                // A program that asks others gets such a port for a moment; the kernel's own
                // sockets, as of WireGuard, have no inode.
                let is_client = protocol == Protocol::Udp && socket.port >= outgoing;
                if is_client && socket.inode != 0 {
                    continue;
                }
                let process = programs.get(&socket.inode).cloned().unwrap_or_default();
                let Socket { port, address, .. } = socket;
                found.insert(Listener { protocol, port, address, process });
            }
        }
    }
    found.into_iter().collect()
}

struct Socket {
    address: IpAddr,
    port: u16,
    inode: u64,
}

fn parse(line: &str, state: &str) -> Option<Socket> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    if fields.get(3) != Some(&state) {
        return None;
    }
    let (address, port) = fields.get(1)?.rsplit_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(Socket { address: address_of(address)?, port, inode: fields.get(9)?.parse().ok()? })
}

/// The kernel writes addresses as words in its own order of bytes.
fn address_of(text: &str) -> Option<IpAddr> {
    let word = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::to_ne_bytes);
    match text.len() {
        8 => Some(Ipv4Addr::from(word(text)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (at, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(text.get(at * 8..at * 8 + 8)?)?);
            }
            Some(IpAddr::from(Ipv6Addr::from(bytes)).to_canonical())
        }
        _ => None,
    }
}

/// The program of each socket.
fn programs(place: &Place) -> BTreeMap<u64, String> {
    let mut found = BTreeMap::new();
    let pids =
        place.names("/proc").into_iter().filter(|name| name.bytes().all(|b| b.is_ascii_digit()));
    for pid in pids {
        let links = fs::read_dir(place.path(&format!("/proc/{pid}/fd"))).into_iter().flatten();
        let inodes = links.flatten().filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok()
        });
        let inodes: Vec<u64> = inodes.collect();
        if inodes.is_empty() {
            continue;
        }
        let name = name(place, &pid);
        for inode in inodes {
            // Who was given a socket by systemd says more than systemd, which still holds it.
            let entry: &mut String = found.entry(inode).or_default();
            if entry.is_empty() || entry == SYSTEMD {
                entry.clone_from(&name);
            }
        }
    }
    found
}

/// What people call a process. onward's own are started by names with a version.
fn name(place: &Place, pid: &str) -> String {
    let program = fs::read_link(place.path(&format!("/proc/{pid}/exe"))).unwrap_or_default();
    if program.starts_with(OWN_PROGRAMS) {
        return "onward".to_owned();
    }
    let name = place.text(&format!("/proc/{pid}/comm")).trim().to_owned();
    // What systemd calls its children for the moment before they become the program of their unit.
    if name.starts_with('(') { SYSTEMD.to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_listening() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let found = listening(&Place::default());
        let own =
            found.iter().find(|one| one.port == address.port() && one.protocol == Protocol::Tcp);
        assert_eq!(own.map(|own| own.address), Some(address.ip()));
        assert!(!own.unwrap().process.is_empty());
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn addresses_are_read_as_the_kernel_writes_them() {
        let shown = |text| address_of(text).unwrap().to_string();
        assert_eq!(shown("0100007F"), "127.0.0.1");
        assert_eq!(shown("B80D0120000000000000000001000000"), "2001:db8::1");
        assert_eq!(shown("0000000000000000FFFF00000100007F"), "127.0.0.1");
        assert_eq!(address_of("01"), None);
    }
}

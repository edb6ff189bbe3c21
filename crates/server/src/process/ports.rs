//! TCP ports of this machine: free ones, and who listens on which.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};

use super::procfs::{self, Identity};
use crate::systemd;

/// The first port that is given to anybody; below lie well-known ones.
const FIRST: u16 = 20_000;
/// Where the ports of outgoing connections begin when the system does not say.
const OUTGOING_FIRST: u16 = 32_768;
/// How many ports are tried.
const TRIES: u16 = 200;
/// Prints what the processes of its arguments have open.
const OPEN_FILES: &str =
    r#"for pid; do for file in /proc/"$pid"/fd/*; do readlink "$file"; done; done; true"#;
/// How the kernel writes the state of a listening socket.
const LISTENING: &str = "0A";

/// A port of the loopback address on which nobody listens and that is not in `taken`.
///
/// It lies below the ports that the kernel gives to outgoing connections: one of those may be in
/// use again at any moment, also before a process that was given it can listen.
pub fn free_port(taken: &BTreeSet<u16>) -> Option<u16> {
    let last = outgoing_first().saturating_sub(1).max(FIRST + 1);
    let start = RandomState::new().build_hasher().finish();
    let count = u64::from(last - FIRST);
    let candidates = (0..u64::from(TRIES)).map(|n| (start.wrapping_add(n * 7919)) % count);
    let mut ports = candidates.filter_map(|n| u16::try_from(u64::from(FIRST) + n).ok());
    ports.find(|port| {
        !taken.contains(port) && TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()
    })
}

fn outgoing_first() -> u16 {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let first = text.split_ascii_whitespace().next().and_then(|first| first.parse().ok());
    first.filter(|first| *first > FIRST + TRIES).unwrap_or(OUTGOING_FIRST)
}

/// The ports on which processes of a group listen, as far as we may see what they have open.
pub fn listening_ports(group: u32) -> BTreeSet<u16> {
    ports_of(procfs::members(group).into_iter().flat_map(sockets_of))
}

/// The ports on which sockets listen, which are named by their inodes.
fn ports_of(sockets: impl Iterator<Item = u64>) -> BTreeSet<u16> {
    let listening = listening_sockets();
    sockets.filter_map(|inode| listening.get(&inode).copied()).collect()
}

/// The ports on which processes of another user's listen. What those have open, only a unit of its own
/// is told; it takes some ten milliseconds.
pub(super) fn listening_ports_of_another(group: u32) -> BTreeSet<u16> {
    let members: Vec<String> = procfs::members(group).iter().map(u32::to_string).collect();
    let mut words = vec!["/bin/sh", "-c", OPEN_FILES, "onward"];
    words.extend(members.iter().map(String::as_str));
    let told = systemd::outside(&[], &words).unwrap_or_default();
    ports_of(told.lines().filter_map(socket_in))
}

/// A process of this machine that listens on the port, when we may see it.
pub fn owner_of_port(port: u16) -> Option<Identity> {
    let listening = listening_sockets();
    let inodes: BTreeSet<u64> =
        listening.iter().filter(|(_, own)| **own == port).map(|(inode, _)| *inode).collect();
    let entries = fs::read_dir("/proc").ok()?.flatten();
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| sockets_of(*pid).iter().any(|inode| inodes.contains(inode)))
        .and_then(Identity::of)
}

/// Inodes of the sockets that a process has open; none when we may not look.
fn sockets_of(pid: u32) -> Vec<u64> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            socket_in(target.to_str()?)
        })
        .collect()
}

/// The inode in the name of an open file that is a socket.
fn socket_in(name: &str) -> Option<u64> {
    name.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The ports of all listening TCP sockets by inode.
fn listening_sockets() -> BTreeMap<u64, u16> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
    let parse = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let address = fields.nth(1)?;
        let state = fields.nth(1)?;
        let inode = fields.nth(5)?.parse().ok()?;
        let port = u16::from_str_radix(address.rsplit_once(':')?.1, 16).ok()?;
        (state == LISTENING).then_some((inode, port))
    };
    let texts = tables.into_iter().flatten();
    texts.flat_map(|text| text.lines().filter_map(parse).collect::<Vec<_>>()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_port_has_an_owner() {
        let port = free_port(&BTreeSet::new()).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert_eq!(owner_of_port(port).map(|owner| owner.pid), Some(std::process::id()));
        assert_ne!(free_port(&BTreeSet::from([port])), Some(port));
        drop(listener);
        assert_eq!(owner_of_port(port), None);
    }
}

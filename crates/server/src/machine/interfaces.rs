//! The network interfaces of a machine: its addresses, and what it forwards packets for.

use std::fs;
use std::net::IpAddr;

use super::command::Program;
use super::place::Place;

/// The addresses by which others reach the machine: neither its own loopback nor a link's.
pub(super) fn addresses() -> Vec<IpAddr> {
    let listed = Program::new("ip", &["-o", "addr", "show", "scope", "global"]).ask();
    let text = listed.map(|ended| ended.output).unwrap_or_default();
    let parse = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let interface = words.nth(1)?;
        let address = words.find(|word| word.contains(['.', ':']))?;
        let address: IpAddr = address.split('/').next()?.parse().ok()?;
        (!is_inner(interface)).then_some(address)
    };
    text.lines().filter_map(parse).collect()
}

/// Bridges of containers have the same addresses on every machine.
fn is_inner(interface: &str) -> bool {
    ["docker", "br-", "virbr", "cni", "podman", "lxcbr"]
        .iter()
        .any(|start| interface.starts_with(start))
}

/// The interfaces that packets are forwarded for: bridges of containers and tunnels, where the
/// kernel forwards at all.
pub(super) fn forwards_for(place: &Place) -> Vec<String> {
    let switches = ["/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"];
    if switches.iter().all(|path| place.text(path).trim() != "1") {
        return Vec::new();
    }
    let directory = "/sys/class/net";
    let mut found: Vec<String> = place.names(directory);
    found.retain(|name| {
        let has = |file: &str| {
            fs::exists(place.path(&format!("{directory}/{name}/{file}"))).unwrap_or(false)
        };
        has("bridge")
            || has("tun_flags")
            || place.text(&format!("{directory}/{name}/uevent")).contains("DEVTYPE=wireguard")
    });
    found.sort();
    found
}

//! The firewall's rules: one nftables table of onward's own, for IPv4 and IPv6.
//!
//! What nothing lets in is dropped, and so is what would only pass through. Tables of others are
//! never touched: a packet has to pass theirs too. Loading the file replaces the table in one step,
//! so there is no moment without rules, and connections that are open stay open.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::facts::{Facts, Protocol};
use super::network::Network;
use super::setup::{Setup, SshDoor};

/// Where SSH is when sshd does not say.
const SSH_PORT: u16 = 22;
/// The longest reason in a rule: the kernel takes 128 bytes.
const WHY_BYTES_MAX: usize = 100;

/// Ports that are open.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Opening {
    /// TCP or UDP.
    #[serde(default)]
    pub protocol: Protocol,
    /// Which.
    pub ports: Ports,
    /// For whom; none: for everybody. Nobody, when it is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Vec<Network>>,
    /// Why, for whoever reads the rules.
    pub why: String,
}

/// Ports in a row, the first and the last among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ports {
    /// The first.
    pub first: u16,
    /// The last; not below the first.
    pub last: u16,
}

impl From<u16> for Ports {
    fn from(port: u16) -> Self {
        Self { first: port, last: port }
    }
}

impl Ports {
    /// Whether `port` is among them.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl std::fmt::Display for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

/// The ports of SSH: never none, so that the rules always have a way in.
pub fn ssh_ports(setup: &Setup, facts: &Facts) -> BTreeSet<u16> {
    let mut ports: BTreeSet<u16> = facts.sshd.ports.union(&setup.ssh.ports).copied().collect();
    if ports.is_empty() {
        ports.insert(SSH_PORT);
    }
    ports
}

/// Every opening of a machine: what its owner wants, what the others on it need. SSH is apart.
pub fn openings(setup: &Setup, facts: &Facts) -> Vec<Opening> {
    let guests = facts.record.iter().flat_map(|record| &record.guests);
    let others = guests
        .filter(|guest| guest.owner != setup.owner)
        .flat_map(|guest| guest.openings.iter().cloned());
    let all: BTreeSet<Opening> = setup.openings.iter().cloned().chain(others).collect();
    all.into_iter().collect()
}

/// Whether somebody out there reaches `port`, by these rules.
pub fn lets_in(setup: &Setup, facts: &Facts, protocol: Protocol, port: u16) -> bool {
    let is_ssh = protocol == Protocol::Tcp && ssh_ports(setup, facts).contains(&port);
    is_ssh
        || openings(setup, facts)
            .iter()
            .any(|opening| opening.protocol == protocol && opening.ports.contains(port))
}

/// The rules, as `nft -f` reads them.
pub fn rules(setup: &Setup, facts: &Facts) -> String {
    let ssh = ssh_rules(&ssh_ports(setup, facts), &setup.ssh);
    let doors: String = openings(setup, facts).iter().map(rule).collect();
    let owner = &setup.owner;
    format!(
        r#"# Written by onward for {owner}, and written again whenever it differs.
# To have no firewall: `harden = "ssh"` in onward.toml; at once: `nft delete table inet onward`.
table inet onward
delete table inet onward
table inet onward {{
	chain input {{
		type filter hook input priority filter; policy drop;
		iifname "lo" accept
		ct state established,related accept
		ct state invalid drop
		icmp type {{ echo-request, destination-unreachable, time-exceeded, parameter-problem }} accept
		icmpv6 type {{ echo-request, destination-unreachable, packet-too-big, time-exceeded, parameter-problem }} accept
		icmpv6 type {{ nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, mld-listener-query, mld-listener-report, mld-listener-done, mld2-listener-report }} ip6 hoplimit {{ 1, 255 }} accept
		udp sport 67 udp dport 68 accept comment "addresses by DHCP"
		ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept comment "addresses by DHCP"
{ssh}{doors}		limit rate 5/minute burst 10 packets log prefix "onward denied: "
	}}
	chain forward {{
		type filter hook forward priority filter; policy drop;
		ct state established,related accept
		limit rate 5/minute burst 10 packets log prefix "onward denied: "
	}}
}}
"#
    )
}

fn ssh_rules(ports: &BTreeSet<u16>, door: &SshDoor) -> String {
    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
    let ports = set(&ports);
    let accept = format!("tcp dport {ports} accept");
    if door.from.is_empty() {
        return format!("\t\t{accept} comment \"SSH\"\n");
    }
    let everybody: Vec<Network> = door.from.iter().chain(&door.peers).copied().collect();
    by_source(&everybody, &accept, "SSH")
}

fn rule(opening: &Opening) -> String {
    let Opening { protocol, ports, from, why } = opening;
    let accept = format!("{protocol} dport {ports} accept");
    let why = comment(why);
    match from {
        None => format!("\t\t{accept} comment \"{why}\"\n"),
        Some(from) => by_source(from, &accept, &why),
    }
}

/// One rule for each version of the protocol that somebody has.
fn by_source(from: &[Network], accept: &str, why: &str) -> String {
    let mut text = String::new();
    for (is_v4, word) in [(true, "ip"), (false, "ip6")] {
        let all = Network::merged(from);
        let all: Vec<String> =
            all.iter().filter(|one| one.is_v4() == is_v4).map(ToString::to_string).collect();
        if !all.is_empty() {
            let _ = writeln!(text, "\t\t{word} saddr {} {accept} comment \"{why}\"", set(&all));
        }
    }
    text
}

fn set(elements: &[String]) -> String {
    match elements {
        [one] => one.clone(),
        all => format!("{{ {} }}", all.join(", ")),
    }
}

/// What may stand in a comment of a rule.
fn comment(why: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || " -_./:,()".contains(c);
    why.chars().filter(|c| plain(*c)).take(WHY_BYTES_MAX).collect()
}

/// The rules that let somebody in, one a line, as people read them.
pub(super) fn doors_of(rules: &str) -> BTreeSet<String> {
    let lines = rules.lines().map(str::trim);
    lines
        .filter(|line| line.contains(" dport ") && line.contains(" accept"))
        .filter(|line| !line.contains("by DHCP"))
        .map(|line| line.replace(" accept comment ", " for ").replace('"', ""))
        .collect()
}

//! What a server's machine is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::firewall::Opening;
use super::packages::PackageSystem;
use super::setup::{Owner, Setup};
use super::user::UserName;
use crate::model::Digest;

/// What a server's machine is, as far as a set-up has to know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The operating system.
    pub system: System,
    /// What the last set-up left to remember.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Record>,
    /// The files that onward would write, by path, as far as they are there.
    #[serde(default)]
    pub files: BTreeMap<String, FileFact>,
    /// The packages that are installed.
    #[serde(default)]
    pub packages: BTreeSet<String>,
    /// The accounts that can sign in, and those of admins.
    #[serde(default)]
    pub accounts: BTreeMap<UserName, Account>,
    /// Whether the group of those who may sign in is there.
    #[serde(default)]
    pub has_group: bool,
    /// What listens on addresses that others can reach.
    #[serde(default)]
    pub listening: Vec<Listener>,
    /// sshd.
    #[serde(default)]
    pub sshd: SshdFacts,
    /// onward's own firewall table.
    #[serde(default)]
    pub firewall: FirewallFacts,
    /// Firewalls of others that are active, as `ufw`.
    #[serde(default)]
    pub other_firewalls: Vec<String>,
    /// Interfaces that packets are forwarded for, as `docker0`.
    #[serde(default)]
    pub forwards_for: Vec<String>,
    /// The units that start at boot, as far as a set-up cares.
    #[serde(default)]
    pub enabled: BTreeSet<String>,
    /// The time zone, when it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// The locale, when one is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// The size of onward's own swap file, in MiB; none when it is not in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_swap_mib: Option<u32>,
    /// The swap of others, in MiB.
    #[serde(default)]
    pub other_swap_mib: u32,
    /// The addresses by which others reach the server.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
}

/// The operating system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    /// What it calls itself, as `Debian GNU/Linux 12 (bookworm)`.
    pub name: String,
    /// How it installs packages; none when that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packages: Option<PackageSystem>,
}

/// What a set-up left to remember.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What was made true last. Its owner is the machine's.
    pub setup: Setup,
    /// The ports that other environments on the machine need.
    #[serde(default)]
    pub guests: Vec<Guest>,
    /// The digest of the rules as the kernel listed them when they were loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Digest>,
}

/// The ports that another environment needs on the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guest {
    /// Which.
    pub owner: Owner,
    /// Its ports.
    pub openings: Vec<Opening>,
}

/// A file that onward would write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFact {
    /// What it holds.
    pub content: String,
    /// Its permissions.
    pub mode: u32,
}

/// An account that can sign in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its number.
    pub uid: u32,
    /// Whether it is in the group of those who may sign in.
    pub is_member: bool,
    /// The lines of its own `~/.ssh/authorized_keys`.
    #[serde(default)]
    pub own_keys: Vec<String>,
}

/// What listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Listener {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
    /// The address; unspecified when it is every address.
    pub address: IpAddr,
    /// The program, as the system calls it; empty when that is not known.
    pub process: String,
}

/// TCP or UDP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// sshd.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SshdFacts {
    /// The ports that it listens on, or would.
    pub ports: BTreeSet<u16>,
    /// What it would do, by keyword in lower case, as `sshd -T` prints it; empty when it does not
    /// say.
    #[serde(default)]
    pub effective: BTreeMap<String, String>,
}

/// onward's own firewall table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirewallFacts {
    /// The digest of the rules that the kernel holds, as it lists them; none when there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Digest>,
}

//! What a server's machine shall be.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::firewall::Opening;
use super::key::AuthorizedKey;
use super::network::Network;
use super::user::UserName;
use crate::model::{AppName, EnvironmentName};

/// The time that the operator has to come back after a change that could lock them out, in seconds.
const CONFIRM_WITHIN_S: u32 = 30;

/// What a server's machine shall be. It is made from the project file and the servers of the
/// environment, and sent whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// The app and environment that sets the machine up. There is only one for each machine.
    pub owner: Owner,
    /// How much of it is hardened.
    #[serde(default)]
    pub harden: Harden,
    /// The project file says `harden` in words, which answers the questions about what is cut off.
    #[serde(default)]
    pub is_settled: bool,
    /// The account that onward itself signs in as. It stays able to, with the keys of all admins
    /// unless it is one of theirs.
    pub login: UserName,
    /// Whether root may sign in, with a key.
    #[serde(default)]
    pub root_login: bool,
    /// Who may sign in and become root. Nobody: accounts and keys stay as they are.
    #[serde(default)]
    pub admins: Vec<Admin>,
    /// Keys that may sign in as [`Self::login`] besides those of the admins.
    #[serde(default)]
    pub login_keys: Vec<AuthorizedKey>,
    /// From where SSH is reached.
    #[serde(default)]
    pub ssh: SshDoor,
    /// The other ports that are open.
    #[serde(default)]
    pub openings: Vec<Opening>,
    /// Packages that shall be there besides those that the rest needs.
    #[serde(default)]
    pub packages: BTreeSet<String>,
    /// The time zone, as `Europe/Vienna`; none: as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// The locale, as `C.UTF-8`; none: as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// So much swap at least, in MiB; none: as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_mib: Option<u32>,
    /// Whether security updates install themselves.
    #[serde(default)]
    pub updates: bool,
    /// The questions that were answered with yes, by [`super::Question::id`].
    #[serde(default)]
    pub answered: BTreeSet<String>,
    /// How long a change that could lock the operator out waits to be confirmed, in seconds.
    #[serde(default = "confirm_within_s")]
    pub confirm_within_s: u32,
}

fn confirm_within_s() -> u32 {
    CONFIRM_WITHIN_S
}

impl Setup {
    /// What `owner` gets when its project file says nothing: everything hardened, accounts as they
    /// are, `login` able to sign in.
    pub fn new(owner: Owner, login: UserName) -> Self {
        Self {
            owner,
            harden: Harden::Full,
            is_settled: false,
            root_login: login.is_root(),
            login,
            admins: Vec::new(),
            login_keys: Vec::new(),
            ssh: SshDoor::default(),
            openings: Vec::new(),
            packages: BTreeSet::new(),
            timezone: None,
            locale: None,
            swap_mib: None,
            updates: true,
            answered: BTreeSet::new(),
            confirm_within_s: CONFIRM_WITHIN_S,
        }
    }

    /// Whether accounts and keys are the admins' list, exactly.
    pub fn has_exact_accounts(&self) -> bool {
        self.harden != Harden::Off && !self.admins.is_empty()
    }

    /// Everybody who may sign in, each with all of their keys; nobody when accounts stay as they
    /// are.
    pub fn who_signs_in(&self) -> Vec<Admin> {
        if !self.has_exact_accounts() {
            return Vec::new();
        }
        let mut all = self.admins.clone();
        let every: Vec<AuthorizedKey> =
            self.admins.iter().flat_map(|admin| admin.keys.iter().cloned()).collect();
        let shared = BTreeSet::from([self.login.clone(), UserName::root()]);
        for name in shared.into_iter().filter(|name| self.root_login || !name.is_root()) {
            if all.iter().all(|admin| admin.name != name) {
                all.push(Admin { name, keys: every.clone() });
            }
        }
        if let Some(login) = all.iter_mut().find(|admin| admin.name == self.login) {
            login.keys.extend(self.login_keys.iter().cloned());
        }
        for admin in &mut all {
            admin.keys.sort();
            admin.keys.dedup_by(|a, b| a.is_same(b));
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }
}

/// Who sets a machine up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Owner {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: EnvironmentName,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.app, self.environment)
    }
}

/// How much of a machine is hardened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Harden {
    /// sshd, firewall, updates, time, limits.
    #[default]
    Full,
    /// sshd and who signs in.
    Ssh,
    /// Nothing: sshd, accounts and firewall are somebody else's.
    Off,
}

/// Somebody who may sign in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admin {
    /// The account.
    pub name: UserName,
    /// The keys that it takes; no others.
    pub keys: Vec<AuthorizedKey>,
}

/// From where SSH is reached. The ports that sshd listens on are always among them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SshDoor {
    /// Ports besides those that sshd listens on.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub ports: BTreeSet<u16>,
    /// From these networks only, and from [`Self::peers`]; none: from anywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<Network>,
    /// The other servers of the environment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<Network>,
}

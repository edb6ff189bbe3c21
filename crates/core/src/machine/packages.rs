//! Which packages a set-up needs, by the system that installs them.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::facts::Facts;
use super::setup::{Harden, Setup};

/// How a system installs packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PackageSystem {
    /// Debian, Ubuntu.
    Apt,
    /// Fedora, RHEL and its relatives.
    Dnf,
    /// Arch.
    Pacman,
}

impl fmt::Display for PackageSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Apt => "apt",
            Self::Dnf => "dnf",
            Self::Pacman => "pacman",
        })
    }
}

/// Units that keep the clock right; one is enough.
pub(super) const TIME_UNITS: [&str; 6] = [
    "systemd-timesyncd.service",
    "chrony.service",
    "chronyd.service",
    "ntp.service",
    "ntpsec.service",
    "openntpd.service",
];

/// The unit that keeps the clock right where none does.
pub(super) fn time_unit(system: PackageSystem) -> &'static str {
    match system {
        PackageSystem::Apt | PackageSystem::Pacman => "systemd-timesyncd.service",
        PackageSystem::Dnf => "chronyd.service",
    }
}

/// Whether something keeps the clock right already.
pub(super) fn has_time(facts: &Facts) -> bool {
    TIME_UNITS.iter().any(|unit| facts.enabled.contains(*unit))
}

/// The packages of a set-up.
pub(super) struct Packages {
    /// Those without which the rest cannot be made, and those that the user wants.
    pub(super) needed: BTreeSet<String>,
    /// Those that make a server better. One without the Internet does its work without them.
    pub(super) useful: BTreeSet<String>,
}

/// The packages that shall be there.
pub(super) fn wanted(setup: &Setup, facts: &Facts) -> Packages {
    let needed = setup.packages.clone();
    let mut packages = Packages { needed, useful: BTreeSet::new() };
    let Some(system) = facts.system.packages else { return packages };
    let name = |apt: &str, dnf: &str, pacman: &str| {
        let name = match system {
            PackageSystem::Apt => apt,
            PackageSystem::Dnf => dnf,
            PackageSystem::Pacman => pacman,
        };
        (!name.is_empty()).then(|| name.to_owned())
    };
    if setup.has_exact_accounts() {
        packages.needed.extend(name("sudo", "sudo", "sudo"));
    }
    if setup.harden == Harden::Full {
        packages.needed.extend(name("nftables", "nftables", "nftables"));
        if !has_time(facts) {
            packages.useful.extend(name("systemd-timesyncd", "chrony", ""));
        }
    }
    if setup.updates {
        packages.useful.extend(name("unattended-upgrades", "dnf-automatic", ""));
    }
    if setup.locale.as_deref().is_some_and(|locale| !is_built_in_locale(locale)) {
        packages.useful.extend(name("locales", "glibc-all-langpacks", ""));
    }
    packages.useful.retain(|name| !packages.needed.contains(name));
    packages
}

/// Whether a locale is part of the C library.
pub fn is_built_in_locale(locale: &str) -> bool {
    matches!(locale, "C" | "POSIX" | "C.UTF-8" | "C.utf8")
}

//! What a machine is. Nothing is changed, and nothing that takes long is started: this is half of
//! every set-up that has nothing to do.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;

use onward_core::machine::{
    Facts, FileFact, FirewallFacts, KEYS_DIRECTORY, MANAGED, Record, SWAP_FILE, SshdFacts, System,
};
use onward_core::model::Digest;

use super::accounts;
use super::command::Program;
use super::error::MachineError;
use super::interfaces;
use super::packages;
use super::place::{Place, state_path};
use super::sockets;

/// The table of the firewall, as `nft` calls it.
const TABLE: [&str; 3] = ["table", "inet", "onward"];
/// The file of what a set-up remembers.
const RECORD: &str = "record.json";
/// The directory that sshd changes its root to; its unit makes it, and a check needs it too.
const SSHD_ROOM: &str = "/run/sshd";

/// What the machine is.
///
/// # Errors
/// Those of files that are there and cannot be read, and of the package manager.
pub fn facts(place: &Place) -> Result<Facts, MachineError> {
    let system = System { name: packages::name(place), packages: packages::system(place) };
    let packages = match system.packages {
        Some(system) => packages::manager(system).installed(place)?,
        None => BTreeSet::new(),
    };
    let listening = sockets::listening(place);
    let (accounts, has_group) = accounts::accounts(place);
    let (own_swap_mib, other_swap_mib) = swap(place);
    let mut sshd = sshd();
    let is_sshd = |name: &str| name == "sshd";
    sshd.ports.extend(listening.iter().filter(|one| is_sshd(&one.process)).map(|one| one.port));
    let enabled = enabled(place);
    Ok(Facts {
        system,
        record: record(place)?,
        files: files(place)?,
        packages,
        accounts,
        has_group,
        listening,
        sshd,
        firewall: FirewallFacts { rules: loaded_rules().map(|rules| Digest::of(rules.as_bytes())) },
        other_firewalls: other_firewalls(place, &enabled),
        forwards_for: interfaces::forwards_for(place),
        enabled,
        timezone: timezone(place),
        locale: locale(place),
        own_swap_mib,
        other_swap_mib,
        addresses: interfaces::addresses(),
    })
}

/// What the last set-up left to remember.
pub(super) fn record(place: &Place) -> Result<Option<Record>, MachineError> {
    let path = place.state(RECORD);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        // Whose machine it is must not be forgotten because of a disk.
        Err(error) => return Err(MachineError::file(&path, error)),
    };
    let damaged = |error: serde_json::Error| MachineError::Damaged {
        path: path.display().to_string(),
        reason: error.to_string(),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(damaged)
}

/// Remembers what a set-up made true.
pub(super) fn remember(place: &Place, record: &Record) -> Result<(), MachineError> {
    let text = serde_json::to_string_pretty(record).expect("a record is always written");
    place.write(&state_path(RECORD), 0o600, &text)
}

/// onward's own rules, as the kernel lists them; none when there are none, or nothing to ask with.
pub(super) fn loaded_rules() -> Option<String> {
    let ended = list_rules().ask().ok()?;
    ended.is_good.then_some(ended.output)
}

/// The same for whoever puts them back later: that they cannot be had is not that there are none.
pub(super) fn rules_to_keep() -> Result<Option<String>, MachineError> {
    let tables = Program::new("nft", &["list", "tables"]).run()?;
    let is_there = tables.lines().any(|line| line.trim() == TABLE.join(" "));
    is_there.then(|| list_rules().run()).transpose()
}

fn list_rules() -> Program {
    Program::new("nft", &[&["-s", "list"][..], &TABLE[..]].concat())
}

/// What sshd would do with its configuration as it is now.
pub(super) fn sshd() -> SshdFacts {
    // It is there as soon as sshd has run once.
    let _ = fs::create_dir_all(SSHD_ROOM);
    let said = Program::new("sshd", &["-T"]).ask();
    let text = said.map(|ended| ended.output).unwrap_or_default();
    let mut effective: BTreeMap<String, String> = BTreeMap::new();
    let mut ports = BTreeSet::new();
    for (key, value) in text.lines().filter_map(|line| line.split_once(' ')) {
        if key == "port" {
            ports.extend(value.parse::<u16>());
        }
        // A keyword that is there several times is a list.
        let entry = effective.entry(key.to_lowercase()).or_default();
        if !entry.is_empty() {
            entry.push(' ');
        }
        entry.push_str(value);
    }
    SshdFacts { ports, effective }
}

fn files(place: &Place) -> Result<BTreeMap<String, FileFact>, MachineError> {
    let keys = place.names(KEYS_DIRECTORY).into_iter().filter(|name| !name.starts_with('.'));
    let paths = MANAGED.into_iter().map(str::to_owned);
    let paths = paths.chain(keys.map(|name| format!("{KEYS_DIRECTORY}/{name}")));
    let mut found = BTreeMap::new();
    for path in paths {
        if let Some(fact) = place.fact(&path)? {
            found.insert(path, fact);
        }
    }
    Ok(found)
}

/// The units that something asks for at boot.
pub(super) fn enabled(place: &Place) -> BTreeSet<String> {
    let directory = "/etc/systemd/system";
    let wants = place.names(directory).into_iter().filter(|name| name.ends_with(".wants"));
    wants.flat_map(|name| place.names(&format!("{directory}/{name}"))).collect()
}

fn other_firewalls(place: &Place, enabled: &BTreeSet<String>) -> Vec<String> {
    let ufw = place.text("/etc/ufw/ufw.conf");
    let is_ufw = ufw.lines().any(|line| line.trim().eq_ignore_ascii_case("ENABLED=yes"));
    let is_firewalld = enabled.contains("firewalld.service");
    let all = [(is_ufw, "ufw"), (is_firewalld, "firewalld")];
    all.iter().filter(|(is_there, _)| *is_there).map(|(_, name)| (*name).to_owned()).collect()
}

fn timezone(place: &Place) -> Option<String> {
    let target = fs::read_link(place.path("/etc/localtime")).ok()?;
    Some(target.to_str()?.split_once("zoneinfo/")?.1.to_owned())
}

fn locale(place: &Place) -> Option<String> {
    let texts = ["/etc/default/locale", "/etc/locale.conf"].map(|path| place.text(path));
    let lines = texts.iter().flat_map(|text| text.lines());
    let value = lines.filter_map(|line| line.trim().strip_prefix("LANG=")).next()?;
    Some(value.trim_matches('"').to_owned())
}

/// The size of onward's own swap file when it is in use, and that of all others, in MiB.
fn swap(place: &Place) -> (Option<u32>, u32) {
    let text = place.text("/proc/swaps");
    let (mut own, mut others) = (None, 0);
    for line in text.lines().skip(1) {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [name, _, kibibytes, ..] = fields[..] else { continue };
        // The first page is not counted.
        let mib = kibibytes.parse::<u32>().unwrap_or(0).div_ceil(1024);
        match name == SWAP_FILE {
            true => own = Some(mib),
            false => others += mib,
        }
    }
    (own, others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_say_zone_locale_swap_and_units() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::at(directory.path());
        assert_eq!((timezone(&place), locale(&place), swap(&place)), (None, None, (None, 0)));
        place.write("/etc/default/locale", 0o644, "#LANG=x\nLANG=\"de_AT.UTF-8\"\n").unwrap();
        let link = place.path("/etc/localtime");
        std::os::unix::fs::symlink("/usr/share/zoneinfo/Europe/Vienna", link).unwrap();
        let swaps = format!(
            "Filename Type Size Used Priority\n{SWAP_FILE} file 1048572 0 -2\n/dev/sda2 partition 524284 0 -3\n"
        );
        place.write("/proc/swaps", 0o644, &swaps).unwrap();
        place.write("/etc/systemd/system/a.wants/firewalld.service", 0o644, "").unwrap();
        place.write("/etc/ufw/ufw.conf", 0o644, "ENABLED=yes\n").unwrap();
        assert_eq!(timezone(&place).as_deref(), Some("Europe/Vienna"));
        assert_eq!(locale(&place).as_deref(), Some("de_AT.UTF-8"));
        assert_eq!(swap(&place), (Some(1024), 512));
        let enabled = enabled(&place);
        assert_eq!(other_firewalls(&place, &enabled), ["ufw", "firewalld"]);
    }

    #[test]
    fn a_record_that_cannot_be_read_is_not_none() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::at(directory.path());
        assert_eq!(record(&place).unwrap(), None);
        fs::create_dir_all(place.state(RECORD)).unwrap();
        assert!(record(&place).is_err());
    }

    #[test]
    fn files_of_onward_are_found_with_keys_of_everybody() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::at(directory.path());
        place.write(&format!("{KEYS_DIRECTORY}/ana"), 0o644, "k").unwrap();
        place.write(MANAGED[0], 0o600, "x").unwrap();
        let found = files(&place).unwrap();
        let paths: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(paths, ["/etc/ssh/authorized_keys.d/ana", MANAGED[0]]);
        assert_eq!(found[MANAGED[0]].mode, 0o600);
    }
}

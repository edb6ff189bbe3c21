//! Making a change. Each effect may be repeated, and leaves what is so already.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;

use onward_core::machine::{
    DROP_IN, Effect, FIREWALL_FILE, GROUP, PackageSystem, SWAP_FILE, SWAP_UNIT, UserName,
    is_built_in_locale,
};

use super::accounts;
use super::command::Program;
use super::error::MachineError;
use super::gather;
use super::packages::{self, Tell};
use super::place::Place;

/// Makes one effect.
pub(super) fn make(place: &Place, effect: &Effect, tell: Tell<'_>) -> Result<(), MachineError> {
    match effect {
        Effect::Install(names) => {
            install(place, &names.iter().map(String::as_str).collect::<Vec<_>>(), tell)
        }
        Effect::MakeGroup => program("groupadd", &["--system", "--force", GROUP]),
        Effect::MakeAccount(name) => make_account(place, name),
        Effect::Join(name) => join(place, name),
        Effect::Leave(name) => leave(place, name),
        Effect::Write { path, mode, content } => {
            if path.starts_with("/etc/sudoers.d/") {
                check_sudoers(content)?;
            }
            if path == FIREWALL_FILE {
                Program::new("nft", &["-c", "-f", "-"]).input(content).run()?;
            }
            place.write(path, *mode, content)
        }
        Effect::Remove(path) => place.remove(path),
        Effect::CheckSshd(expected) => check_sshd(expected),
        Effect::ReloadSshd => reload_sshd(),
        Effect::LoadFirewall => program("nft", &["-f", FIREWALL_FILE]),
        Effect::UnloadFirewall => unload_firewall(),
        Effect::Enable { unit, now: true } => program("systemctl", &["enable", "--now", unit]),
        Effect::Enable { unit, now: false } => program("systemctl", &["enable", unit]),
        Effect::Disable(unit) => program("systemctl", &["disable", unit]),
        Effect::Timezone(name) => timezone(place, name),
        Effect::Locale(name) => locale(place, name),
        Effect::Swap(mib) => swap(place, *mib),
        Effect::NoSwap => no_swap(place),
    }
}

fn program(name: &str, arguments: &[&str]) -> Result<(), MachineError> {
    Program::new(name, arguments).run().map(|_| ())
}

fn install(place: &Place, names: &[&str], tell: Tell<'_>) -> Result<(), MachineError> {
    let system = packages::system(place).ok_or_else(|| {
        MachineError::Unable("onward does not know how this system installs packages".to_owned())
    })?;
    let manager = packages::manager(system);
    manager.install(place, names, tell)?;
    let there = manager.installed(place)?;
    match names.iter().find(|name| !there.contains(**name)) {
        None => Ok(()),
        Some(name) => Err(MachineError::Unable(format!(
            "{system} installed something else for `{name}`: write the own name of the package"
        ))),
    }
}

fn make_account(place: &Place, name: &UserName) -> Result<(), MachineError> {
    match accounts::uid(place, name) {
        None => program("useradd", &["--create-home", "--shell", "/bin/bash", name.as_str()]),
        Some(uid) if accounts::is_of_people(uid) => Ok(()),
        Some(_) => Err(MachineError::Unable(format!(
            "{name} is an account of the system and cannot be an admin's: choose another name"
        ))),
    }
}

pub(super) fn join(place: &Place, name: &UserName) -> Result<(), MachineError> {
    if accounts::is_member(place, name) {
        return Ok(());
    }
    program("gpasswd", &["--add", name.as_str(), GROUP])
}

pub(super) fn leave(place: &Place, name: &UserName) -> Result<(), MachineError> {
    if !accounts::is_member(place, name) {
        return Ok(());
    }
    program("gpasswd", &["--delete", name.as_str(), GROUP])
}

/// A wrong file would take the right to become root from everybody.
fn check_sudoers(content: &str) -> Result<(), MachineError> {
    Program::new("visudo", &["-c", "-f", "-"]).input(content).run().map(|_| ())
}

fn check_sshd(expected: &BTreeMap<String, String>) -> Result<(), MachineError> {
    program("sshd", &["-t"])?;
    let effective = gather::sshd().effective;
    let differing = expected.iter().find(|(key, value)| effective.get(*key) != Some(value));
    let Some((key, value)) = differing else { return Ok(()) };
    let is = effective.get(key).map_or("not set", String::as_str);
    Err(MachineError::Unable(format!(
        "sshd does not follow {DROP_IN}: {key} would be {is} instead of {value}. \
         /etc/ssh/sshd_config has to begin with `Include /etc/ssh/sshd_config.d/*.conf`, and \
         no other file may add to it"
    )))
}

/// Sessions go on: only the process that accepts new ones reads its configuration again.
fn reload_sshd() -> Result<(), MachineError> {
    reload_sshd_with(&["try-reload-or-restart"])
}

/// The same without waiting for it: at boot, sshd itself waits for what asks for it.
pub(super) fn reload_sshd_later() -> Result<(), MachineError> {
    reload_sshd_with(&["--no-block", "try-reload-or-restart"])
}

fn reload_sshd_with(verb: &[&str]) -> Result<(), MachineError> {
    let arguments = |unit| [verb, &[unit]].concat();
    // What Debian and its relatives call it, and what all others do.
    if Program::new("systemctl", &arguments("ssh.service")).ask()?.is_good {
        return Ok(());
    }
    program("systemctl", &arguments("sshd.service"))
}

pub(super) fn unload_firewall() -> Result<(), MachineError> {
    // Making the table first lets its deletion succeed when there is none.
    let text = "table inet onward\ndelete table inet onward\n";
    Program::new("nft", &["-f", "-"]).input(text).run().map(|_| ())
}

fn timezone(place: &Place, name: &str) -> Result<(), MachineError> {
    if !packages::has_zone(place, name) {
        return Err(MachineError::Unable(format!("this system has no time zone `{name}`")));
    }
    let link = place.path("/etc/localtime");
    let temporary = place.path("/etc/.localtime.onward-new");
    let replace = || {
        let _ = fs::remove_file(&temporary);
        symlink(format!("/usr/share/zoneinfo/{name}"), &temporary)?;
        fs::rename(&temporary, &link)
    };
    replace().map_err(|error| MachineError::file(&link, error))?;
    if packages::system(place) == Some(PackageSystem::Apt) {
        place.write("/etc/timezone", 0o644, &format!("{name}\n"))?;
    }
    Ok(())
}

/// The locale is made where the system has to make it, and set for who signs in from now on.
fn locale(place: &Place, name: &str) -> Result<(), MachineError> {
    let system = packages::system(place);
    if !is_built_in_locale(name) && system != Some(PackageSystem::Dnf) {
        let charset = name.split_once('.').map_or("UTF-8", |(_, charset)| charset);
        let line = format!("{name} {charset}");
        let list = "/etc/locale.gen";
        let text = place.text(list);
        if text.lines().all(|other| other.trim() != line) {
            place.write(list, 0o644, &format!("{}\n{line}\n", text.trim_end()))?;
        }
        program("locale-gen", &[])?;
        let made = Program::new("locale", &["-a"]).run()?;
        let plain = |text: &str| text.to_lowercase().replace('-', "");
        if !made.lines().any(|other| plain(other) == plain(name)) {
            return Err(MachineError::Unable(format!("this system knows no locale `{name}`")));
        }
    }
    let path = match system {
        Some(PackageSystem::Apt) => "/etc/default/locale",
        _ => "/etc/locale.conf",
    };
    let text = place.text(path);
    let others = text.lines().filter(|line| !line.starts_with("LANG="));
    let lines: Vec<&str> = others.collect();
    let own = format!("LANG={name}");
    place.write(path, 0o644, &format!("{}\n", [&lines[..], &[&own]].concat().join("\n")))
}

fn swap(place: &Place, mib: u32) -> Result<(), MachineError> {
    no_swap(place)?;
    let path = place.path(SWAP_FILE);
    fs::create_dir_all(path.parent().unwrap_or(&path))
        .map_err(|error| MachineError::file(&path, error))?;
    let result = program("fallocate", &["-l", &format!("{mib}MiB"), SWAP_FILE])
        .and_then(|()| program("chmod", &["600", SWAP_FILE]))
        .and_then(|()| program("mkswap", &[SWAP_FILE]))
        .and_then(|()| {
            let unit = format!(
                "# Written by onward.\n[Unit]\nDescription=Swap file of onward\n\n[Swap]\n\
                 What={SWAP_FILE}\n\n[Install]\nWantedBy=swap.target\n"
            );
            place.write(&swap_unit_file(), 0o644, &unit)?;
            program("systemctl", &["enable", SWAP_UNIT])?;
            program("systemctl", &["start", SWAP_UNIT])
        });
    if result.is_err() {
        // Nothing is left of it, above all no file of gigabytes; why it failed is what is told.
        let _ = no_swap(place);
    }
    result
}

fn no_swap(place: &Place) -> Result<(), MachineError> {
    if place.path(&swap_unit_file()).exists() {
        program("systemctl", &["disable", SWAP_UNIT])?;
        program("systemctl", &["stop", SWAP_UNIT])?;
        place.remove(&swap_unit_file())?;
    }
    place.remove(SWAP_FILE)
}

fn swap_unit_file() -> String {
    format!("/etc/systemd/system/{SWAP_UNIT}")
}

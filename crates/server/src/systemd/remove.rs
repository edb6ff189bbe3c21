//! Taking onward off a machine.

use std::fs;
use std::io;
use std::path::Path;

use super::install::{Error, failed, require};
use super::manager::{self, Manager};
use super::units::{AGENT, HTTP, HTTPS, PROXY, PROXY_USER, RUNTIME, TMPFILES, UNITS};
use crate::managers;

/// Takes agent, proxies and every app off this machine: units, sockets, users. The server tree stays,
/// unless `data` says otherwise. What is gone already is no error.
///
/// # Errors
/// See [`enum@Error`]; the next call goes on from there.
pub fn remove(root: &Path, runtime: &Path, data: bool) -> Result<(), Error> {
    require()?;
    // The agent first, which would start the others again.
    for unit in [AGENT, "onward.slice", "onward-proxy@*.service", HTTP, HTTPS] {
        if is_known(unit) {
            Manager.systemctl(&["stop", unit])?;
        }
    }
    let there = [AGENT, HTTP, HTTPS].iter().any(|unit| Path::new(UNITS).join(unit).exists());
    if there {
        Manager.systemctl(&["disable", "--quiet", AGENT, HTTP, HTTPS])?;
    }
    for name in [AGENT, HTTP, HTTPS, PROXY] {
        remove_file(&Path::new(UNITS).join(name))?;
    }
    remove_file(&Path::new(TMPFILES).join(RUNTIME))?;
    Manager.systemctl(&["daemon-reload"])?;
    let _ = Manager.systemctl(&["reset-failed", "onward-*"]);
    remove_tree(runtime)?;
    if data {
        remove_tree(root)?;
    }
    for user in [PROXY_USER, managers::USER] {
        if manager::run("id", &["-u", user]).is_ok() {
            manager::run("userdel", &[user])?;
        }
    }
    Ok(())
}

/// Whether systemd knows any unit of this name or pattern.
fn is_known(pattern: &str) -> bool {
    let listed = Manager.systemctl(&["list-units", "--plain", "--no-legend", "--all", pattern]);
    listed.is_ok_and(|text| !text.trim().is_empty())
}

fn remove_file(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

fn remove_tree(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

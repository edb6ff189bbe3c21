//! Taking onward off a machine, or one environment of several that share it.
//!
//! What apps have stored, and the state of an environment, are nobody's to throw away: they stay, with
//! the user that they belong to, unless `data` says otherwise.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use onward_core::machine::{FIREWALL_FILE, FIREWALL_UNIT, MANAGED, UNDO_UNIT};
use onward_core::model::{AppName, EnvironmentName};
use onward_store::state::DirectoryStore;

use super::install::{Error, failed, id_of, require};
use super::manager::{self, Manager};
use super::names::Names;
use super::units::{AGENT, HTTP, HTTPS, PROXY, PROXY_USER, RUNTIME, TMPFILES, UNITS};
use crate::layout::{AppTree, Tree};
use crate::managers;

/// What uses a machine after an environment has left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Other apps or environments.
    Others,
    /// Nobody.
    Nobody,
}

impl Left {
    /// One word for programs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Others => "others",
            Self::Nobody => "nobody",
        }
    }
}

/// Takes one app in one environment off this machine: what runs, its user, its files, and its manager's
/// key. The agent starts again without it; everything else goes on.
///
/// # Errors
/// See [`enum@Error`]; the next call goes on from there.
pub fn leave(
    root: &Path,
    runtime: &Path,
    (app, environment): (&AppName, &EnvironmentName),
    data: bool,
) -> Result<Left, Error> {
    require()?;
    let tree = Tree::new(root);
    // The agent would start again what is stopped here.
    stop(AGENT)?;
    depart(&tree.app(app, environment), &Names::new(app, environment), data)?;
    managers::admit(root, runtime, (app, environment), &[])
        .map_err(failed("write", &managers::home(root)))?;
    let state = root.join("state");
    let documents = state.join(app.as_str()).join(environment.as_str());
    let was_moved = DirectoryStore::new(&state, app, environment).sign();
    if data || was_moved.is_ok_and(|sign| sign.is_some()) {
        remove_tree(&documents)?;
        remove_empty(&[state.join(app.as_str()), state.clone()])?;
    }
    if Path::new(UNITS).join(AGENT).exists() {
        Manager.systemctl(&["start", AGENT])?;
    }
    let is_used = |own: &AppTree| own.kept_file().exists();
    Ok(if tree.all_apps().iter().any(is_used) { Left::Others } else { Left::Nobody })
}

/// Takes agent, proxies and every app off this machine: units, sockets, slices, users, and the server
/// tree but for what apps have stored and the states of environments; with `data` these as well. What
/// is gone already is no error.
///
/// # Errors
/// See [`enum@Error`]; the next call goes on from there.
pub fn remove(root: &Path, runtime: &Path, data: bool) -> Result<(), Error> {
    require()?;
    // The agent first, which would start the others again.
    for unit in [AGENT, "onward.slice", "onward-proxy@*.service", HTTP, HTTPS] {
        stop(unit)?;
    }
    for app in Tree::new(root).all_apps() {
        if let Some(names) = names_of(&app) {
            depart(&app, &names, data)?;
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
    stop("onward*.slice")?;
    // A set-up that was taken back leaves its units as if they were active, after a reboot.
    for unit in [FIREWALL_UNIT, UNDO_UNIT] {
        if !Path::new(UNITS).join(unit).exists() {
            stop(unit)?;
        }
    }
    let _ = Manager.systemctl(&["reset-failed", "onward-*"]);
    remove_tree(runtime)?;
    if data {
        remove_tree(root)?;
    } else {
        clear(root)?;
    }
    let settings = Path::new(FIREWALL_FILE).parent().map(Path::to_owned);
    remove_empty(settings.as_slice())?;
    for user in [PROXY_USER, managers::USER] {
        remove_user(user)?;
    }
    Ok(())
}

/// Stops whatever an app runs, and takes its files and its user away.
fn depart(app: &AppTree, names: &Names, data: bool) -> Result<(), Error> {
    stop(&names.all())?;
    stop(&names.slice())?;
    let _ = Manager.systemctl(&["reset-failed", &names.all()]);
    for path in entries(app.directory()) {
        if data || path != app.shared() {
            remove_any(&path)?;
        }
    }
    let above = app.directory().parent().map(Path::to_owned);
    remove_empty(&[app.shared(), app.directory().to_owned()])?;
    remove_empty(above.as_slice())?;
    if app.shared().exists() {
        return Ok(());
    }
    remove_user(&names.user())
}

/// What an app's units and user are called, by where its files are.
fn names_of(app: &AppTree) -> Option<Names> {
    let environment = app.directory().file_name()?.to_str()?.parse().ok()?;
    let name = app.directory().parent()?.file_name()?.to_str()?.parse().ok()?;
    Some(Names::new(&name, &environment))
}

/// Removes what is in the server tree but for what is kept; the tree itself when nothing is.
fn clear(root: &Path) -> Result<(), Error> {
    let apps = Tree::new(root).apps();
    remove_empty(std::slice::from_ref(&apps))?;
    // The set-up of the machine refers to these for as long as any of it is in force.
    let is_set_up = MANAGED.iter().any(|path| Path::new(path).exists());
    for path in entries(root) {
        let name = path.file_name().unwrap_or_default();
        let is_kept = path == apps || name == "state";
        let is_of_machine = name == "machine" || name == "swapfile";
        if !(is_kept || is_set_up && is_of_machine) {
            remove_any(&path)?;
        }
    }
    remove_empty(&[root.to_owned()])
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn stop(unit: &str) -> Result<(), Error> {
    if is_known(unit) {
        Manager.systemctl(&["stop", unit])?;
    }
    Ok(())
}

/// Whether systemd knows any unit of this name or pattern.
fn is_known(pattern: &str) -> bool {
    let listed = Manager.systemctl(&["list-units", "--plain", "--no-legend", "--all", pattern]);
    listed.is_ok_and(|text| !text.trim().is_empty())
}

fn remove_user(user: &str) -> Result<(), Error> {
    if id_of("/etc/passwd", user).is_some() {
        manager::run("userdel", &[user])?;
    }
    Ok(())
}

fn remove_any(path: &Path) -> Result<(), Error> {
    if path.is_symlink() || path.is_file() { remove_file(path) } else { remove_tree(path) }
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

/// Removes directories in which nothing is; of a tree of them all, from below.
fn remove_empty(paths: &[PathBuf]) -> Result<(), Error> {
    for path in paths {
        if path.is_dir() && !has_files(path) {
            remove_tree(path)?;
        }
    }
    Ok(())
}

/// Whether there is anything but directories.
fn has_files(directory: &Path) -> bool {
    entries(directory).iter().any(|path| path.is_symlink() || !path.is_dir() || has_files(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_apps_have_stored_and_states_stay() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().join("onward");
        let kept = ["apps/a/lab/shared/up/load.txt", "state/a/lab/state.json"];
        let goes = ["bin/onward-1", "bundles/p", "server.json", "apps/a/qa/shared/storage"];
        for path in kept.iter().chain(&goes) {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("below")).expect("made");
            match path.ends_with("storage") {
                true => fs::create_dir(path).expect("made"),
                false => fs::write(path, "x").expect("written"),
            }
        }
        let is_set_up = MANAGED.iter().any(|path| Path::new(path).exists());
        clear(&root).expect("cleared");
        assert!(kept.iter().all(|path| root.join(path).exists()));
        assert!(!root.join("bin").exists() && !root.join("server.json").exists() || is_set_up);
        fs::remove_dir_all(root.join("state")).expect("removed");
        fs::remove_file(root.join(kept[0])).expect("removed");
        clear(&root).expect("cleared");
        assert!(!root.exists(), "nothing is left");
    }

    #[test]
    fn the_names_of_an_app_follow_from_its_place() {
        let tree = Tree::new("/var/lib/onward");
        let (app, environment) = ("my-shop".parse().unwrap(), "qa".parse().unwrap());
        let names = names_of(&tree.app(&app, &environment));
        assert_eq!(names, Some(Names::new(&app, &environment)));
    }
}

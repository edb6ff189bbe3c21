//! Which host key each server has to show, as this person knows it: one file of `known_hosts` form
//! for each server below `~/.local/state/onward/hosts`.
//!
//! The state document has the pins too, but it is on a server: its own pin has to be known first.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use onward_core::model::{AppName, EnvironmentName, ServerName};
use sha2::{Digest as _, Sha256};

/// The name by which `ssh` looks a pin up, whatever the server's address is.
pub(super) const ALIAS: &str = "onward-server";

/// The pins of one environment.
#[derive(Debug, Clone)]
pub struct Pins {
    directory: PathBuf,
}

impl Pins {
    /// Those of an environment, below the person's own directory for state.
    ///
    /// # Errors
    /// When the person has no home.
    pub fn of(app: &AppName, environment: &EnvironmentName) -> io::Result<Self> {
        let absolute = |name| {
            let path = std::env::var_os(name).map(PathBuf::from);
            path.filter(|path| path.is_absolute())
        };
        let state = absolute("XDG_STATE_HOME")
            .or_else(|| Some(absolute("HOME")?.join(".local").join("state")))
            .ok_or_else(|| io::Error::other("HOME is not set"))?;
        Ok(Self::below(&state, app, environment))
    }

    /// Those below another directory.
    pub fn below(state: &Path, app: &AppName, environment: &EnvironmentName) -> Self {
        let directory = state.join("onward").join("hosts");
        Self { directory: directory.join(format!("{app}.{environment}")) }
    }

    /// Those in a directory of their own.
    pub fn in_directory(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Those of machines that are to take the place of others, until they do.
    #[must_use]
    pub fn of_new(&self) -> Self {
        Self { directory: self.directory.join(".new") }
    }

    /// Those of machines that have left, until onward is taken off them.
    #[must_use]
    pub fn of_gone(&self) -> Self {
        Self { directory: self.directory.join(".gone") }
    }

    /// The file of a server, for `UserKnownHostsFile`.
    pub(super) fn file(&self, server: &ServerName) -> PathBuf {
        self.directory.join(server.as_str())
    }

    /// Where the key that a server shows is written down by the process `pid`, for one connection.
    pub(super) fn shown(&self, server: &ServerName, attempt: &str) -> PathBuf {
        self.directory.join(format!(".{server}.{attempt}"))
    }

    /// The pin of a server.
    pub fn get(&self, server: &ServerName) -> Option<String> {
        let text = fs::read_to_string(self.file(server)).ok()?;
        let key = text.lines().find_map(|line| line.strip_prefix(ALIAS))?;
        Some(key.trim().to_owned())
    }

    /// Pins a server to a key, `KIND BASE64`.
    ///
    /// # Errors
    /// What the system says.
    pub fn set(&self, server: &ServerName, key: &str) -> io::Result<()> {
        if self.get(server).as_deref() == Some(key) {
            return Ok(());
        }
        fs::create_dir_all(&self.directory)?;
        let file = self.file(server);
        let passing = self.shown(server, &format!("new-{}", std::process::id()));
        fs::write(&passing, format!("{ALIAS} {key}\n"))?;
        fs::rename(passing, file)
    }

    /// The directory, made when it is not there.
    pub(super) fn directory(&self) -> io::Result<&Path> {
        fs::create_dir_all(&self.directory)?;
        Ok(&self.directory)
    }

    /// Forgets all of the environment: it is no more.
    pub fn forget(&self) {
        // What stays is asked for again by nobody.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// `SHA256:…` of a key `KIND BASE64`, as `ssh-keygen -lf` shows it.
pub fn fingerprint(key: &str) -> String {
    let bytes = key.split(' ').nth(1).and_then(|key| STANDARD.decode(key).ok());
    match bytes {
        Some(bytes) => format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(bytes))),
        None => key.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJXo3b1X4pSTKqB3YDTbGMfdLZzOsMIeF5dFSzhBKfEx";

    #[test]
    fn a_pin_is_kept_and_forgotten() {
        let state = tempfile::tempdir().expect("a directory");
        let (app, environment) = ("shop".parse().expect("a name"), "qa".parse().expect("a name"));
        let pins = Pins::below(state.path(), &app, &environment);
        let one: ServerName = "one".parse().expect("a name");
        assert_eq!(pins.get(&one), None);
        pins.set(&one, KEY).expect("written");
        assert_eq!(pins.get(&one).as_deref(), Some(KEY));
        pins.forget();
        assert_eq!(pins.get(&one), None);
    }

    /// As `ssh-keygen -lf` prints it for this key.
    #[test]
    fn a_fingerprint_is_that_of_ssh_keygen() {
        assert_eq!(fingerprint(KEY).len(), "SHA256:".len() + 43);
        assert!(!fingerprint(KEY).contains('='));
    }
}

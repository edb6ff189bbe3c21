//! The user that an app runs as on a server, and what belongs to that user.
//!
//! The agent has no right to make users, to give files away or to write into what is another user's.
//! Each such step is a unit of its own, for some ten milliseconds, and only when it is needed.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::install::id_of;
use super::manager::{self, Refused};
use crate::layout::AppTree;

/// Users come by here to their own, and cannot look around.
const PASSAGE: u32 = 0o711;
/// What belongs to the user. Its files are given to root's group, so that the agent can read them.
const OWN: u32 = 0o2770;
/// A file of root that the user reads.
const READABLE: u32 = 0o640;

/// Makes a user (`$1`, whose home is `$2`) when it is not there, and its directories (the others).
const MAKE: &str = r#"user=$1
id -u "$user" >/dev/null 2>&1 || useradd --system --user-group --no-create-home \
    --home-dir "$2" --shell /usr/sbin/nologin "$user" || exit
shift
exec install -d -o "$user" -g root -m 2770 -- "$@""#;

/// The user of one app in one environment.
#[derive(Debug, Clone)]
pub struct Account {
    user: String,
    tree: AppTree,
}

impl Account {
    /// The user of this name, with the tree of its app.
    pub fn new(user: String, tree: AppTree) -> Self {
        Self { user, tree }
    }

    /// Makes the user and its directories, when they are not there.
    ///
    /// # Errors
    /// A sentence about what could not be made.
    pub fn ensure(&self) -> Result<(), String> {
        self.open_the_way()
            .map_err(|error| format!("{}: {error}", self.tree.directory().display()))?;
        let own = [self.tree.shared(), self.tree.commands()];
        if id_of("/etc/passwd", &self.user).is_some() && own.iter().all(|path| is_own(path)) {
            return Ok(());
        }
        let own = own.map(|path| path.display().to_string());
        let mut words = vec!["/bin/sh", "-c", MAKE, "onward", &self.user];
        words.extend(own.iter().map(String::as_str));
        outside(&[], &words).map(drop).map_err(|error| format!("its user cannot be made: {error}"))
    }

    /// Lets users come to the releases, which are root's.
    fn open_the_way(&self) -> io::Result<()> {
        let app = self.tree.directory().parent().unwrap_or(Path::new("/"));
        for path in [app, self.tree.directory(), &self.tree.releases()] {
            if fs::metadata(path)?.permissions().mode() & 0o7777 != PASSAGE {
                fs::set_permissions(path, Permissions::from_mode(PASSAGE))?;
            }
        }
        Ok(())
    }

    /// Makes directories below what is shared, as the user: whatever the app has put in their way leads
    /// nowhere that the app cannot go itself.
    ///
    /// # Errors
    /// A sentence about what could not be made.
    pub fn directories(&self, wanted: &[PathBuf]) -> Result<(), String> {
        let missing: Vec<String> = wanted
            .iter()
            .filter(|path| !path.is_dir())
            .map(|path| path.display().to_string())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let mut words = vec!["mkdir", "-p", "--"];
        words.extend(missing.iter().map(String::as_str));
        self.as_user(&words)
    }

    /// Copies a file of the release to where nothing is yet, as the user.
    ///
    /// # Errors
    /// A sentence about why it could not be copied.
    pub fn copy(&self, from: &Path, to: &Path) -> Result<(), String> {
        let (from, to) = (from.display().to_string(), to.display().to_string());
        self.as_user(&["cp", "-n", "--", &from, &to])
    }

    /// Lets the user read files of root.
    ///
    /// # Errors
    /// A sentence about why that could not be done.
    pub fn let_read(&self, files: &[PathBuf]) -> Result<(), String> {
        let closed: Vec<String> = files
            .iter()
            .filter(|path| !is_readable(path))
            .map(|path| path.display().to_string())
            .collect();
        if closed.is_empty() {
            return Ok(());
        }
        let script = r#"user=$1; shift; chgrp -- "$user" "$@" && exec chmod 0640 -- "$@""#;
        let mut words = vec!["/bin/sh", "-c", script, "onward", &self.user];
        words.extend(closed.iter().map(String::as_str));
        let given = outside(&[], &words);
        given.map(drop).map_err(|error| format!("its files cannot be given to its user: {error}"))
    }

    fn as_user(&self, words: &[&str]) -> Result<(), String> {
        let user = format!("--uid={}", self.user);
        outside(&[&user, "--property=UMask=0027"], words)
            .map(drop)
            .map_err(|error| format!("what it shares cannot be made ready: {error}"))
    }
}

/// Whether a directory is the user's. It is never root's again, and no other user has anything here.
fn is_own(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| {
        meta.is_dir() && meta.uid() != 0 && meta.permissions().mode() & 0o7777 == OWN
    })
}

fn is_readable(path: &Path) -> bool {
    let meta = fs::symlink_metadata(path);
    meta.is_ok_and(|meta| meta.gid() != 0 && meta.permissions().mode() & 0o7777 == READABLE)
}

/// Runs a program as a unit of its own, without the limits of the agent; returns what it printed.
///
/// # Errors
/// See [`Refused`].
pub fn outside(how: &[&str], words: &[&str]) -> Result<String, Refused> {
    let mut all = vec!["--quiet", "--pipe", "--wait", "--collect", "--service-type=exec"];
    all.extend(how);
    all.push("--");
    let literal: Vec<String> = words.iter().map(|word| word.replace('$', "$$")).collect();
    all.extend(literal.iter().map(String::as_str));
    manager::run("systemd-run", &all)
}

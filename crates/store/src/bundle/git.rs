//! What is asked of the `git` command. No repository is ever changed, and no command waits for a terminal.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::{At, Error, Result};

/// Variables by which a hook or a wrapper would point Git at another repository.
const FOREIGN: [&str; 9] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_CEILING_DIRECTORIES",
];

/// The working tree's top directory that `path` lies in, found without running Git.
pub(crate) fn find_repository(path: &Path) -> Option<PathBuf> {
    path.ancestors().find(|path| path.join(".git").exists()).map(Path::to_owned)
}

/// The exclude file of the repository with this top directory; also when `.git` is a file that points elsewhere.
pub(crate) fn exclude_file(top: &Path) -> Option<PathBuf> {
    let dot_git = top.join(".git");
    let directory = if dot_git.is_file() {
        let text = fs::read_to_string(&dot_git).ok()?;
        let own = top.join(text.strip_prefix("gitdir:")?.trim());
        match fs::read_to_string(own.join("commondir")) {
            Ok(common) => own.join(common.trim()),
            Err(_) => own,
        }
    } else {
        dot_git
    };
    Some(directory.join("info/exclude")).filter(|file| file.is_file())
}

/// Files that Git tracks although a rule ignores them, relative to `root`. None when Git is not installed.
pub(crate) fn tracked_but_ignored(root: &Path) -> Result<Vec<String>> {
    let args = ["--cached", "--ignored", "--exclude-standard", "-z", "--", "."];
    let output = match run(root, "ls-files", &args) {
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(vec![]);
        }
        other => other?,
    };
    // A name that is not UTF-8 is reported when its file is met.
    Ok(output
        .split(|byte| *byte == 0)
        .filter_map(|name| std::str::from_utf8(name).ok())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect())
}

/// The abbreviated commit that `reference` names. `None` when there is no such commit or Git is not installed.
pub(crate) fn short_commit(root: &Path, reference: &str) -> Result<Option<String>> {
    let commit = format!("{reference}^{{commit}}");
    let args = ["--verify", "--quiet", "--short", "--end-of-options", &commit];
    match run(root, "rev-parse", &args) {
        Ok(output) => Ok(Some(String::from_utf8_lossy(&output).trim().to_owned())),
        Err(Error::Git { message, .. }) if message.is_empty() => Ok(None),
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(other) => Err(other),
    }
}

/// A command that answers the same whatever surrounds it, and never asks.
pub(crate) fn command(root: &Path, subcommand: &str) -> Command {
    let mut git = Command::new("git");
    for name in FOREIGN {
        git.env_remove(name);
    }
    git.env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("GIT_LITERAL_PATHSPECS", "1")
        .env("LC_ALL", "C")
        .current_dir(root)
        .stdin(Stdio::null())
        // Reading a tree of another user is what a deploy with sudo does; nothing of its configuration is run.
        .args([
            "-c",
            "safe.directory=*",
            "-c",
            "core.fsmonitor=false",
            "-c",
            "core.quotePath=false",
        ])
        .arg(subcommand);
    git
}

/// Runs a subcommand and returns what it printed.
///
/// # Errors
/// [`Error::Io`] when Git cannot be started, [`Error::Git`] with its own words when it fails.
pub(crate) fn run(root: &Path, subcommand: &'static str, args: &[&str]) -> Result<Vec<u8>> {
    let output = command(root, subcommand).args(args).output().at("run `git` in", root)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(failure(root, subcommand, &output.stderr))
}

/// The error of a command that printed this.
pub(crate) fn failure(root: &Path, command: &'static str, stderr: &[u8]) -> Error {
    let message = String::from_utf8_lossy(stderr).trim().to_owned();
    Error::Git { root: root.to_owned(), command, message }
}

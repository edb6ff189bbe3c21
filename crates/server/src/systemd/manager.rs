//! Asking systemd, by its own programs. Their words are stable and the same for every version of it.

use std::io;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// There is nothing else that says that systemd is the first process.
const SIGN: &str = "/run/systemd/system";

/// Whether systemd is the first process of this machine.
pub fn is_running_here() -> bool {
    Path::new(SIGN).is_dir()
}

/// systemd did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It was asked, and said why not.
    #[error("`{command}` failed: {said}")]
    Said {
        /// The command line.
        command: String,
        /// What it printed.
        said: String,
    },
    /// It could not be asked.
    #[error("`{command}` cannot be run: {source}")]
    NotAsked {
        /// The command line.
        command: String,
        /// The reason.
        source: io::Error,
    },
}

/// The way to systemd. All of this blocks, for some milliseconds and more when units are waited for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manager;

impl Manager {
    /// Runs `systemctl` with these words; returns what it printed.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn systemctl(self, words: &[&str]) -> Result<String, Refused> {
        run("systemctl", words)
    }

    /// Whether each of the units is active.
    pub fn are_active(self, units: &[&str]) -> bool {
        let mut words = vec!["is-active"];
        words.extend(units);
        let Ok(output) = output("systemctl", &words) else { return false };
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().count() == units.len() && text.lines().all(|line| line == "active")
    }

    /// The units that match a pattern and that run or are about to.
    pub fn live(self, pattern: &str) -> Result<Vec<String>, Refused> {
        let text = self.systemctl(&[
            "list-units",
            "--plain",
            "--no-legend",
            "--state=active,activating,deactivating,reloading",
            pattern,
        ])?;
        let names = text.lines().filter_map(|line| line.split_ascii_whitespace().next());
        Ok(names.map(str::to_owned).collect())
    }
}

/// Runs a program; returns what it printed.
pub(super) fn run(program: &str, words: &[&str]) -> Result<String, Refused> {
    let command = || format!("{program} {}", words.join(" "));
    let output = output(program, words)
        .map_err(|source| Refused::NotAsked { command: command(), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    let said = if said.is_empty() { output.status.to_string() } else { said };
    Err(Refused::Said { command: command(), said })
}

fn output(program: &str, words: &[&str]) -> io::Result<Output> {
    Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        // Their words are read, so they are never translated or coloured.
        .env("LC_ALL", "C")
        .env("SYSTEMD_COLORS", "0")
        .env("SYSTEMD_PAGER", "cat")
        .output()
}

/// The unit that a process belongs to; `None` when it has ended, or systemd did not start it.
pub fn unit_of(pid: u32) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    unit_in(&text)
}

/// The unit in a list of control groups: the last part of systemd's own hierarchy, whatever lies
/// above it.
fn unit_in(cgroups: &str) -> Option<String> {
    let paths = cgroups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let controllers = parts.next()?;
        let path = parts.next()?;
        matches!(controllers, "" | "name=systemd").then_some(path)
    });
    let mut units = paths.flat_map(|path| path.rsplit('/'));
    units.find(|part| part.ends_with(".service")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_of_a_process_is_found_in_both_hierarchies() {
        let unified = "0::/system.slice/system-onward\\x2dproxy.slice/onward-proxy@1.service\n";
        assert_eq!(unit_in(unified).as_deref(), Some("onward-proxy@1.service"));
        let hybrid =
            "4:memory:/\n1:name=systemd:/system.slice/ssh.service\n0::/system.slice/ssh.service\n";
        assert_eq!(unit_in(hybrid).as_deref(), Some("ssh.service"));
        assert_eq!(unit_in("0::/user.slice/user-0.slice/session-1.scope\n"), None);
    }

    #[test]
    fn what_a_program_says_is_told() {
        assert_eq!(run("echo", &["yes"]).unwrap(), "yes\n");
        let error = run("ls", &["/nowhere"]).unwrap_err().to_string();
        assert!(error.contains("`ls /nowhere` failed: "), "{error}");
        let error = run("no-such-program", &[]).unwrap_err().to_string();
        assert!(error.contains("cannot be run"), "{error}");
    }
}

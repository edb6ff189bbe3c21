//! Asking systemd, by its own programs. Their words are stable and the same for every version of it.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Output, Stdio};

use crate::process::Exit;

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

    /// How a unit is, and how its program ended.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn show(self, unit: &str) -> Result<Shown, Refused> {
        let wanted =
            "--property=ActiveState,MainPID,ExecMainPID,ExecMainCode,ExecMainStatus,Result";
        self.systemctl(&["show", wanted, unit]).map(|text| Shown::parse(&text))
    }

    /// Removes what systemd remembers of a unit that failed.
    pub fn forget(self, unit: &str) {
        // One that did not fail is not remembered.
        let _ = self.systemctl(&["reset-failed", unit]);
    }

    /// The units that match a pattern and that run or are about to.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn live(self, pattern: &str) -> Result<Vec<String>, Refused> {
        self.list("--state=active,activating,deactivating,reloading", pattern)
    }

    /// The units that match a pattern and that systemd knows anything of.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn all(self, pattern: &str) -> Result<Vec<String>, Refused> {
        self.list("--all", pattern)
    }

    fn list(self, which: &str, pattern: &str) -> Result<Vec<String>, Refused> {
        let text = self.systemctl(&["list-units", "--plain", "--no-legend", which, pattern])?;
        let names = text.lines().filter_map(|line| line.split_ascii_whitespace().next());
        Ok(names.map(str::to_owned).collect())
    }
}

/// How a unit is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// `active`, `failed` and so on; `inactive` of one that is not known.
    pub active: String,
    /// The process that leads it, 0 when there is none.
    pub main_pid: u32,
    /// The process that led it last.
    pub last_pid: u32,
    /// How that process ended: 0 not yet, 1 exited, 2 killed, 3 killed with its memory written down.
    pub code: u32,
    /// Its exit status or signal.
    pub status: i32,
    /// `success`, `exit-code`, `signal`, `oom-kill` and so on.
    pub result: String,
}

impl Shown {
    fn parse(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        let mut shown = Self::default();
        for (name, value) in pairs {
            match name {
                "ActiveState" => value.clone_into(&mut shown.active),
                "MainPID" => shown.main_pid = value.parse().unwrap_or(0),
                "ExecMainPID" => shown.last_pid = value.parse().unwrap_or(0),
                "ExecMainCode" => shown.code = value.parse().unwrap_or(0),
                "ExecMainStatus" => shown.status = value.parse().unwrap_or(0),
                "Result" => value.clone_into(&mut shown.result),
                _ => {}
            }
        }
        shown
    }

    /// Whether anything of the unit may still run.
    pub fn is_live(&self) -> bool {
        !matches!(self.active.as_str(), "failed" | "inactive" | "")
    }

    /// How its program ended; `None` while it has not.
    pub fn exit(&self) -> Option<Exit> {
        let raw = match self.code {
            1 => (self.status & 0xff) << 8,
            2 | 3 => self.status & 0x7f,
            _ => return None,
        };
        let status = ExitStatus::from_raw(raw);
        Some(if self.result == "oom-kill" {
            Exit::OutOfMemory(status)
        } else {
            Exit::Status(status)
        })
    }
}

/// Runs a program; returns what it printed.
pub(super) fn run(program: &str, words: &[impl AsRef<OsStr>]) -> Result<String, Refused> {
    let text = |word: &_| AsRef::<OsStr>::as_ref(word).to_string_lossy().into_owned();
    let command = || {
        // How a thing was confined helps nobody; what was asked does.
        let shown: Vec<String> =
            words.iter().map(text).filter(|word| !word.starts_with("--property=")).collect();
        format!("{program} {}", shown.join(" "))
    };
    let output = output(program, words)
        .map_err(|source| Refused::NotAsked { command: command(), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    let said = if said.is_empty() { output.status.to_string() } else { said };
    Err(Refused::Said { command: command(), said })
}

fn output(program: &str, words: &[impl AsRef<OsStr>]) -> io::Result<Output> {
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
        let error = run("no-such-program", &[""; 0]).unwrap_err().to_string();
        assert!(error.contains("cannot be run"), "{error}");
    }
}

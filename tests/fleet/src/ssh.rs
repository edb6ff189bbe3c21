//! The system's `ssh`, with the key of the lab and the pinned key of the server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use onward::providers::nspawn::Machine;

/// What a command on a server did.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its exit code; 255 when the server was not reached.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it, or `ssh`, complained about.
    pub stderr: String,
}

impl Answer {
    /// Whether it ended with 0.
    pub fn is_success(&self) -> bool {
        self.code == Some(0)
    }
}

/// A way into one server.
#[derive(Debug, Clone)]
pub struct Ssh {
    address: String,
    key: PathBuf,
    known_hosts: PathBuf,
}

impl Ssh {
    /// As root, with the pinned key written into `directory`.
    pub(crate) fn to(machine: &Machine, key: &Path, directory: &Path) -> Self {
        let known_hosts = directory.join(format!("known_hosts.{}", machine.name));
        let (address, host_key) = (machine.address, &machine.host_key);
        fs::write(&known_hosts, format!("{address} {host_key}\n")).expect("known_hosts");
        Self { address: address.to_string(), key: key.to_owned(), known_hosts }
    }

    /// The same with another pin.
    #[must_use]
    pub fn pinned_to(&self, host_key: &str) -> Self {
        let known_hosts = self.known_hosts.with_extension("other");
        fs::write(&known_hosts, format!("{} {host_key}\n", self.address)).expect("known_hosts");
        Self { known_hosts, ..self.clone() }
    }

    /// The command, without anything of the person's own configuration.
    pub fn command(&self) -> Command {
        let mut command = Command::new("ssh");
        command.args(["-F", "/dev/null", "-T", "-i"]).arg(&self.key);
        command.arg("-o").arg(format!("UserKnownHostsFile={}", self.known_hosts.display()));
        for option in [
            "GlobalKnownHostsFile=/dev/null",
            "StrictHostKeyChecking=yes",
            "IdentitiesOnly=yes",
            "BatchMode=yes",
            "ConnectTimeout=3",
        ] {
            command.args(["-o", option]);
        }
        command.arg(format!("root@{}", self.address)).stdin(Stdio::null());
        command
    }

    /// Runs a command line.
    ///
    /// # Panics
    /// When there is no `ssh`.
    pub fn run(&self, command: &str) -> Answer {
        let output = self.command().arg(command).output().expect("ssh runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        Answer { code: output.status.code(), stdout, stderr }
    }
}

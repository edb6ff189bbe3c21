//! Why servers of this machine cannot be had.

use std::io;
use std::path::{Path, PathBuf};

use onward_core::model::ServerName;

/// Why a lab did not do what it was asked. What was made so far is recorded: the next `up` carries
/// it on, `down` removes it.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Another system than Linux.
    #[error("servers of this machine (provider nspawn) need Linux, and this is {0}")]
    NotLinux(&'static str),
    /// Not root.
    #[error(
        "servers of this machine (provider nspawn) need root: networks and mounts are made; \
         type the same command after `sudo`"
    )]
    NotRoot,
    /// Programs are missing.
    #[error("{} missing; install with: apt-get install {}", list(.programs), .packages.join(" "))]
    Missing {
        /// Their names.
        programs: Vec<&'static str>,
        /// The Debian packages that have them, each once.
        packages: Vec<&'static str>,
    },
    /// The kernel has no version 2 control groups at all.
    #[error("no file system of type cgroup2 is mounted, and a server's processes are kept in one")]
    NoControlGroups,
    /// A file or directory.
    #[error("{}: {source}", .path.display())]
    File {
        /// It.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A record that onward did not write, or a later onward did.
    #[error("{} cannot be understood: {why}", .path.display())]
    Record {
        /// It.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A program failed.
    #[error("{what} failed: {why}")]
    Program {
        /// What was to be done.
        what: String,
        /// The first line of what it complained about, or how it ended.
        why: String,
    },
    /// A program hangs.
    #[error("{what}: `{program}` did not end within {seconds} s")]
    Hangs {
        /// What was to be done.
        what: String,
        /// The program.
        program: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// Every network of the range is taken.
    #[error("no free network: all of 10.81.0.0/16 is used by this machine or by other labs")]
    NoNetwork,
    /// More servers than a network has addresses for.
    #[error("a lab has at most {max} servers", max = SERVERS_MAX)]
    TooMany,
    /// A server that the lab does not have.
    #[error("the lab has no server `{0}`")]
    NoServer(ServerName),
    /// A server that is not running.
    #[error("server `{0}` is not running")]
    NotRunning(ServerName),
    /// A server did not come up.
    #[error("server `{server}` {why}; its console is in {}", .console.display())]
    Boot {
        /// It.
        server: ServerName,
        /// What happened.
        why: String,
        /// What it printed while it booted.
        console: PathBuf,
    },
}

/// The most servers of one lab: the addresses .2 to .201 of its network.
pub const SERVERS_MAX: u8 = 200;

impl LabError {
    /// Gives an error of the system its file.
    pub(super) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}

fn list(programs: &[&str]) -> String {
    let verb = if programs.len() == 1 { "is" } else { "are" };
    let names: Vec<String> = programs.iter().map(|name| format!("`{name}`")).collect();
    format!("{} {verb}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_says_what_to_do() {
        let name: ServerName = "web-1".parse().expect("a name");
        let path = PathBuf::from("/var/lib/onward-nspawn/labs/a1b2c3d4/lab.json");
        let errors = [
            LabError::NotLinux("macos"),
            LabError::NotRoot,
            LabError::Missing { programs: vec!["nft"], packages: vec!["nftables"] },
            LabError::Missing {
                programs: vec!["mmdebstrap", "systemd-nspawn"],
                packages: vec!["mmdebstrap", "systemd-container"],
            },
            LabError::NoControlGroups,
            LabError::file(&path)(io::ErrorKind::PermissionDenied.into()),
            LabError::Record { path: path.clone(), why: "expected value at line 1".to_owned() },
            LabError::Program { what: "the bridge".to_owned(), why: "no such device".to_owned() },
            LabError::Hangs {
                what: "the bridge".to_owned(),
                program: "ip".to_owned(),
                seconds: 120,
            },
            LabError::NoNetwork,
            LabError::TooMany,
            LabError::NoServer(name.clone()),
            LabError::NotRunning(name.clone()),
            LabError::Boot {
                server: name,
                why: "ended while it booted".to_owned(),
                console: path.with_file_name("console.log"),
            },
        ];
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(texts.join("\n"));
    }
}

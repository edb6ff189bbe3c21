//! Real servers for tests: Debian with systemd and sshd, booted on this machine by the provider
//! `nspawn` in about a second, removed without a trace when the test is over, also by a panic. What
//! a test leaves that was killed is removed by the next one.
//!
//! They need root on Linux and some programs. Where that is missing a test says that it was left
//! out, and why.

mod line;
mod operator;
mod skew;
mod ssh;
pub mod traces;

use std::path::Path;
use std::time::{Duration, Instant};

use onward::providers::nspawn::{self, Lab, LabError, Machine, ServerSpec};
use onward_core::model::ServerName;
use tempfile::TempDir;

pub use line::{Line, server};
pub use onward_load as load;
pub use operator::Operator;
pub use ssh::{Answer, Ssh};

/// The time that anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Some servers that are a test's own. Its faults are those of [`Lab`].
#[derive(Debug)]
pub struct Fleet {
    lab: Lab,
    machines: Vec<Machine>,
    directory: TempDir,
}

impl Fleet {
    /// Boots `count` servers: `one`, `two` and so on; `None` where that is not possible, which is
    /// said.
    ///
    /// # Panics
    /// When they do not boot.
    pub fn boot(count: usize) -> Option<Self> {
        let names = ["one", "two", "three", "four", "five", "six", "seven", "eight"];
        let name = |index: usize| match names.get(index) {
            Some(name) => (*name).to_owned(),
            None => format!("server-{}", index + 1),
        };
        let spec = |index| ServerSpec::of(name(index).parse().expect("a name"));
        Self::of(&(0..count).map(spec).collect::<Vec<_>>())
    }

    /// Boots servers of one's own choice.
    ///
    /// # Panics
    /// When they do not boot.
    pub fn of(servers: &[ServerSpec]) -> Option<Self> {
        if let Err(reason) = nspawn::check() {
            eprintln!("LEFT OUT: a test on real servers: {reason}");
            return None;
        }
        traces::remove_what_was_killed();
        let directory =
            tempfile::Builder::new().prefix("onward-fleet-").tempdir().expect("a directory");
        traces::mark(directory.path());
        let lab = Lab::of(directory.path(), "fleet");
        let mut fleet = Self { lab, machines: Vec::new(), directory };
        fleet.machines = fleet.up(servers).expect("the servers boot");
        Some(fleet)
    }

    /// Boots what is not running, or more servers.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn up(&self, servers: &[ServerSpec]) -> Result<Vec<Machine>, LabError> {
        self.lab.up(servers, &|event| eprintln!("{event:?}"))
    }

    /// The lab, for faults.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// A directory of the test's own.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// All servers.
    pub fn machines(&self) -> &[Machine] {
        &self.machines
    }

    /// The name of a server by its number, from 0 on.
    pub fn name(&self, index: usize) -> &ServerName {
        &self.machines[index].name
    }

    /// A way into a server, by its number.
    pub fn ssh(&self, index: usize) -> Ssh {
        Ssh::to(&self.machines[index], &self.lab.key_file(), self.directory())
    }

    /// Runs a command line on a server; what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn run(&self, index: usize, command: &str) -> String {
        let answer = self.ssh(index).run(command);
        let name = self.name(index);
        assert!(answer.is_success(), "{name}: {command}: {answer:?}");
        answer.stdout
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if let Err(error) = self.lab.down() {
            let id = self.lab.id();
            eprintln!("lab {id} was not removed, and the next test will: {error}");
            self.directory.disable_cleanup(true);
        }
    }
}

/// Whether `cargo xtask fleet` asks for the long form of the tests.
pub fn is_long() -> bool {
    std::env::var_os("ONWARD_FLEET").is_some_and(|form| form == "long")
}

/// Asks until it is so.
///
/// # Panics
/// When it is not within [`PATIENCE`].
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

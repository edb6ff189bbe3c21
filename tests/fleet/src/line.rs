//! The whole line: a project whose environment `lab` has servers of its own, and the real binary.

use std::time::Duration;

use onward::providers::nspawn::{self, Lab, Machine};
use onward_cli_tests::{Outcome, Project};
use onward_load::{Connection, Sampler};
use serde_json::Value;

use crate::ssh::Ssh;
use crate::traces;

/// A deploy to freshly booted servers, with two cores for all of them.
const UP_WITHIN: Duration = Duration::from_secs(120);

/// A project with servers. Both are removed when the test is over.
#[derive(Debug)]
pub struct Line {
    /// The project.
    pub project: Project,
    lab: Lab,
}

impl Line {
    /// The compiled `hello` with these servers, as the project file names them, and what else shall
    /// be in the file; `None` where there cannot be servers, which is said. Nothing is made yet.
    pub fn of_hello(servers: &str, extra: &str) -> Option<Self> {
        if let Err(reason) = nspawn::check() {
            eprintln!("LEFT OUT: a test on real servers: {reason}");
            return None;
        }
        let project = Project::prebuilt_hello(&format!(
            "{extra}\n[environment.lab]\nprovider = \"nspawn\"\ndefault = true\n\
             servers = [{servers}]\n"
        ));
        traces::remove_what_was_killed();
        traces::mark(&project.path());
        let lab = Lab::of(&project.path(), "hello/lab");
        Some(Self { project, lab })
    }

    /// Its servers, for faults.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Runs `onward`.
    ///
    /// # Panics
    /// When it does not end with 0, or not within two minutes.
    pub fn onward(&self, arguments: &[&str]) -> Outcome {
        let outcome = self.project.run(arguments).code_is(0);
        assert!(outcome.took < UP_WITHIN, "{arguments:?}: {:?}", outcome.took);
        outcome
    }

    /// `HOST:PORT` of a server by its name.
    ///
    /// # Panics
    /// When there is none.
    pub fn address(&self, server: &str) -> String {
        let state = self.lab.state().expect("a state");
        let found = state.iter().find(|machine| machine.name.as_str() == server);
        format!("{}:80", found.expect("a server").address)
    }

    /// The document of the environment as it lies on its manager; no command reads it.
    ///
    /// # Panics
    /// When the server cannot be reached.
    pub fn document(&self, manager: &str) -> Value {
        let state = self.lab.state().expect("a state");
        let found = state.into_iter().find(|machine| machine.name.as_str() == manager);
        let found = found.expect("a server");
        let host_key = found.host_key.expect("it was booted");
        let machine = Machine { name: found.name, address: found.address, host_key };
        // Not in the project: it would be a part of what is deployed.
        let beside = self.project.path().with_file_name("");
        let ssh = Ssh::to(&machine, &self.lab.key_file(), &beside);
        let answer = ssh.run("cat /var/lib/onward/state/hello/lab/state.json");
        serde_json::from_str(&answer.stdout).unwrap_or_else(|_| panic!("{answer:?}"))
    }

    /// What a visitor of a server sees.
    ///
    /// # Panics
    /// When that is nothing.
    pub fn visit(&self, server: &str) -> String {
        Connection::to(&self.address(server)).get("/").expect("an answer").1
    }

    /// Visitors of a server who never try twice.
    pub fn visitors(&self, server: &str) -> Sampler {
        Sampler::start(&self.address(server), 4, 2, Duration::from_millis(5))
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Err(error) = self.lab.down() {
            eprintln!("lab {} was not removed: {error}", self.lab.id());
        }
    }
}

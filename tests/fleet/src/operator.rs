//! A person with a project, a home of their own, and servers that are reached over SSH as any are.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use onward_cli_tests::{Outcome, Project, ended, ended_within};
use serde_json::Value;

use crate::Fleet;

/// A command that gives servers up, each after its time.
const LONG: Duration = Duration::from_secs(120);

/// The part of a project file before its environment: the app in Perl, doing well.
fn head(app: &str) -> String {
    format!(
        "app = \"{app}\"\n[process.web]\nrun = \"perl app.pl good\"\n\
         probe = {{ path = \"/up\", within = \"10s\" }}\n[release]\nwatch = \"1s\"\n"
    )
}

/// One person.
#[derive(Debug)]
pub struct Operator {
    /// Their project.
    pub project: Project,
    ssh: PathBuf,
}

impl Operator {
    /// With an app whose environment `production` has these servers of a fleet, each by the name that
    /// this person has for it; `extra` is more of the environment.
    ///
    /// # Panics
    /// When the files cannot be written.
    pub fn of(fleet: &Fleet, app: &str, names: &[&str], extra: &str) -> Self {
        let servers: Vec<_> =
            names.iter().enumerate().map(|(index, name)| (*name, index)).collect();
        let operator = Self::without_servers(fleet);
        operator.has(fleet, app, &servers, extra);
        operator
    }

    /// Writes the project file anew: with these servers, each on the machine with this number. After
    /// its name and a space a server may have more: `one , roles = ["manager"]`.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn has(&self, fleet: &Fleet, app: &str, servers: &[(&str, usize)], extra: &str) {
        let server = |(name, index): &(&str, usize)| {
            let own = &fleet.machines()[*index];
            let (name, more) = name.split_once(' ').unwrap_or((name, ""));
            format!(
                "{{ name = \"{name}\", address = \"{}\", user = \"root\", host_key = \"{}\"{more} }}",
                own.address, own.host_key
            )
        };
        let servers: Vec<_> = servers.iter().map(server).collect();
        self.project.write(
            "onward.toml",
            &format!(
                "{}[environment.production]\ndefault = true\nprovider = \"ssh\"\n{extra}\n\
                 servers = [{}]\n",
                head(app),
                servers.join(", ")
            ),
        );
    }

    fn without_servers(fleet: &Fleet) -> Self {
        let project = Project::empty();
        project.write("app.pl", include_str!("app.pl"));
        let ssh = project.path().with_file_name("ssh");
        let key = fleet.lab().key_file();
        let text = format!(
            "#!/bin/sh\nexec ssh -F /dev/null -o IdentitiesOnly=yes -i '{}' \"$@\"\n",
            key.display()
        );
        fs::write(&ssh, text).expect("a program");
        fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).expect("a program");
        Self { project, ssh }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.project.command(arguments);
        command.env("ONWARD_SSH", &self.ssh);
        command
    }

    /// Starts `onward`.
    ///
    /// # Panics
    /// When there is none.
    pub fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().expect("the binary runs")
    }

    /// Runs `onward`.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        ended(self.start(arguments), || {})
    }

    /// Runs `onward` when it has to wait for servers that do not answer.
    pub fn run_long(&self, arguments: &[&str]) -> Outcome {
        let outcome = ended_within(LONG, self.start(arguments), || {});
        eprintln!("{arguments:?}: {:.1?}", outcome.took);
        outcome
    }

    /// `status --json`.
    pub fn status(&self) -> Value {
        self.run(&["status", "--json"]).code_is(0).json()
    }
}

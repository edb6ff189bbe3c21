//! The whole line: a project whose environment `lab` has servers of its own, and the real binary.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use onward::providers::nspawn::{self, Lab, Machine, ServerSpec};
use onward_cli_tests::{Outcome, Project, binary, example};
use onward_core::model::ServerName;
use onward_load::{Connection, Sampler};
use serde_json::Value;

use crate::{Ssh, traces};

/// A deploy to freshly booted servers, with two cores for all of them.
const UP_WITHIN: Duration = Duration::from_secs(120);
/// Machines stay as they are.
const UNHARDENED: &str = "harden = \"off\"\n";
/// An app that behaves as it is told.
const APP: &str = include_str!("app.pl");

/// A project with servers. Both are removed when the test is over.
#[derive(Debug)]
pub struct Line {
    /// The project.
    pub project: Project,
    servers: String,
    lab: Lab,
}

impl Line {
    /// The compiled `hello` with these servers, as the project file names them, and what else shall
    /// be in the file; `None` where there cannot be servers, which is said. Nothing is made yet.
    ///
    /// Its machines are not hardened, which takes time and makes no difference to what an app does.
    pub fn of_hello(servers: &str, extra: &str) -> Option<Self> {
        Self::of("hello", servers, |environment| {
            Project::prebuilt_hello(&format!("{extra}\n{environment}{UNHARDENED}"))
        })
    }

    /// As [`Self::of_hello`], with machines as a project file asks for that says nothing of them.
    pub fn of_hardened_hello(servers: &str, extra: &str) -> Option<Self> {
        Self::of("hello", servers, |environment| {
            Project::prebuilt_hello(&format!("{extra}\n{environment}"))
        })
    }

    /// An app in Perl that behaves as [`Self::behave`] says, at first well.
    pub fn of_app(servers: &str, extra: &str) -> Option<Self> {
        let line = Self::of("hello", servers, |_| Project::empty())?;
        line.project.write("app.pl", APP);
        line.behave("good", extra);
        Some(line)
    }

    /// The example `visits`, whose file names its servers, with a program that is built already.
    ///
    /// # Panics
    /// When its file has no section `[build]` before `[bundle]`.
    pub fn of_visits() -> Option<Self> {
        Self::of("visits", "", |_| {
            let project = Project::copy_of("visits");
            let release = project.path().join("target/release");
            fs::create_dir_all(&release).expect("a directory");
            fs::copy(example::visits(), release.join("visits")).expect("copy visits");
            let file = fs::read_to_string(project.path().join("onward.toml")).expect("its file");
            let (before, rest) = file.split_once("[build]").expect("it is built");
            let (_, after) = rest.split_once("[bundle]").expect("it has a bundle");
            project.write("onward.toml", &format!("{before}[bundle]{after}"));
            project
        })
    }

    fn of(app: &str, servers: &str, project: impl FnOnce(&str) -> Project) -> Option<Self> {
        if let Err(reason) = nspawn::check() {
            eprintln!("LEFT OUT: a test on real servers: {reason}");
            return None;
        }
        let project = project(&environment(servers));
        traces::remove_what_was_killed();
        traces::mark(&project.path());
        let lab = Lab::of(&project.path(), &format!("{app}/lab"));
        Some(Self { project, servers: servers.to_owned(), lab })
    }

    /// Writes the project file of the app in Perl: what it does, and what else shall be in the file.
    pub fn behave(&self, mode: &str, extra: &str) {
        let environment = environment(&self.servers);
        // Whoever never answers is not waited for longer than it takes to find out why.
        let within = if ["good", "dies"].contains(&mode) { "10s" } else { "3s" };
        self.project.write(
            "onward.toml",
            &format!(
                "app = \"hello\"\n[process.web]\nrun = \"perl app.pl {mode}\"\n\
                 probe = {{ path = \"/up\", within = \"{within}\" }}\n{extra}\n{environment}{UNHARDENED}"
            ),
        );
    }

    /// Writes the project file of a site in a directory, and what else shall be in the file.
    pub fn behave_as_site(&self, directory: &str, extra: &str) {
        let environment = environment(&self.servers);
        self.project.write(
            "onward.toml",
            &format!(
                "app = \"hello\"\n[process.web]\nstatic = \"{directory}\"\n{extra}\n\
                 {environment}{UNHARDENED}"
            ),
        );
    }

    /// Its servers, for faults.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Boots servers before `onward up` would: one with a small disk, for example.
    ///
    /// # Panics
    /// When they do not boot.
    pub fn boot(&self, servers: &[ServerSpec]) -> Vec<Machine> {
        self.lab.up(servers, &|_| {}).expect("the servers boot")
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

    /// A way into a server by its name.
    ///
    /// # Panics
    /// When there is none.
    pub fn ssh(&self, server: &str) -> Ssh {
        let state = self.lab.state().expect("a state");
        let own = state.into_iter().find(|machine| machine.name.as_str() == server);
        let own = own.expect("a server");
        let host_key = own.host_key.expect("it was made");
        let machine = Machine { name: own.name, address: own.address, host_key };
        Ssh::to(&machine, &self.lab.key_file(), &self.lab.directory())
    }

    /// Runs a command line on a server; what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn run(&self, server: &str, command: &str) -> String {
        let answer = self.ssh(server).run(command);
        assert!(answer.is_success(), "{server}: {command}: {answer:?}");
        answer.stdout
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
        let answer = self.ssh(manager).run("cat /var/lib/onward/state/hello/lab/state.json");
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

    /// Asserts that no operation is left and that every server serves the release of the document,
    /// whose number it returns.
    ///
    /// # Panics
    /// When that is not so.
    pub fn settled(&self) -> u64 {
        let status = self.project.status();
        assert!(status["operation"].is_null(), "{status:#}");
        let release = status["release"]["number"].as_u64().expect("a release");
        for server in status["servers"].as_array().expect("servers") {
            assert_eq!(server["release"].as_u64(), Some(release), "{status:#}");
        }
        release
    }

    /// What `status --json` says of a server.
    ///
    /// # Panics
    /// When it says nothing.
    pub fn status_of(&self, server: &str) -> Value {
        let status = self.project.status();
        let servers = status["servers"].as_array().expect("servers");
        servers.iter().find(|own| own["name"] == server).expect("a server").clone()
    }

    /// The onward under test as another build: the same, and its digest is another.
    ///
    /// # Panics
    /// When it cannot be copied.
    pub fn rebuilt(&self) -> PathBuf {
        let path = self.project.path().with_file_name("onward-rebuilt");
        let mut program = std::fs::read(binary()).expect("the program is built");
        // What follows the last section of an executable is read by nobody.
        program.push(0);
        let options = std::fs::File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o755)
            .open(&path);
        options.and_then(|mut file| file.write_all(&program)).expect("a copy");
        path
    }
}

/// The part of the project file that names the servers.
fn environment(servers: &str) -> String {
    format!("[environment.lab]\nprovider = \"nspawn\"\ndefault = true\nservers = [{servers}]\n")
}

/// The name of a server.
///
/// # Panics
/// When it is none.
pub fn server(name: &str) -> ServerName {
    name.parse().expect("a name")
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Err(error) = self.lab.down() {
            eprintln!("lab {} was not removed: {error}", self.lab.id());
        }
    }
}

//! onward, on servers that it reaches with a fresh SSH connection for each command.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use onward_fleet_tests::Fleet;

use crate::Outcome;
use crate::app::App;
use crate::figures::Figures;
use crate::probe;

/// The port of the proxies.
const PORT: u16 = 80;

/// Which roles the servers have: those of the first one, and those of all others.
pub type Roles = (&'static str, &'static str);
/// The first one does everything.
pub const COMBINED: Roles = ("\"balancer\", \"manager\", \"web\"", "\"web\"");
/// The first one runs nothing of the app.
pub const SPLIT: Roles = ("\"balancer\", \"manager\"", "\"web\"");

/// The binary under test with a project for a fleet.
#[derive(Debug)]
pub struct Ours {
    binary: PathBuf,
    home: PathBuf,
    project: PathBuf,
    ssh: PathBuf,
}

impl Ours {
    /// A project for all servers of a fleet.
    pub fn new(fleet: &Fleet, app: &App, roles: Roles) -> Outcome<Self> {
        let binary = std::env::var_os("ONWARD_BIN").ok_or("ONWARD_BIN names no binary")?.into();
        let home = fleet.directory().join("home");
        fs::create_dir_all(&home)?;
        let project = app.path().to_owned();
        let mut servers = String::new();
        for (index, machine) in fleet.machines().iter().enumerate() {
            let roles = if index == 0 { roles.0 } else { roles.1 };
            servers.push_str(&format!(
                "  {{ name = \"{}\", address = \"{}\", user = \"root\", host_key = \"{}\", roles = \
                 [{roles}] }},\n",
                machine.name, machine.address, machine.host_key
            ));
        }
        fs::write(
            project.join("onward.toml"),
            format!(
                "app = \"bench\"\n[bundle]\ninclude = [\"hello\"]\n[process.web]\nrun = '''{}'''\nprobe \
                 = {{ path = \"/\", interval = \"50ms\" }}\n[release]\nwatch = \"0s\"\n[environment.fleet]\n\
                 default = true\nprovider = \"ssh\"\nopen = [80, 8080]\nservers = [\n{servers}]\n",
                App::command()
            ),
        )?;
        let ssh = fleet.directory().join("ssh");
        let key = fleet.lab().key_file();
        let words = format!("-F /dev/null -i {} -o IdentitiesOnly=yes", key.display());
        fs::write(&ssh, format!("#!/bin/sh\nexec ssh {words} \"$@\"\n"))?;
        fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755))?;
        Ok(Self { binary, home, project, ssh })
    }

    /// The program under test.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    fn command(&self, words: &[&str]) -> Command {
        self.command_of(&self.binary, words)
    }

    fn command_of(&self, program: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(["-C".as_ref(), self.project.as_os_str()])
            .args(words)
            .env("HOME", &self.home)
            .env("ONWARD_SSH", &self.ssh)
            .env("USER", "ana");
        command
    }

    /// Starts a command, whose output is read by whoever started it.
    pub fn start(&self, words: &[&str]) -> Outcome<Child> {
        Ok(self.command(words).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?)
    }

    /// Runs a command to its end.
    pub fn run(&self, words: &[&str]) -> Outcome<String> {
        self.run_with(&self.binary, words)
    }

    /// Runs a command of another build to its end.
    pub fn run_with(&self, program: &Path, words: &[&str]) -> Outcome<String> {
        let Output { status, stdout, stderr } = self.command_of(program, words).output()?;
        let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        if status.success() {
            Ok(stdout.into_owned())
        } else {
            Err(format!("onward {words:?} ended with {status}: {stdout}{stderr}").into())
        }
    }

    /// Measures everything; returns the seconds of one changed line.
    pub fn measure(
        &self,
        fleet: &Fleet,
        app: &App,
        rounds: usize,
        figures: &mut Figures,
    ) -> Outcome<f64> {
        let addresses = probe::addresses(fleet, PORT);
        let bare = Instant::now();
        self.run(&["up"])?;
        figures.at_most(
            "bare servers to an app that answers",
            bare.elapsed().as_secs_f64(),
            "s",
            6.0,
        );
        let (mut lost, mut answered) = (0, 0);
        let mut release = |version: &str, words: &[&str]| -> Outcome<(f64, String)> {
            let marked = format!("{version} ");
            let seen = probe::until(&addresses, &marked, || self.run(words))?;
            lost += seen.lost;
            answered += seen.answered;
            Ok((seen.seconds, seen.result))
        };
        let (mut line, mut bytes) = (Vec::new(), 0.0_f64);
        for round in 1..=rounds {
            let version = format!("v{round}");
            app.set_version(&version)?;
            let (seconds, said) = release(&version, &["deploy", "--json"])?;
            line.push(seconds);
            bytes = bytes.max(sent(&said));
        }
        let line = figures.seconds("one changed line", &line, 0.8);
        let most = app.kib() as f64 * 1024.0 / 100.0 / 1024.0 * fleet.machines().len() as f64;
        figures.at_most("sent for it, to all servers", bytes / 1024.0, "KiB", most);
        let mut unchanged = Vec::new();
        for _ in 0..rounds {
            let began = Instant::now();
            self.run(&["deploy"])?;
            unchanged.push(began.elapsed().as_secs_f64());
        }
        figures.seconds("nothing changed", &unchanged, 0.4);
        let mut back = Vec::new();
        for round in 0..rounds {
            // From the last to the one before, and back again: the other one is warm each time.
            let to = if round % 2 == 0 { rounds - 1 } else { rounds };
            // The first release had version 0.
            let number = (to + 1).to_string();
            back.push(release(&format!("v{to}"), &["rollback", &number])?.0);
        }
        figures.seconds("rollback to a warm release", &back, 0.4);
        let mut cold = Vec::new();
        for round in 0..rounds.min(3) {
            app.fill(100 + round as u64)?;
            let version = format!("cold{round}");
            app.set_version(&version)?;
            cold.push(release(&version, &["deploy"])?.0);
        }
        figures.seconds("everything changed", &cold, 1.5);
        figures.none(&format!("lost of {answered} requests"), lost);
        Ok(line)
    }
}

/// The bytes that a deploy sent, as it says with `--json`.
fn sent(said: &str) -> f64 {
    let lines =
        said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    lines.filter(|line| line["event"] == "sent").filter_map(|line| line["bytes"].as_f64()).sum()
}

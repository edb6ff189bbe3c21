//! A project in a temporary directory, and the binary run in it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use tempfile::TempDir;

use crate::example;

/// The directory that Cargo builds into.
pub(crate) fn target() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| here.join("../../target"), PathBuf::from)
}

/// The binary under test: `ONWARD_BIN`, else the release build.
///
/// # Panics
/// When there is none: `cargo build --release` makes it.
pub fn binary() -> PathBuf {
    let path = std::env::var_os("ONWARD_BIN")
        .map_or_else(|| target().join("release/onward"), PathBuf::from);
    assert!(path.is_file(), "{} is missing: cargo build --release", path.display());
    path
}

/// How a command ended and what it printed.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Outcome {
    /// The last JSON line.
    ///
    /// # Panics
    /// When there is none.
    pub fn finished(&self) -> Value {
        let last = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The one JSON document.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The same, if it ended with this code.
    ///
    /// # Panics
    /// When it did not.
    pub fn code_is(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stdout, self.stderr);
        self
    }
}

/// Waits for the end of a command and does something again and again meanwhile.
///
/// # Panics
/// When it is lost, or does not end.
pub fn ended(child: Child, meanwhile: impl FnMut()) -> Outcome {
    ended_within(crate::wait::PATIENCE, child, meanwhile)
}

/// [`ended`], for a command that waits for others itself.
///
/// # Panics
/// As [`ended`].
pub fn ended_within(limit: Duration, mut child: Child, mut meanwhile: impl FnMut()) -> Outcome {
    let began = Instant::now();
    while child.try_wait().expect("the command can be waited for").is_none() {
        assert!(began.elapsed() < limit, "the command does not end within {limit:?}");
        meanwhile();
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().expect("its output can be read");
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        took: began.elapsed(),
    }
}

/// Whether a program can be found.
pub fn has(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|directory| directory.join(program).is_file())
}

/// A project of its own.
#[derive(Debug)]
pub struct Project {
    directory: TempDir,
}

impl Project {
    /// An empty directory.
    ///
    /// # Panics
    /// When there is no temporary directory.
    pub fn empty() -> Self {
        let directory = tempfile::Builder::new().prefix("onward-test-").tempdir();
        let project = Self { directory: directory.expect("a temporary directory") };
        fs::create_dir_all(project.path()).expect("create the project");
        fs::create_dir_all(project.runtime()).expect("create the runtime directory");
        project
    }

    /// A copy of an example.
    pub fn copy_of(name: &str) -> Self {
        let project = Self::empty();
        example::copy(&example::directory(name), &project.path());
        project
    }

    /// The compiled `hello` as a project without a build, with `extra` at the end of its file.
    ///
    /// # Panics
    /// When it cannot be copied.
    pub fn prebuilt_hello(extra: &str) -> Self {
        let project = Self::empty();
        fs::copy(example::hello(), project.path().join("hello")).expect("copy hello");
        project.write(
            "onward.toml",
            &format!(
                "app = \"hello\"\n[process.web]\nrun = \"./hello\"\nprobe = {{ path = \"/\" }}\n{extra}"
            ),
        );
        project
    }

    /// Its directory.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("project")
    }

    fn runtime(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    /// Writes a file of the project.
    ///
    /// # Panics
    /// When that fails.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().expect("a file has a directory")).expect("create it");
        fs::write(path, text).expect("write a file of the project");
    }

    /// A command in the project, not yet run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.directory.path())
            .env("USER", "ana")
            .env("XDG_RUNTIME_DIR", self.runtime())
            .env("CARGO_HOME", cargo_home())
            .env("RUSTUP_HOME", rustup_home())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// A shell line behind the binary's name in a terminal of its own, not yet run: what is written to its input
    /// is typed. Needs the program `script`.
    pub fn in_terminal(&self, line: &str) -> Command {
        let line = format!("{} {line}", binary().display());
        let mut command = Command::new("script");
        command.args(["-qec", &line, "/dev/null"]).current_dir(self.path()).env_clear();
        command.envs(self.command(&[]).get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("TERM", "xterm-test").env("SHELL", "/bin/sh");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        let began = Instant::now();
        let output = self.command(arguments).output().expect("the binary runs");
        Outcome {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            took: began.elapsed(),
        }
    }

    /// Runs a command with a text as its standard input.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn run_with(&self, input: &str, arguments: &[&str]) -> Outcome {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).spawn().expect("the binary runs");
        // A command that is refused does not read it.
        let _ = child.stdin.take().expect("it is piped").write_all(input.as_bytes());
        ended(child, || {})
    }

    /// Starts a command and lets it run.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().expect("the binary runs")
    }

    /// `status --json`.
    pub fn status(&self) -> Value {
        self.run(&["status", "--json"]).code_is(0).json()
    }

    /// The address of the environment.
    ///
    /// # Panics
    /// When it has none.
    pub fn url(&self) -> String {
        self.status()["url"].as_str().expect("the environment has an address").to_owned()
    }

    /// The processes whose command line names this project: agent, proxy, and what they run.
    pub fn processes(&self) -> Vec<(u32, String)> {
        let mark = self.directory.path().to_string_lossy().into_owned();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            let text = |name: &str| {
                let bytes = fs::read(entry.path().join(name)).unwrap_or_default();
                String::from_utf8_lossy(&bytes).replace('\0', " ")
            };
            let line = text("cmdline");
            let cwd = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
            if line.contains(&mark) || cwd.starts_with(self.directory.path()) {
                found.push((pid, line));
            }
        }
        found
    }

    /// The process id of the agent or the proxy.
    pub fn pid_of(&self, role: &str) -> Option<u32> {
        self.pids_of(role).into_iter().next()
    }

    /// The process ids of all agents or proxies.
    pub fn pids_of(&self, role: &str) -> Vec<u32> {
        let mark = format!(" {role} run ");
        let all = self.processes().into_iter().filter(|(_, line)| line.contains(&mark));
        all.map(|(pid, _)| pid).collect()
    }

    /// The process id of the agent or the proxy of one of several servers on this machine.
    pub fn pid_on(&self, server: &str, role: &str) -> Option<u32> {
        let (mark, place) = (format!(" {role} run "), format!("/servers/{server}/"));
        let mut all = self.processes().into_iter();
        all.find(|(_, line)| line.contains(&mark) && line.contains(&place)).map(|(pid, _)| pid)
    }

    /// Ctrl-C for a process group.
    pub fn interrupt_group(pid: u32) {
        send_group(pid, Signal::INT);
    }

    /// Ctrl-C for one command, without what else is in its group.
    pub fn interrupt(pid: u32) {
        send(pid, Signal::INT);
    }

    /// Stops a process where it is, as if it hung.
    pub fn hang(pid: u32) {
        send(pid, Signal::STOP);
    }

    /// Lets one that was stopped go on.
    pub fn wake(pid: u32) {
        send(pid, Signal::CONT);
    }

    /// `kill -9`.
    pub fn kill(pid: u32) {
        send(pid, Signal::KILL);
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        // The agent first: it would start the others again.
        for role in ["agent", "proxy"] {
            self.pids_of(role).into_iter().for_each(Self::kill);
        }
        for (pid, _) in self.processes() {
            if pid == std::process::id() {
                continue;
            }
            send_group(pid, Signal::KILL);
            Self::kill(pid);
        }
    }
}

fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

fn send_group(pid: u32, signal: Signal) {
    if let Some(group) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, signal);
    }
}

fn home() -> PathBuf {
    std::env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from)
}

fn cargo_home() -> PathBuf {
    std::env::var_os("CARGO_HOME").map_or_else(|| home().join(".cargo"), PathBuf::from)
}

fn rustup_home() -> PathBuf {
    std::env::var_os("RUSTUP_HOME").map_or_else(|| home().join(".rustup"), PathBuf::from)
}

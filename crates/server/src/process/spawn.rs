//! Starting a process in a group of its own.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command};

use super::procfs::Identity;

/// The variables that a process gets from the agent's own environment.
const INHERITED: [&str; 12] = [
    "HOME",
    "LANG",
    "LOGNAME",
    "PATH",
    "SHELL",
    "TMPDIR",
    "TZ",
    "USER",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "XDG_CACHE_HOME",
    "XDG_RUNTIME_DIR",
];
/// Words at the beginning of a command line that belong to the shell itself, so that `exec` cannot
/// stand before them.
const SHELL_WORDS: [&str; 24] = [
    "!", ".", ":", "[", "alias", "case", "cd", "command", "echo", "eval", "exec", "exit", "export",
    "for", "if", "printf", "read", "set", "source", "test", "trap", "ulimit", "until", "while",
];

/// The environment that every process starts from.
pub fn inherited_environment() -> BTreeMap<String, OsString> {
    let all =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    all.filter(|(name, _)| INHERITED.contains(&name.as_str()) || name.starts_with("LC_")).collect()
}

/// What is started.
#[derive(Debug, Clone)]
pub enum Program {
    /// A command line for `sh`. A single command takes the place of the shell, so that signals
    /// reach it and its exit status is its own.
    Line(String),
    /// A program with its arguments.
    Direct(PathBuf, Vec<OsString>),
}

/// How a process is started.
#[derive(Debug)]
pub struct Spawn<'a> {
    /// What is started.
    pub program: &'a Program,
    /// Where.
    pub directory: &'a Path,
    /// Its whole environment.
    pub environment: &'a BTreeMap<String, OsString>,
    /// Where its output is appended. The file is given to it directly, so that it can go on
    /// printing when the agent is gone. Only the agent's user may read it: an app may print what
    /// others shall not see.
    pub log: &'a Path,
    /// Its standard input; nothing when none is given.
    pub stdin: Option<Stdio>,
    /// Its standard output, when that is not the log.
    pub stdout: Option<Stdio>,
}

/// A process that was started.
#[derive(Debug)]
pub struct Spawned {
    /// The process, which leads a group of its own.
    pub identity: Identity,
    /// Its handle, to learn how it ends.
    pub child: Child,
}

impl Spawn<'_> {
    /// Makes its log when it is not there. Where the journal has the lines, the file says that there
    /// are some.
    pub(crate) fn touch_log(&self) -> io::Result<File> {
        if let Some(parent) = self.log.parent() {
            fs::create_dir_all(parent)?;
        }
        File::options().create(true).append(true).mode(0o600).open(self.log)
    }

    /// Starts it.
    ///
    /// # Errors
    /// When the log cannot be opened or the program cannot be executed.
    pub fn start(self) -> io::Result<Spawned> {
        let log = self.touch_log()?;
        let mut command = command(self.program);
        command
            .current_dir(self.directory)
            .env_clear()
            .envs(self.environment)
            .stdin(self.stdin.unwrap_or_else(Stdio::null))
            .stdout(match self.stdout {
                Some(stdout) => stdout,
                None => log.try_clone()?.into(),
            })
            .stderr(log)
            .process_group(0)
            .kill_on_drop(false);
        let child = command.spawn()?;
        let pid = child.id().expect("a child that was not waited for has an id");
        // Our own child keeps its entry in `/proc` until we wait for it.
        let identity = Identity::of(pid).unwrap_or(Identity { pid, started: 0 });
        Ok(Spawned { identity, child })
    }
}

/// The program as a command that has neither directory nor environment yet.
pub fn command(program: &Program) -> Command {
    match program {
        Program::Line(line) => {
            let mut command = Command::new("/bin/sh");
            command.arg("-c").arg(with_exec(line));
            command
        }
        Program::Direct(path, arguments) => {
            let mut command = Command::new(path);
            command.args(arguments);
            command
        }
    }
}

/// Puts `exec` before a command line that is a single command.
pub fn with_exec(line: &str) -> String {
    let line = line.trim();
    let first = line.split_ascii_whitespace().next().unwrap_or_default();
    let is_list = line.contains([';', '&', '|', '\n', '(', ')', '{', '}', '`']);
    let is_assignment = first.contains('=');
    if is_list || is_assignment || first.is_empty() || SHELL_WORDS.contains(&first) {
        line.to_owned()
    } else {
        format!("exec {line}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_command_takes_the_place_of_the_shell() {
        assert_eq!(with_exec("node server.js --port $PORT"), "exec node server.js --port $PORT");
        for line in ["a && b", "A=1 b", "cd x; y", "exec x", "while true", "a | b", "echo hi", ""] {
            assert_eq!(with_exec(line), line);
        }
    }
}

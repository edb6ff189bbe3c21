//! Starting something of an app as a unit that exists only while it runs. Nothing is written below
//! `/etc`, and systemd does not have to read its units again.
//!
//! What it may do is said here once, for everything that apps run; [`confined`] is that list.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use onward_core::model::Limits;

use super::manager::{self, Manager, Refused};
use crate::process::{End, Identity, Program, signal_name, with_exec};

/// The variable that says where secrets are as files.
pub const SECRETS_VARIABLE: &str = "ONWARD_SECRETS_DIR";
/// Finds a program in the directory and with the `PATH` of the unit: its words follow.
const FINDS: [&str; 4] = ["/bin/sh", "-c", "exec \"$@\"", "sh"];
/// Variables of the agent's own user, in whose place systemd puts those of the app's user.
const OF_A_USER: [&str; 7] =
    ["HOME", "LOGNAME", "SHELL", "USER", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "TMPDIR"];

/// Something that is started as a unit.
#[derive(Debug)]
pub struct Unit<'a> {
    /// Its name, with `.service`.
    pub name: &'a str,
    /// What it is, for people.
    pub description: &'a str,
    /// What it counts to.
    pub slice: &'a str,
    /// The user that it runs as.
    pub user: &'a str,
    /// What is started.
    pub program: &'a Program,
    /// Where.
    pub directory: &'a Path,
    /// Its whole environment. Secrets may be in it: it is in no property and no argument.
    pub environment: &'a BTreeMap<String, OsString>,
    /// The only part of the server tree that it sees.
    pub tree: &'a Path,
    /// Where it may write, besides directories for passing files of its own.
    pub writable: &'a [PathBuf],
    /// How it ends when it is stopped.
    pub end: End,
    /// What it may use.
    pub limits: &'a Limits,
    /// What its lines in the journal begin with.
    pub identifier: &'a str,
    /// Fields that each line of its output gets in the journal.
    pub log: &'a [(&'static str, String)],
}

/// What nothing of an app may do. Not `RestrictSUIDSGID`: it takes `openat2` away, with which onward's
/// own server of files opens them beneath its root.
const CONFINED: [(&str, &str); 25] = [
    ("CapabilityBoundingSet", ""),
    ("KeyringMode", "private"),
    ("LockPersonality", "yes"),
    ("NoNewPrivileges", "yes"),
    ("PrivateDevices", "yes"),
    ("PrivateMounts", "yes"),
    ("PrivateTmp", "yes"),
    ("PrivateUsers", "yes"),
    ("ProtectClock", "yes"),
    ("ProtectControlGroups", "yes"),
    ("ProtectHome", "yes"),
    ("ProtectHostname", "yes"),
    ("ProtectKernelLogs", "yes"),
    ("ProtectKernelModules", "yes"),
    ("ProtectKernelTunables", "yes"),
    ("ProtectProc", "invisible"),
    ("ProtectSystem", "strict"),
    ("RemoveIPC", "yes"),
    // Programs ask by netlink which addresses the machine has.
    ("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6 AF_NETLINK"),
    ("RestrictNamespaces", "yes"),
    ("RestrictRealtime", "yes"),
    ("SystemCallArchitectures", "native"),
    ("SystemCallErrorNumber", "EPERM"),
    ("SystemCallFilter", "@system-service"),
    ("UMask", "0027"),
];

/// What nothing of an app may do, as properties of a unit. Memory may be written and executed, because
/// that is how most languages are made fast.
pub fn confined() -> impl Iterator<Item = (&'static str, &'static str)> {
    CONFINED.into_iter()
}

impl Unit<'_> {
    /// Starts it, and returns once its program runs. The unit stays when it has ended, with how it
    /// ended, until it is stopped.
    ///
    /// # Errors
    /// When it does not run; then nothing of it is left.
    pub fn start(&self, runtime: &Path) -> io::Result<Identity> {
        let variables = self.write_environment(runtime)?;
        let mut words = self.words(&variables)?;
        words.splice(0..0, ["--property=RemainAfterExit=yes".into()]);
        words.push("--".into());
        words.extend(self.command());
        let started = manager::run("systemd-run", &words);
        // It was read when the program was started, and nobody else needs it.
        let _ = fs::remove_file(&variables);
        started.map_err(|error| self.why(error))?;
        let shown = Manager.show(self.name).map_err(io::Error::other)?;
        // What has ended already is found by its unit.
        Ok(Identity::of(shown.main_pid).unwrap_or(Identity { pid: shown.main_pid, started: 0 }))
    }

    /// The words for `systemd-run` that start it as a child that has the caller's input and output.
    /// How it ended says its unit, which stays when that was no success. The second is the file of its environment, to be removed once
    /// it has started.
    ///
    /// # Errors
    /// When its environment cannot be written.
    pub fn attached(&self, runtime: &Path) -> io::Result<(Vec<OsString>, PathBuf)> {
        let variables = self.write_environment(runtime)?;
        let mut words: Vec<OsString> = vec!["--pipe".into(), "--wait".into()];
        words.extend(self.words(&variables)?);
        words.push("--".into());
        words.extend(self.command());
        Ok((words, variables))
    }

    fn words(&self, variables: &Path) -> io::Result<Vec<OsString>> {
        let mut words: Vec<OsString> = vec![
            "--quiet".into(),
            "--service-type=exec".into(),
            format!("--unit={}", self.name).into(),
            format!("--slice={}", self.slice).into(),
            format!("--description={}", self.description).into(),
        ];
        let mut property = |name: &str, value: &OsStr| {
            let mut word = OsString::from(format!("--property={name}="));
            word.push(value);
            words.push(word);
        };
        confined().for_each(|(name, value)| property(name, value.as_ref()));
        property("User", self.user.as_ref());
        property("WorkingDirectory", self.directory.as_os_str());
        property("EnvironmentFile", variables.as_os_str());
        property("KillMode", "control-group".as_ref());
        property("KillSignal", signal_name(self.end.signal.as_raw()).as_ref());
        let within = format!("{}ms", self.end.within.as_millis().max(1));
        property("TimeoutStopSec", within.as_ref());
        // Whoever prints much wants it read: the journal has its own limit of size.
        property("LogRateLimitIntervalSec", "0".as_ref());
        property("SyslogIdentifier", self.identifier.as_ref());
        for (name, value) in self.log {
            property("LogExtraFields", format!("{name}={value}").as_ref());
        }
        property("TemporaryFileSystem", join(":ro", [self.root()]).as_ref());
        property("BindReadOnlyPaths", join("", [self.tree, &self.root().join("bin")]).as_ref());
        for path in self.writable {
            property("BindPaths", path.as_os_str());
            property("ReadWritePaths", path.as_os_str());
        }
        for (name, path) in self.secrets()? {
            property("LoadCredential", format!("{name}:{}", path.display()).as_ref());
        }
        limits(self.limits).iter().for_each(|(name, value)| property(name, value.as_ref()));
        Ok(words)
    }

    /// The root of the server tree: four directories above that of the app.
    fn root(&self) -> &Path {
        self.tree.ancestors().nth(3).unwrap_or(Path::new("/"))
    }

    /// Its secrets that are files, with their names.
    fn secrets(&self) -> io::Result<Vec<(String, PathBuf)>> {
        let Some(directory) = self.environment.get(SECRETS_VARIABLE) else { return Ok(vec![]) };
        let entries = fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>()?;
        let named = entries.into_iter().map(|entry| {
            let name = entry.file_name().into_string();
            let name = name.map_err(|_| io::Error::other("the name of a secret is not text"))?;
            Ok((name, entry.path()))
        });
        named.collect()
    }

    /// The program with its arguments. systemd puts variables in the place of `$`, which is for the
    /// shell to do.
    fn command(&self) -> Vec<OsString> {
        let words: Vec<OsString> = match self.program {
            Program::Line(line) => vec!["/bin/sh".into(), "-c".into(), with_exec(line).into()],
            Program::Direct(path, arguments) => {
                let program = path.clone().into_os_string();
                // Otherwise systemd-run looks for it, with its own path and in its own directory.
                let shell = if path.is_absolute() { &[][..] } else { &FINDS[..] };
                let words = shell.iter().map(OsString::from).chain([program]);
                words.chain(arguments.iter().cloned()).collect()
            }
        };
        let mut words = words.into_iter();
        let program = words.next().into_iter();
        program.chain(words.map(|word| literal(&word))).collect()
    }

    /// Writes its environment where only root can read it, as systemd reads such files. What is not
    /// text cannot be a variable there; it is among the secrets, which are files.
    fn write_environment(&self, runtime: &Path) -> io::Result<PathBuf> {
        let directory = runtime.join("units");
        DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        let path = directory.join(format!("{}.env", self.name));
        let _ = fs::remove_file(&path);
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
        for (name, value) in self.environment {
            let value = match name.as_str() {
                SECRETS_VARIABLE => format!("/run/credentials/{}", self.name),
                own if OF_A_USER.contains(&own) => continue,
                _ => match value.to_str() {
                    Some(text) => text.to_owned(),
                    None => continue,
                },
            };
            writeln!(file, "{name}={}", environment_value(&value))?;
        }
        Ok(path)
    }

    /// Why it does not run, in words; what is left of it is removed.
    fn why(&self, error: Refused) -> io::Error {
        let shown = Manager.show(self.name).ok();
        Manager.forget(self.name);
        let step = shown.and_then(|shown| step(shown.status));
        match step {
            Some(step) => io::Error::other(step),
            None => io::Error::other(error),
        }
    }
}

/// What systemd was about to do when it gave up, by the status that it exits with then.
fn step(status: i32) -> Option<&'static str> {
    Some(match status {
        200 => "its directory cannot be entered by its user",
        203 => "its program cannot be executed",
        209 => "its output cannot be passed to the journal",
        216 | 217 => "its user cannot be used",
        226 => "the part of the machine that it may see cannot be made",
        228 => "the system calls that it may use cannot be limited",
        243 => "its secrets cannot be given to it",
        _ => return None,
    })
}

/// The limits of a process, as systemd has them.
fn limits(limits: &Limits) -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    if let Some(bytes) = limits.memory_bytes {
        all.push(("MemoryMax", bytes.to_string()));
        // What is swapped out is used all the same.
        all.push(("MemorySwapMax", "0".to_owned()));
    }
    all.extend(limits.cpu_percent.map(|percent| ("CPUQuota", format!("{percent}%"))));
    all.extend(limits.tasks.map(|tasks| ("TasksMax", tasks.to_string())));
    all
}

fn join<'a>(suffix: &str, paths: impl IntoIterator<Item = &'a Path>) -> OsString {
    let mut all = OsString::new();
    for path in paths {
        if !all.is_empty() {
            all.push(" ");
        }
        all.push(path);
        all.push(suffix);
    }
    all
}

/// An argument in which systemd expands nothing.
fn literal(word: &OsStr) -> OsString {
    let mut bytes = Vec::with_capacity(word.len());
    for byte in word.as_bytes() {
        bytes.push(*byte);
        if *byte == b'$' {
            bytes.push(b'$');
        }
    }
    std::os::unix::ffi::OsStringExt::from_vec(bytes)
}

/// A value of an environment file, quoted as a shell does.
pub fn environment_value(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        if matches!(character, '"' | '\\' | '$' | '`') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}

//! Putting agent and proxy on a machine, as often as one likes: what is right already is left.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use onward_core::model::ServerName;

use super::manager::{self, Manager, Refused, is_running_here};
use super::units::{self, AGENT, HTTP, HTTPS, PROXY_USER, RUNTIME, Setup, TMPFILES, UNITS};
use crate::build::Build;
use crate::client::Client;
use crate::layout::{Tree, agent_socket, managers_runtime};
use crate::managers;
use crate::process;
use crate::protocol::Hello;

/// The time that the agent has to answer after its start. It looks at everything that runs before.
const ANSWERS_WITHIN: Duration = Duration::from_secs(15);
/// How often it is tried.
const TRY_EVERY: Duration = Duration::from_millis(5);
/// The time that an agent has to say who it is, each time that it is asked.
const HELLO_WITHIN: Duration = Duration::from_secs(2);

/// What is put on the machine.
#[derive(Debug, Clone)]
pub struct Install {
    /// The server tree.
    pub root: PathBuf,
    /// The directory of the sockets of agent and proxies.
    pub runtime: PathBuf,
    /// The name of the server in documents.
    pub server: ServerName,
    /// The port of plain HTTP.
    pub http: u16,
    /// The port of TLS.
    pub https: u16,
}

/// Why the machine is not as it shall be. What was done stays, and the next call goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Only root may do this.
    #[error("only root can put the agent on a server; run it with sudo")]
    NotRoot,
    /// There is nobody who would keep the agent running.
    #[error(
        "systemd is not the first process of this machine; onward needs it on a server \
         (on this machine alone, use the provider `local`)"
    )]
    NoSystemd,
    /// The program must lie where the units look for it.
    #[error("{} leads to no onward; copy the program there before it is installed", .0.display())]
    NoProgram(PathBuf),
    /// Somebody else has a port.
    #[error("port {port} is used{by}; stop that, or give onward other ports, then try again")]
    PortTaken {
        /// The port.
        port: u16,
        /// By whom, with a space before it; empty when that cannot be seen.
        by: String,
    },
    /// The system refused.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was wanted, as a verb.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Another program refused.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The agent was started and does not answer.
    #[error("the agent was started and does not answer ({why}){}", said(.lines))]
    Silent {
        /// Why, as far as it is known.
        why: String,
        /// The last that it printed.
        lines: Vec<String>,
    },
}

impl Error {
    /// Whether nothing is broken, and a person has to decide something first.
    pub fn is_for_people(&self) -> bool {
        matches!(self, Self::PortTaken { .. })
    }
}

fn said(lines: &[String]) -> String {
    match lines {
        [] => String::new(),
        lines => format!("; it said: {}", lines.join("; ")),
    }
}

pub(super) fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { what, path, source }
}

/// Makes this machine have an agent of this build, and a proxy, that systemd keeps running; returns
/// who the agent is. When nothing is to be done, nothing is changed.
///
/// # Errors
/// See [`enum@Error`].
pub fn install(wanted: &Install) -> Result<Hello, Error> {
    require()?;
    let tree = Tree::new(&wanted.root);
    let build = program(&tree)?;
    users(&wanted.root)?;
    directories(wanted, &tree)?;
    let Install { root, runtime, server, http, https } = wanted;
    let setup = Setup { root, runtime, server, http: *http, https: *https };
    let changed = write_units(&setup)?;
    if changed.contains(&RUNTIME) || !managers_runtime(runtime).is_dir() {
        let file = format!("{TMPFILES}/{RUNTIME}");
        manager::run("systemd-tmpfiles", &["--create", &file])?;
    }
    let is_enabled = is_enabled();
    if !changed.is_empty() || !is_enabled {
        // This makes systemd read all units again as well.
        Manager.systemctl(&["enable", "--quiet", AGENT, HTTP, HTTPS])?;
    }
    let is_new = start(wanted, &changed)?;
    settle(wanted, &build, changed.contains(&AGENT) && !is_new)
}

pub(super) fn require() -> Result<(), Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    if is_running_here() { Ok(()) } else { Err(Error::NoSystemd) }
}

/// The build that the units start, which is this one.
fn program(tree: &Tree) -> Result<Build, Error> {
    let bin = tree.bin();
    let current = bin.join("current");
    let this = || Build::of_this(&bin).map_err(failed("read the program for", &bin));
    // The name of its copy says it.
    let build = Build::of_process(std::process::id()).map_or_else(this, Ok)?;
    if current.is_file() { Ok(build) } else { Err(Error::NoProgram(current)) }
}

/// Makes the user of the proxies, and the one as whom managers of other servers come in: that one
/// has a shell, which sshd needs to run the only command that its keys are for.
fn users(root: &Path) -> Result<(), Error> {
    let home = managers::home(root).display().to_string();
    for (name, home, shell) in [
        (PROXY_USER, "/nonexistent", "/usr/sbin/nologin"),
        (managers::USER, home.as_str(), "/bin/sh"),
    ] {
        if id_of("/etc/passwd", name).is_none() {
            // No password, and not locked: sshd may refuse an account that is.
            let words = ["--system", "--user-group", "--no-create-home", "--password", "*"];
            let place = ["--home-dir", home, "--shell", shell, name];
            manager::run("useradd", &[&words[..], &place].concat())?;
        }
    }
    Ok(())
}

/// The number of a user or group in a file like `/etc/passwd`.
pub(super) fn id_of(file: &str, name: &str) -> Option<u32> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let mut lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines.find(|fields| fields.first() == Some(&name))?.get(2)?.parse().ok()
}

/// Makes the directories that have to be there before anything starts.
fn directories(wanted: &Install, tree: &Tree) -> Result<(), Error> {
    let proxy = id_of("/etc/passwd", PROXY_USER);
    // Users of apps and the proxy come by here, and cannot look around.
    directory(&wanted.root, 0o711, None)?;
    directory(&tree.bin(), 0o755, None)?;
    directory(&tree.apps(), 0o711, None)?;
    let table = tree.proxy_table();
    directory(table.parent().unwrap_or(&wanted.root), 0o2770, proxy)
}

/// A directory of a user, root when none is given, and of the group of root.
fn directory(path: &Path, mode: u32, user: Option<u32>) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("create", path))?;
    let meta = fs::metadata(path).map_err(failed("read", path))?;
    let user = user.unwrap_or(0);
    if (meta.uid(), meta.gid()) != (user, 0) {
        chown(path, Some(user), Some(0)).map_err(failed("give away", path))?;
    }
    if meta.permissions().mode() & 0o7777 != mode {
        fs::set_permissions(path, Permissions::from_mode(mode))
            .map_err(failed("set the mode of", path))?;
    }
    Ok(())
}

/// Writes what differs; says what did.
fn write_units(setup: &Setup<'_>) -> Result<Vec<&'static str>, Error> {
    let mut changed = Vec::new();
    for file in units::files(setup) {
        let directory = Path::new(file.directory);
        let path = directory.join(file.name);
        if fs::read(&path).is_ok_and(|text| text == file.text.as_bytes()) {
            continue;
        }
        fs::create_dir_all(directory).map_err(failed("create", directory))?;
        // systemd may read it at any moment, and reads nothing that begins with a dot.
        let passing = directory.join(format!(".{}.new", file.name));
        fs::write(&passing, &file.text).map_err(failed("write", &passing))?;
        fs::set_permissions(&passing, Permissions::from_mode(0o644))
            .and_then(|()| fs::rename(&passing, &path))
            .map_err(failed("write", &path))?;
        changed.push(file.name);
    }
    Ok(changed)
}

fn is_enabled() -> bool {
    let wants = |target: &str, unit: &str| Path::new(UNITS).join(target).join(unit).exists();
    wants("multi-user.target.wants", AGENT)
        && [HTTP, HTTPS].iter().all(|unit| wants("sockets.target.wants", unit))
}

/// Opens the sockets and starts the agent, where they are not there; says whether it did. Sockets that
/// shall be others are opened anew, for which the proxies have to end.
fn start(wanted: &Install, changed: &[&str]) -> Result<bool, Error> {
    if [HTTP, HTTPS].iter().any(|unit| changed.contains(unit)) && Manager.are_active(&[HTTP]) {
        Manager.systemctl(&["stop", AGENT, "onward-proxy@*.service", HTTP, HTTPS])?;
    }
    if Manager.are_active(&[HTTP, HTTPS, AGENT]) {
        return Ok(false);
    }
    let is_new = !Manager.are_active(&[AGENT]);
    for (unit, port) in [(HTTP, wanted.http), (HTTPS, wanted.https)] {
        if !Manager.are_active(&[unit]) {
            require_free(port)?;
        }
    }
    Manager.systemctl(&["start", HTTP, HTTPS, AGENT]).map_err(|error| match error {
        Refused::Said { said, .. } => Error::Silent { why: said, lines: last_words() },
        other => other.into(),
    })?;
    Ok(is_new)
}

fn require_free(port: u16) -> Result<(), Error> {
    let Some(owner) = process::owner_of_port(port) else { return Ok(()) };
    let name = fs::read_to_string(format!("/proc/{}/comm", owner.pid)).unwrap_or_default();
    let by = format!(" by process {} ({})", owner.pid, name.trim());
    Err(Error::PortTaken { port, by })
}

/// Waits for an agent of this build. One of another build, or of an older unit, starts again; what it
/// looks after goes on.
fn settle(wanted: &Install, build: &Build, is_outdated: bool) -> Result<Hello, Error> {
    let socket = agent_socket(&wanted.runtime);
    let ask = || Client::connect(&socket)?.hello_within(HELLO_WITHIN);
    let is_ours = |hello: &Hello| hello.build == *build && hello.root == wanted.root;
    if let Ok(hello) = ask()
        && is_ours(&hello)
        && !is_outdated
    {
        return Ok(hello);
    }
    Manager.systemctl(&["restart", AGENT])?;
    let until = Instant::now() + ANSWERS_WITHIN;
    loop {
        let why = match ask() {
            Ok(hello) if is_ours(&hello) => return Ok(hello),
            Ok(hello) => format!("another one does: {} of {}", hello.build, hello.root.display()),
            Err(error) => error.to_string(),
        };
        if Instant::now() >= until {
            return Err(Error::Silent { why, lines: last_words() });
        }
        std::thread::sleep(TRY_EVERY);
    }
}

/// What the agent printed last.
fn last_words() -> Vec<String> {
    let words = ["--unit", AGENT, "--lines", "3", "--output", "cat", "--quiet", "--no-pager"];
    let text = manager::run("journalctl", &words).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

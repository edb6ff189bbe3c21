//! The project's place on this machine: `.onward`, its sockets, its agent.

use std::os::unix::ffi::OsStrExt;

use super::check::Check;
use super::system;
use crate::cli::context::Context;
use crate::cli::enrol;
use crate::cli::fleet;
use crate::providers::Server;
use crate::providers::local::{Contact, LocalServer};

/// Locks, links and renames of these reach other machines late or never.
const SHARED_FILE_SYSTEMS: [&str; 7] = ["nfs", "nfs4", "cifs", "smb3", "9p", "afs", "fuse.sshfs"];
/// The kernel's limit for the path of a socket, without its closing NUL.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Looks at the place.
pub fn checks(context: &Context) -> Vec<Check> {
    let root = context.local.root();
    let mut checks = Vec::new();
    checks.push(file_system(system::file_system(root).as_deref()));
    if root.exists() {
        let access = rustix::fs::access(root, rustix::fs::Access::WRITE_OK);
        if let Err(error) = access {
            checks.push(Check::broken(
                "place",
                format!("{} cannot be written: {error}", root.display()),
                "make it yours again: `sudo chown -R \"$USER\" .onward`; was onward run with sudo?",
            ));
        }
    }
    let stored = context.look().ok().flatten();
    let servers = fleet::servers(context, stored.as_ref().map(|stored| &*stored.document));
    let longest = servers.iter().filter_map(Server::local).map(LocalServer::agent_socket);
    let longest = longest.max_by_key(|path| path.as_os_str().len());
    if let Some(socket) = longest
        && socket.as_os_str().as_bytes().len() > SOCKET_PATH_BYTES_MAX
    {
        checks.push(Check::broken(
            "sockets",
            format!("{} is longer than a socket's path may be", socket.display()),
            "set XDG_RUNTIME_DIR to a shorter directory",
        ));
    }
    let serves = stored.is_some_and(|stored| stored.document.serving.is_some());
    for server in &servers {
        let is_told = servers.len() > 1 || server.ssh().is_some();
        let place = if is_told { format!("{}: ", server.name()) } else { String::new() };
        checks.extend(agent(server, serves).into_iter().map(|check| check.at(&place)));
    }
    checks
}

fn file_system(kind: Option<&str>) -> Check {
    match kind {
        Some(kind) if SHARED_FILE_SYSTEMS.contains(&kind) => Check::warning(
            "file system",
            format!("the project is on {kind}, which other machines share"),
            "run onward on one of them only, or move the project to a local disk",
        ),
        Some(kind) => Check::fine("file system", kind.to_owned()),
        None => Check::fine("file system", "unknown"),
    }
}

/// The agent of one server, and its proxy. `serves` tells whether anything shall run there.
fn agent(server: &Server, serves: bool) -> Vec<Check> {
    let hello = match server.contact() {
        Contact::Answers(_, hello) => hello,
        Contact::Absent | Contact::Ending => {
            let not_running = "not running; the next command starts it";
            return vec![match serves {
                false => Check::fine("agent", not_running),
                true => Check::warning(
                    "agent",
                    not_running,
                    "`onward status` starts it: until then nobody starts again what ends",
                ),
            }];
        }
        Contact::Foreign(error, _) => {
            let remedy = "install the version of onward that runs there, or a newer one";
            return vec![Check::broken("agent", error.to_string(), remedy)];
        }
        Contact::Silent { pid } => return vec![silent(server, pid)],
        Contact::Unreachable(error) => {
            let remedy = match server.ssh() {
                Some(server) => enrol::complaint(server, &error, true, false).hints.join("; "),
                None => "`ssh` to it has to work by hand, without asking anything".to_owned(),
            };
            return vec![Check::broken("server", format!("it {error}"), remedy)];
        }
    };
    let mut checks = vec![match hello.proxy_problem {
        // Its own address says nothing from here; whether people come through, `ports` tells.
        None if server.ssh().is_some() => {
            Check::fine("agent", format!("onward {}, its proxy answers", hello.onward))
        }
        None => {
            Check::fine("agent", format!("onward {}, answers at {}", hello.onward, hello.address))
        }
        Some(problem) => Check::broken(
            "proxy",
            format!("{} does not answer: {problem}", hello.address),
            "end the program that has the port (`ss -ltnp`), and `onward up` takes it again",
        ),
    }];
    checks.extend(version(&hello.onward, onward_server::build::VERSION));
    checks
}

/// An agent that hangs.
fn silent(server: &Server, pid: Option<i32>) -> Check {
    let log = server.local().map(LocalServer::agent_log);
    let remedy = match pid {
        Some(pid) => format!(
            "`kill -CONT {pid}` wakes one that was stopped, `kill -9 {pid}` ends one that hangs: \
             the next command starts another, apps and proxy go on"
        ),
        None => match log {
            Some(log) => format!("{} says what it does", log.display()),
            None => "`journalctl -u onward-agent` there says what it does".to_owned(),
        },
    };
    Check::broken("agent", "it runs and does not answer", remedy)
}

/// An agent of another version than this command.
fn version(running: &str, own: &str) -> Option<Check> {
    (running != own).then(|| {
        Check::warning(
            "version",
            format!("onward {running} runs there, and this command is {own}"),
            "a command that acts puts the newer one in its place; `onward agent upgrade` does only \
             that",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict;
    use super::*;

    #[test]
    fn another_version_warns() {
        assert_eq!(version("0.2.0", "0.1.0").map(|own| own.verdict), Some(Verdict::Warning));
        assert_eq!(version("0.1.0", "0.1.0"), None);
    }

    #[test]
    fn a_shared_file_system_warns() {
        assert_eq!(file_system(Some("nfs4")).verdict, Verdict::Warning);
        assert_eq!(file_system(Some("ext4")).verdict, Verdict::Fine);
    }
}

//! One proxy takes the place of another. All of this blocks.
//!
//! ```text
//! 1 the new one starts beside the old: socket proxy.next.sock, accepts nobody, knows the table
//! 2 it answers; until now the old one goes on whatever happens
//! 3 proxy.sock gets the second name proxy.PID.sock; proxy.next.sock is renamed to proxy.sock
//! 4 the new one accepts
//! 5 the old one leaves: accepts nobody, finishes what it has, tells the new one what it counted
//! ```
//! Between 4 and 5 both accept on the one listening socket. Whoever dies at any point, the next
//! agent finds from the sockets how far it came: a successor at 2 is ended, one at 3 accepts, an old
//! one at 4 is told to leave.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use onward_proxy::{Client, ClientError, Stage, Status, Why};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::process::{Pid, Signal, kill_process};

use super::note::note;
use crate::layout::{next_proxy_socket, old_proxy_pid, old_proxy_socket, proxy_socket};
use crate::process::{self, Identity};
use crate::systemd::{Manager, unit_of};

/// Puts the successor that answers at its passing socket in the place of the proxy `old`.
///
/// The caller lets nobody change the table meanwhile.
pub(super) fn promote(runtime: &Path, table_file: &Path, old: u32) -> Result<(), String> {
    let text = |error: ClientError| error.to_string();
    let (head, next) = (proxy_socket(runtime), next_proxy_socket(runtime));
    let mut successor = Client::connect(&next).map_err(text)?;
    let version = successor.status().map_err(text)?.version;
    let table = onward_proxy::load_table(table_file).map_err(|error| error.to_string())?;
    if let Some(table) = table.filter(|table| version != Some(table.version)) {
        // It was changed after the successor had read it.
        successor.set(&table).map_err(text)?;
    }
    let certificates =
        onward_proxy::load_certificates(&onward_proxy::certificates_file(table_file));
    if let Ok(Some(certificates)) = certificates {
        successor.certify(&certificates).map_err(text)?;
    }
    let aside = old_proxy_socket(runtime, old);
    let has_old =
        exchange(&head, &next, &aside).map_err(|error| format!("{}: {error}", head.display()))?;
    if let Err(error) = successor.accept() {
        if has_old {
            let _ = fs::rename(&aside, &head);
        }
        return Err(text(error));
    }
    if has_old {
        leave(runtime, old, &aside);
    }
    Ok(())
}

/// Puts the socket `next` in the place of `head`, which keeps the name `aside`; says whether there was
/// one. At every moment a proxy is found at `head`.
fn exchange(head: &Path, next: &Path, aside: &Path) -> io::Result<bool> {
    let _ = fs::remove_file(aside);
    match fs::hard_link(head, aside) {
        Ok(()) => fs::rename(next, head).map(|()| true),
        // The proxies are another user's: their sockets can be moved and get no second name.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            renameat_with(CWD, next, CWD, head, RenameFlags::EXCHANGE)?;
            fs::rename(next, aside).map(|()| true)
        }
        // An old one that has just died has no name to keep.
        Err(_) => fs::rename(next, head).map(|()| false),
    }
}

/// Tells a proxy that another one is in its place.
fn leave(runtime: &Path, pid: u32, socket: &Path) {
    let told = Client::connect(socket).and_then(|mut old| old.leave(&proxy_socket(runtime)));
    match told {
        // One that is too old to know how ends the only way that it knows.
        Err(error) if error.refusal() == Some(Why::Malformed) => terminate(pid),
        Err(error) => {
            note(format_args!("the proxy {pid} has not answered that it leaves: {error}"));
        }
        Ok(()) => {}
    }
}

fn terminate(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::TERM);
    }
}

/// The proxies that were replaced and still run, with their process ids. Sockets that nobody listens
/// at are removed.
pub(super) fn leaving(runtime: &Path) -> Vec<(u32, Client)> {
    let mut found = Vec::new();
    for (pid, socket) in sockets(runtime) {
        match Client::connect(&socket) {
            Ok(client) => found.push((pid, client)),
            Err(_) => drop(fs::remove_file(socket)),
        }
    }
    found
}

fn sockets(runtime: &Path) -> Vec<(u32, PathBuf)> {
    let entries = fs::read_dir(runtime).into_iter().flatten().flatten();
    let sockets =
        entries.filter_map(|entry| Some((old_proxy_pid(&entry.file_name())?, entry.path())));
    sockets.collect()
}

/// Finishes what an agent that died has begun: every proxy but the one that serves leaves.
pub(super) fn settle(runtime: &Path, serving: &Status) {
    for (pid, mut client) in leaving(runtime) {
        let socket = old_proxy_socket(runtime, pid);
        match client.status() {
            // It was about to be replaced, and is not.
            Ok(status) if status.pid == serving.pid => drop(fs::remove_file(socket)),
            Ok(status) if status.stage < Stage::Leaving => leave(runtime, pid, &socket),
            Ok(_) => {}
            Err(error) => note(format_args!("the proxy {pid} does not say how it is: {error}")),
        }
    }
}

/// Everything about the proxies of a tree as one.
///
/// What the old ones counted is told to the one that serves, and what they still have in flight is
/// added to what it says.
pub(super) fn status(runtime: &Path) -> Result<Status, ClientError> {
    let mut head = Client::connect(&proxy_socket(runtime))?;
    let mut old = Vec::new();
    each(runtime, |client| {
        let heritage = client.heritage()?;
        let status = client.status()?;
        head.inherit(&heritage.epoch, heritage.own)?;
        old.push(status);
        Ok(())
    });
    let mut status = head.status()?;
    old.retain(|own: &Status| own.pid != status.pid);
    for earlier in old {
        add_instances(&mut status, earlier);
    }
    Ok(status)
}

fn add_instances(status: &mut Status, earlier: Status) {
    status.connections += earlier.connections;
    status.held += earlier.held;
    for instance in earlier.instances {
        let mut known = status.instances.iter_mut();
        match known.find(|own| own.id == instance.id && own.addr == instance.addr) {
            Some(known) => {
                known.in_flight += instance.in_flight;
                known.upgraded += instance.upgraded;
            }
            None => status.instances.push(instance),
        }
    }
}

/// Does something with each old proxy. One that hangs would send requests to where nothing is any
/// more, and nobody could deploy: it is ended.
pub(super) fn each(runtime: &Path, mut what: impl FnMut(&mut Client) -> Result<(), ClientError>) {
    for (pid, mut client) in leaving(runtime) {
        if let Err(ClientError::Io(error)) = what(&mut client) {
            let is_silent = matches!(
                error.kind(),
                std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock
            );
            if let Some(identity) = Identity::of(pid).filter(|_| is_silent) {
                note(format_args!("the proxy {pid}, which was replaced, hangs and is ended"));
                kill(identity);
            }
        }
    }
}

/// Kills a proxy, which may be another user's.
fn kill(proxy: Identity) {
    match unit_of(proxy.pid).filter(|unit| unit.starts_with("onward-proxy@")) {
        Some(unit) => drop(Manager.systemctl(&["kill", "--signal=KILL", &unit])),
        None => process::kill_group(proxy),
    }
}

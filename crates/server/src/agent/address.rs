//! The address of a tree: its listening socket, taken over from the proxy that runs, or opened.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use onward_proxy::{Client, Stage, Status};
use serde::{Deserialize, Serialize};

use super::durable::{self, Survives};
use super::note::note;
use super::startup::Error;
use super::succession;
use crate::layout::{Tree, next_proxy_socket, proxy_socket};
use crate::process::{self, Identity};

/// The shape of `server.json`.
pub(super) const SCHEMA: u32 = 1;
/// The time that a proxy of an earlier agent has to answer before it is given up.
const STARTS_WITHIN: Duration = Duration::from_secs(2);
/// How often a starting proxy is tried.
const TRY_EVERY: Duration = Duration::from_millis(2);

/// What is kept of the server: `server.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Server {
    pub(super) schema: u32,
    /// The proxy's port.
    pub(super) port: u16,
    /// The proxy's port for those who come with TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) https_port: Option<u16>,
    /// The proxy's process when it was last started, and the system's start that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) proxy: Option<(String, Identity)>,
}

/// The address of a tree: its listening socket and who accepts on it.
pub(super) struct Address {
    pub(super) port: u16,
    pub(super) listener: Arc<TcpListener>,
    /// The port for those who come with TLS, chosen once; its socket, unless somebody else has it.
    pub(super) https_port: Option<u16>,
    pub(super) https: Option<(u16, Arc<TcpListener>)>,
    /// A proxy that runs already.
    pub(super) found: Option<Status>,
}

impl Address {
    fn plain(port: u16, listener: TcpListener, found: Option<Status>) -> Self {
        let listener = Arc::new(listener);
        Self { port, listener, https_port: None, https: None, found }
    }

    /// Takes the address over from the proxy that runs, or opens it. The port is chosen once.
    pub(super) fn take(tree: &Tree, runtime: &Path, boot: &str) -> Result<Self, Error> {
        let mut own = Self::take_plain(tree, runtime, boot)?;
        own.take_https(tree, runtime)?;
        Ok(own)
    }

    /// The second socket. Without it, those who come without TLS are served all the same.
    fn take_https(&mut self, tree: &Tree, runtime: &Path) -> Result<(), Error> {
        let file = tree.server_file();
        let server: Option<Server> = durable::read(&file)?;
        let known = server.as_ref().and_then(|own| own.https_port);
        let serving = Client::connect(&proxy_socket(runtime)).ok();
        let leaving = succession::leaving(runtime).into_iter().map(|(_, client)| client);
        let mut all = serving.into_iter().chain(leaving);
        let held = all.find_map(|mut client| client.https_listener().ok()).map(TcpListener::from);
        let port_of = |own: &TcpListener| own.local_addr().map(|address| address.port()).ok();
        let free = || process::free_port(&BTreeSet::from([self.port]));
        let Some(port) = held.as_ref().and_then(port_of).or(known).or_else(free) else {
            return Ok(());
        };
        self.https_port = Some(port);
        match held.map_or_else(|| bind(port), Ok) {
            Ok(listener) => self.https = Some((port, Arc::new(listener))),
            Err(error) => note(format_args!("nobody can come with TLS: port {port}: {error}")),
        }
        match server {
            Some(server) if known.is_none() => {
                let server = Server { https_port: Some(port), ..server };
                durable::write(&file, &server, Survives::PowerLoss).map_err(Error::from)
            }
            _ => Ok(()),
        }
    }

    fn take_plain(tree: &Tree, runtime: &Path, boot: &str) -> Result<Self, Error> {
        let file = tree.server_file();
        let server: Option<Server> = durable::read(&file)?;
        let recorded = server.as_ref().and_then(|own| own.proxy.clone());
        let recorded = recorded.filter(|own| own.0 == boot).map(|own| own.1);
        let found = adopt_patiently(&proxy_socket(runtime), recorded);
        end_unclaimed(runtime);
        if let Some((listener, found)) = found {
            succession::settle(runtime, &found);
            let port = listener.local_addr().map_or(0, |address| address.port());
            if server.is_none() {
                let server = Server { schema: SCHEMA, port, https_port: None, proxy: None };
                durable::write(&file, &server, Survives::PowerLoss)?;
            }
            return Ok(Self::plain(port, listener, Some(found)));
        }
        let leaving = succession::leaving(runtime);
        let is_leaving = |own: Identity| leaving.iter().any(|(pid, _)| *pid == own.pid);
        if let Some(silent) = recorded.filter(|own| !is_leaving(*own)) {
            // It does not answer, so nothing but a new one can.
            process::kill_group(silent);
        }
        // A proxy that finishes what it has still holds the socket.
        let held = leaving.into_iter().find_map(|(_, mut client)| client.listener().ok());
        if let Some((listener, server)) = held.map(TcpListener::from).zip(server.as_ref()) {
            return Ok(Self::plain(server.port, listener, None));
        }
        if let Some(server) = server {
            let listener = bind(server.port).map_err(|error| taken(server.port, &file, &error))?;
            return Ok(Self::plain(server.port, listener, None));
        }
        let port = process::free_port(&BTreeSet::new())
            .ok_or_else(|| Error::Address("no port of this machine is free".to_owned()))?;
        let listener = bind(port).map_err(|error| taken(port, &file, &error))?;
        let server = Server { schema: SCHEMA, port, https_port: None, proxy: None };
        durable::write(&file, &server, Survives::PowerLoss)?;
        Ok(Self::plain(port, listener, None))
    }
}

/// A proxy that is known to run may only just have been started: connections wait in the queue of
/// its socket, which would be lost with it.
fn adopt_patiently(control: &Path, known: Option<Identity>) -> Option<(TcpListener, Status)> {
    let until = std::time::Instant::now() + STARTS_WITHIN;
    loop {
        let adopted = adopt(control);
        let is_starting = known.is_some_and(process::is_running);
        if adopted.is_some() || !is_starting || std::time::Instant::now() >= until {
            return adopted;
        }
        std::thread::sleep(TRY_EVERY);
    }
}

/// The listening socket and the state of a proxy that runs. One that was to take over, and whose
/// agent died before it said so, takes over now.
fn adopt(control: &Path) -> Option<(TcpListener, Status)> {
    let mut client = Client::connect(control).ok()?;
    let mut status = client.status().ok().filter(|status| !status.stage.is_closing())?;
    if status.stage == Stage::Waiting {
        client.accept().ok()?;
        status = client.status().ok()?;
    }
    let listener: OwnedFd = client.listener().ok()?;
    Some((TcpListener::from(listener), status))
}

/// A successor that an agent started and did not put in its place before it died: it has never
/// accepted anybody, and another one will be started.
fn end_unclaimed(runtime: &Path) {
    let socket = next_proxy_socket(runtime);
    let status = Client::connect(&socket).and_then(|mut client| client.status());
    if let Some(identity) = status.ok().and_then(|status| Identity::of(status.pid)) {
        process::kill_group(identity);
    }
    let _ = std::fs::remove_file(socket);
}

/// The port may be about to be left by a proxy that was just killed.
fn bind(port: u16) -> std::io::Result<TcpListener> {
    let mut tries = 0;
    loop {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && tries < 50 => {
                tries += 1;
                std::thread::sleep(TRY_EVERY);
            }
            other => return other,
        }
    }
}

fn taken(port: u16, file: &Path, error: &std::io::Error) -> Error {
    let owner = process::owner_of_port(port).map_or_else(String::new, |owner| {
        let name = std::fs::read_to_string(format!("/proc/{}/comm", owner.pid)).unwrap_or_default();
        format!(" by process {} ({})", owner.pid, name.trim())
    });
    Error::Address(format!(
        "port {port}, the address of this project, is used{owner} ({error}); end that process, or \
         remove {} to get another port",
        file.display()
    ))
}

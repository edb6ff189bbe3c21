//! The servers behind SSH of an environment: one value each, so that a command has one connection to
//! each of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use onward_core::document::{self, Document};
use onward_core::model::ServerName;

use super::complaint::{self, Complaint};
use super::lab;
use super::problem::Problem;
use crate::project::{BALANCER, HostKey, MANAGER, Provider, Reach, Resolved, Servers, wishes};
use crate::providers::local::Local;
use crate::providers::nspawn::Lab;
use crate::providers::ssh::{Pins, SshError, SshServer};

/// The port at which the proxy of a server behind SSH answers.
const HTTP_PORT: u16 = 80;

/// The servers of an environment that are behind SSH.
#[derive(Debug)]
pub struct Ways {
    pins: Pins,
    servers: Mutex<BTreeMap<ServerName, SshServer>>,
    /// The server that keeps the documents.
    manager: Mutex<ServerName>,
    /// The servers, when they are made on this machine.
    lab: Option<Lab>,
    /// How the project file says that servers are reached.
    wished: BTreeMap<ServerName, Reach>,
    /// A manager that was not reached, and why.
    away: Mutex<Option<(ServerName, SshError)>>,
    /// Whether nobody waits for servers that do not answer.
    looks_only: AtomicBool,
    /// Servers of which the person says that nothing is to be looked for there.
    forgotten: Mutex<BTreeSet<ServerName>>,
}

impl Ways {
    /// Those that the project file names.
    ///
    /// # Errors
    /// When there is no place for what is known about host keys.
    pub fn of(resolved: &Resolved, local: &Local) -> Result<Self, Complaint> {
        let pins = Pins::of(&resolved.app, &resolved.environment)
            .map_err(|error| complaint::system("the directory of host keys".as_ref(), error))?;
        let lab = (resolved.provider == Provider::Nspawn).then(|| lab::of(resolved, local));
        let mut wished: BTreeMap<ServerName, Reach> = BTreeMap::new();
        let servers = match (&lab, &resolved.servers) {
            (Some(lab), _) => lab::servers(lab, &pins)?,
            (None, Servers::Named(named)) => {
                wished
                    .extend(named.iter().filter_map(|w| Some((w.name.clone(), w.reach.clone()?))));
                let server = |(name, reach): (&ServerName, &Reach)| {
                    let server = SshServer::new(name.clone(), reach.clone(), None, pins.clone());
                    (name.clone(), server)
                };
                wished.iter().map(server).collect()
            }
            (None, _) => return Err(Problem::Bug("servers behind SSH without names").into()),
        };
        Ok(Self {
            pins,
            servers: Mutex::new(servers),
            manager: Mutex::new(first(resolved)),
            lab,
            wished,
            away: Mutex::default(),
            looks_only: AtomicBool::new(false),
            forgotten: Mutex::default(),
        })
    }

    /// Adds those that only the document knows: they were taken out of the file, and are still
    /// there.
    pub fn learn(&self, document: &Document) {
        let mut servers = locked(&self.servers);
        let before = document.operation.as_ref().and_then(|operation| operation.before.as_ref());
        let leaving = before.into_iter().flat_map(|before| &before.servers);
        for (name, server) in document.servers.iter().chain(leaving) {
            let Some(reach) = &server.reach else { continue };
            servers.entry(name.clone()).or_insert_with(|| self.known(name, reach));
        }
    }

    fn known(&self, name: &ServerName, own: &document::Reach) -> SshServer {
        self.new_way(name, reach(own))
    }

    fn new_way(&self, name: &ServerName, reach: Reach) -> SshServer {
        let server = SshServer::new(name.clone(), reach, None, self.pins.clone());
        if self.looks_only.load(Ordering::Relaxed) {
            server.only_looks();
        }
        server
    }

    /// From now on servers that do not take a connection soon are not reached, and not waited for.
    pub(super) fn only_look(&self) {
        self.looks_only.store(true, Ordering::Relaxed);
        locked(&self.servers).values().for_each(SshServer::only_looks);
    }

    /// How the project file says that a server is reached.
    pub fn wished_reach(&self, name: &ServerName) -> Option<Reach> {
        self.wished.get(name).cloned()
    }

    /// From now on a server is reached so.
    pub fn put(&self, server: SshServer) {
        locked(&self.servers).insert(server.name().clone(), server);
    }

    /// What is known about host keys.
    pub fn pins(&self) -> &Pins {
        &self.pins
    }

    /// A server by its name.
    pub fn server(&self, name: &ServerName) -> SshServer {
        let mut servers = locked(&self.servers);
        let server = servers.entry(name.clone()).or_insert_with(|| {
            // Nobody knows where it is but, perhaps, the person's own configuration of `ssh`.
            let reach = Reach { address: name.to_string(), user: None, port: None, host_key: None };
            self.new_way(name, reach)
        });
        server.clone()
    }

    /// Begins to connect to every server, so that nobody waits for one after the other. Whoever needs
    /// one waits for its connection, and hears why there is none.
    pub fn warm_up(&self) {
        for server in locked(&self.servers).values() {
            let server = server.clone();
            thread::spawn(move || drop(server.connect()));
        }
    }

    /// The servers, when they are made on this machine.
    pub fn lab(&self) -> Option<&Lab> {
        self.lab.as_ref()
    }

    /// Remembers that a manager was not reached.
    pub(super) fn is_away(&self, manager: &ServerName, error: &SshError) {
        *locked(&self.away) = Some((manager.clone(), error.clone()));
    }

    /// Why the manager was not reached, when that was tried.
    pub fn why_away(&self) -> Option<SshError> {
        let (away, error) = locked(&self.away).clone()?;
        (away == *locked(&self.manager)).then_some(error)
    }

    /// On these servers, which left, nothing is to be looked for.
    pub(super) fn forget(&self, names: &[ServerName]) {
        locked(&self.forgotten).extend(names.iter().cloned());
    }

    /// Whether nothing is to be looked for there.
    pub(super) fn is_forgotten(&self, name: &ServerName) -> bool {
        locked(&self.forgotten).contains(name)
    }

    /// The server that keeps the documents.
    pub fn manager(&self) -> SshServer {
        let name = locked(&self.manager).clone();
        self.server(&name)
    }

    /// The documents are on another server than the project file says.
    pub(super) fn is_managed_by(&self, name: &ServerName) {
        locked(&self.manager).clone_from(name);
    }
}

/// The first server that manages; the first of all when none says so.
fn first(resolved: &Resolved) -> ServerName {
    let servers = wishes::servers(resolved);
    let manages = |(_, roles): &&(ServerName, _)| {
        let roles: &BTreeSet<onward_core::model::Role> = roles;
        roles.iter().any(|role| role.as_str() == MANAGER)
    };
    let found = servers.iter().find(manages).or_else(|| servers.first());
    found
        .map_or_else(|| BALANCER.parse().expect("a word is a legal name"), |(name, _)| name.clone())
}

/// How a server is reached, as the document has it.
pub fn reach(own: &document::Reach) -> Reach {
    Reach {
        address: own.host.clone(),
        user: own.user.clone(),
        port: own.port,
        host_key: HostKey::new(&own.host_key),
    }
}

/// A server as the document keeps it: where its proxy answers, and how its agent is reached.
pub fn in_document(server: &SshServer) -> Option<(String, document::Reach)> {
    let own = server.reach();
    let reach = document::Reach {
        host: own.address.clone(),
        user: own.user.clone(),
        port: own.port,
        host_key: server.pin()?,
    };
    let host = server.host();
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    Some((format!("{host}:{HTTP_PORT}"), reach))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! The ways from the manager to the servers of its environment, as the document knows them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use onward_core::document::{self, Document, Server};
use onward_core::model::{AppName, EnvironmentName, ServerName};
use onward_core::ports::Link;
use onward_core::secrets::PublicKey;
use onward_secret::Identity;
use onward_server::client::{AgentLink, OpenKey, socket};
use onward_server::layout::{Tree, agent_socket};
use onward_server::managers;
use onward_store::bundle::Store;

use super::Post;
use super::waiting::Door;
use crate::project::{HostKey, Reach};
use crate::providers::ssh::{Pins, SshLink, SshServer};
use crate::runner::Links;

/// Where sshd keeps the keys of this machine.
const HOST_KEYS: &str = "/etc/ssh";
/// The port of SSH when nobody says another.
const SSH_PORT: u16 = 22;

/// The servers of a document, and which of them this one is.
#[derive(Debug)]
pub(super) struct Ways {
    servers: BTreeMap<ServerName, Server>,
    /// The public halves of this machine's host keys, `KIND BASE64`.
    own_keys: Vec<String>,
}

impl Ways {
    pub(super) fn of(post: &Post, document: &Document) -> io::Result<Self> {
        let servers = servers(document);
        let ways = Self { servers, own_keys: host_keys(Path::new(HOST_KEYS))? };
        if ways.servers.values().any(|server| !ways.is_own(server)) {
            // `up` asks for it as well, when it introduces this server to the others.
            managers::key(&post.root)?;
        }
        Ok(ways)
    }

    /// Whether the document has these servers, each where it is here.
    pub(super) fn are_those_of(&self, document: &Document) -> bool {
        let place = |server: &Server| (server.address.clone(), server.reach.clone());
        let known = |(name, server): (&ServerName, &Server)| {
            self.servers.get(name).is_some_and(|own| place(own) == place(server))
        };
        servers(document).iter().all(known)
    }

    /// A server that shows a key of this machine is this machine, whatever it is called.
    fn is_own(&self, server: &Server) -> bool {
        server.reach.as_ref().is_none_or(|reach| self.own_keys.contains(&reach.host_key))
    }

    pub(super) fn links(&self, post: &Post) -> Links {
        let pins = pins(&post.runtime, &post.app, &post.environment);
        let open_key = open_key(post);
        let bundles = Store::open(post.root.join("bundles")).ok();
        let link = |(name, server): (&ServerName, &Server)| {
            let link: Arc<dyn Link + Send + Sync> = match &server.reach {
                Some(own) if !self.is_own(server) => {
                    let server = way(&post.root, name, &server.address, own, &pins);
                    Arc::new(
                        SshLink::new(server, Arc::clone(&open_key), bundles.clone()).of_several(),
                    )
                }
                _ => {
                    let way = socket(agent_socket(&post.runtime));
                    Arc::new(AgentLink::over(way).with_keys(Arc::clone(&open_key)))
                }
            };
            (name.clone(), link)
        };
        self.servers.iter().map(link).collect()
    }

    /// Where these servers are knocked at.
    pub(super) fn doors(&self, names: &[ServerName]) -> Vec<Door> {
        let door = |name| {
            let server = self.servers.get(name)?;
            let reach = reach(&server.address, server.reach.as_ref()?);
            Some((reach.address, reach.port.unwrap_or(SSH_PORT)))
        };
        names.iter().filter_map(door).collect()
    }
}

/// Every server that an order of the document may go to, those that are being taken out among them.
fn servers(document: &Document) -> BTreeMap<ServerName, Server> {
    let all = document.everywhere();
    all.filter_map(|name| Some((name.clone(), document.server(name)?.clone()))).collect()
}

/// How a manager reaches a server: where balancers do, because the host that the person's `ssh` knows
/// may be a name of their own configuration.
fn reach(address: &str, reach: &document::Reach) -> Reach {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    Reach {
        address: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
        user: Some(managers::USER.to_owned()),
        port: Some(reach.port.unwrap_or(SSH_PORT)),
        host_key: HostKey::new(&reach.host_key),
    }
}

/// The way from this server, a manager with its tree at `root`, to another one.
pub(super) fn way(
    root: &Path,
    name: &ServerName,
    address: &str,
    own: &document::Reach,
    pins: &Pins,
) -> SshServer {
    let identity = Some(managers::identity(root));
    SshServer::new(name.clone(), reach(address, own), identity, pins.clone())
}

/// Where the manager keeps the host keys that it holds servers to.
pub(super) fn pins(runtime: &Path, app: &AppName, environment: &EnvironmentName) -> Pins {
    Pins::in_directory(runtime.join("hosts").join(format!("{app}.{environment}")))
}

/// The key of the environment, when this server has it.
pub(super) fn open_key(post: &Post) -> OpenKey {
    let file = Tree::new(&post.root).app(&post.app, &post.environment).key_file();
    Arc::new(move |key: &PublicKey| {
        let text = zeroize::Zeroizing::new(fs::read_to_string(&file).ok()?);
        let all = Identity::read_all(&text).ok()?;
        all.into_iter().find(|own| own.public() == key)
    })
}

/// The public halves of a machine's host keys.
fn host_keys(directory: &Path) -> io::Result<Vec<String>> {
    let mut keys = Vec::new();
    for entry in fs::read_dir(directory)?.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if !(name.starts_with("ssh_host_") && name.ends_with(".pub")) {
            continue;
        }
        let text = fs::read_to_string(entry.path())?;
        let mut parts = text.split_ascii_whitespace();
        if let (Some(kind), Some(body)) = (parts.next(), parts.next()) {
            keys.push(format!("{kind} {body}"));
        }
    }
    Ok(keys)
}

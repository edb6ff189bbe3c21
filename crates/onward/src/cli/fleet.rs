//! The servers of an environment, as a command speaks to them: all at once, and each by itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use onward_core::document::{self, Document};
use onward_core::model::ServerName;
use onward_core::order::Order;
use onward_core::report::Report;
use onward_server::client::Client;

use super::address;
use super::complaint::Complaint;
use super::context::{Context, agent_complaint};
use super::enrol;
use super::exit::Exit;
use super::problem::Problem;
use super::secrets;
use super::ways;
use crate::project::{BALANCER, wishes};
use crate::providers::Server;
use crate::providers::local::{self, AgentError, Contact};
use crate::runner::Links;

/// The port of TLS on servers of their own.
const HTTPS_PORT: u16 = 443;

/// The address of a server that is alone: nobody has to find it.
const ALONE: &str = "127.0.0.1";

/// The servers that the document orders something, those that are being taken out among them;
/// without any, those of the project file.
pub fn servers(context: &Context, document: Option<&Document>) -> Vec<Server> {
    learn(context, document);
    let known: Vec<ServerName> =
        document.into_iter().flat_map(Document::everywhere).cloned().collect();
    let names = if known.is_empty() { wished_names(context) } else { known };
    names.iter().map(|name| context.server(name)).collect()
}

/// Keeps how servers are reached that only the document knows.
fn learn(context: &Context, document: Option<&Document>) {
    if let (Some(ways), Some(document)) = (context.ways(), document) {
        ways.learn(document);
    }
}

/// Every server that may have something of the environment, when no document says which.
pub fn known(context: &Context) -> Vec<Server> {
    let mut names = wished_names(context);
    names.extend(context.local.trees(
        context.app(),
        context.environment(),
        &context.resolved.default,
    ));
    names.sort();
    names.dedup();
    names.iter().map(|name| context.server(name)).collect()
}

/// The servers that the project file wishes.
pub fn wished(context: &Context) -> Vec<Server> {
    wished_names(context).iter().map(|name| context.server(name)).collect()
}

fn wished_names(context: &Context) -> Vec<ServerName> {
    wishes::servers(&context.resolved).into_iter().map(|(name, _)| name).collect()
}

/// The agents of the servers, started where none runs.
pub fn agents(servers: &[Server]) -> Vec<Result<Client, AgentError>> {
    on_each(servers, Server::agent)
}

/// Asks all agents of this machine at once who they are: so all that hang are waited for together, and only once.
pub fn greet(servers: &[Server]) {
    let local: Vec<Server> = servers.iter().filter(|own| own.local().is_some()).cloned().collect();
    on_each(&local, |server| drop(server.contact()));
}

/// Starts the agent of every server that the document has, and says in what state each was found:
/// nothing about one whose agent ran. One that does not start is an error when it is the only one.
pub fn wake(
    context: &Context,
    document: &Document,
) -> Result<BTreeMap<ServerName, String>, Complaint> {
    context.prepare()?;
    let servers = servers(context, Some(document));
    let ran = on_each(&servers, |server| !matches!(server.contact(), Contact::Absent));
    let agents = agents(&servers);
    let alone = servers.len() == 1;
    let mut found = BTreeMap::new();
    for ((server, ran), agent) in servers.iter().zip(ran).zip(agents) {
        let text = match agent {
            // Who reads sees the rest.
            Err(error) if alone && !matches!(error, AgentError::Silent { .. }) => {
                return Err(complaint(server, &error));
            }
            Err(error) => local::reason(&error),
            Ok(_) if ran || alone => continue,
            Ok(_) => "its agent was gone and is started again".to_owned(),
        };
        found.insert(server.name().clone(), text);
    }
    Ok(found)
}

/// The servers that the project file wishes, as the document has them: each with the address of its
/// proxy, which its agent says.
///
/// # Errors
/// When an agent cannot be started. A server that is left out and that the document knows is not
/// asked.
pub fn enrolled(
    context: &Context,
    document: Option<&Document>,
    without: &std::collections::BTreeSet<ServerName>,
) -> Result<BTreeMap<ServerName, document::Server>, Complaint> {
    context.prepare()?;
    let wished = wishes::servers(&context.resolved);
    let alone = wished.len() == 1;
    let left_out = |name: &ServerName| {
        let known = document.and_then(|document| document.server(name));
        known.filter(|_| without.contains(name))
    };
    let asked = wished.iter().filter(|(name, _)| left_out(name).is_none());
    let places: Vec<_> = asked.map(|(name, _)| context.server(name)).collect();
    let mut enrolled = BTreeMap::new();
    for (place, said) in places.iter().zip(on_each(&places, Server::hello)) {
        let address = match said {
            Ok(_) if place.ssh().is_some() => match place.ssh().and_then(ways::in_document) {
                Some((address, reach)) => (address, Some(reach)),
                None => return Err(Problem::Bug("a server was reached without its key").into()),
            },
            Ok(_) if alone => (ALONE.to_owned(), None),
            Ok(hello) => (hello.address.trim_start_matches("http://").to_owned(), None),
            Err(error) if alone => return Err(complaint(place, &error)),
            Err(error) => return Err(unreachable(place, &error)),
        };
        enrolled.insert(place.name().clone(), address);
    }
    let addresses = wished.into_iter().filter_map(|(name, roles)| {
        let known = left_out(&name).map(|known| (known.address.clone(), known.reach.clone()));
        let (address, reach) = known.or_else(|| enrolled.remove(&name))?;
        Some((name, document::Server { address, roles, reach }))
    });
    Ok(addresses.collect())
}

/// The servers that the project file wishes, without asking any of them: for a rehearsal.
pub fn imagined(context: &Context) -> BTreeMap<ServerName, document::Server> {
    let servers = wishes::servers(&context.resolved).into_iter();
    let alone = |roles| document::Server { address: ALONE.to_owned(), roles, reach: None };
    servers.map(|(name, roles)| (name, alone(roles))).collect()
}

/// The way to each server of the document, and to those that are about to join it. The agent of a
/// server that is alone is started here; of several, each when it is brought an order.
pub fn links(
    context: &Context,
    document: Option<&Document>,
    joining: &BTreeMap<ServerName, document::Server>,
) -> Result<Links, Complaint> {
    context.prepare()?;
    learn(context, document);
    let mut names: Vec<ServerName> = document
        .into_iter()
        .flat_map(Document::everywhere)
        .chain(joining.keys())
        .cloned()
        .collect();
    names.sort();
    names.dedup();
    if names.is_empty() {
        names = wished_names(context);
    }
    let servers: Vec<_> = names.iter().map(|name| context.server(name)).collect();
    if let [only @ Server::Local(_)] = &servers[..] {
        only.agent().map_err(|error| complaint(only, &error))?;
    }
    let link = |server: &Server| -> (ServerName, Arc<dyn onward_core::ports::Link + Send + Sync>) {
        let bundles = context.local.bundles().ok();
        let link = server.link(servers.len() > 1, secrets::open_key(context), bundles);
        (server.name().clone(), link)
    };
    Ok(servers.iter().map(link).collect())
}

/// What each server says itself; nothing of one whose agent does not run.
pub fn reports(
    context: &Context,
    document: Option<&Document>,
) -> BTreeMap<ServerName, Option<Report>> {
    let servers = servers(context, document);
    let reports = on_each(&servers, |server| report(context, server));
    servers.iter().map(|server| server.name().clone()).zip(reports).collect()
}

/// What one server says itself; nothing when its agent does not run.
pub fn report(context: &Context, server: &Server) -> Option<Report> {
    let mut agent = server.running_agent()?;
    Some(agent.report(context.app(), context.environment(), None, 0).ok()?.report)
}

/// Where people reach the environment: the proxy of its server, of several that of a balancer.
pub fn url(context: &Context) -> Option<String> {
    let stored = context.look().ok().flatten();
    url_of(context, stored.as_ref().map(|stored| &*stored.document))
}

/// The same as a document has it, without asking for the state.
pub fn url_of(context: &Context, document: Option<&Document>) -> Option<String> {
    let (proxy, https_port) =
        entries(context, document).iter().find_map(|server| match server {
            Server::Local(server) => {
                let hello = server.running_agent()?.hello().ok()?;
                Some((hello.address, hello.https_port))
            }
            Server::Ssh(_) if address::taken_by(context, document, server).is_some() => None,
            Server::Ssh(server) => {
                let address = &document?.server(server.name())?.address;
                Some((format!("http://{address}"), Some(HTTPS_PORT)))
            }
        })?;
    Some(address::of(context, document, &proxy, https_port))
}

/// The server that people reach first: the only one, of several the first balancer.
pub fn entry(context: &Context, document: Option<&Document>) -> Option<Server> {
    entries(context, document).into_iter().next()
}

/// The servers that people may reach first: the only one, of several the balancers.
pub fn entries(context: &Context, document: Option<&Document>) -> Vec<Server> {
    let servers = servers(context, document);
    let alone = servers.len() == 1;
    servers.into_iter().filter(|server| alone || balances(document, server)).collect()
}

/// A server by its name.
///
/// # Errors
/// When the environment has no such server.
pub fn named(
    context: &Context,
    document: Option<&Document>,
    name: &ServerName,
) -> Result<Server, Problem> {
    let servers = servers(context, document);
    if let Some(found) = servers.iter().find(|server| server.name() == name) {
        return Ok(found.clone());
    }
    let names: Vec<_> = servers.iter().map(Server::name).collect();
    Err(Problem::no_server(name, &names))
}

/// Whether a server's proxy sends requests to the other servers too.
pub fn balances(document: Option<&Document>, server: &Server) -> bool {
    has_role(document, server, BALANCER)
}

/// Whether a server has a role. One that the document does not know has every role.
pub fn has_role(document: Option<&Document>, server: &Server, role: &str) -> bool {
    let own = document.and_then(|document| document.server(server.name()));
    own.is_none_or(|own| own.roles.iter().any(|it| it.as_str() == role))
}

/// Ends the agents and proxies of servers of this environment that the document does not have any
/// more. A server that still has something is told that nothing shall be there, and ends later.
pub fn retire(context: &Context, document: &Document) {
    if context.ways().is_some() {
        return;
    }
    let trees =
        context.local.trees(context.app(), context.environment(), &context.resolved.default);
    let gone = trees.iter().filter(|name| document.server(name).is_none());
    for name in gone {
        let Some(agent) = context.server(name).running_agent() else { continue };
        if agent.shutdown().is_err() {
            let order = Order::nothing(document, name);
            let told = context.server(name).running_agent();
            // What cannot be told now is told by the next command.
            let _ = told.map(|mut agent| agent.deliver(&order, None, 0));
        }
    }
}

/// Does something with all servers at once.
pub fn on_each<S: Sync, T: Send>(servers: &[S], what: impl Fn(&S) -> T + Sync) -> Vec<T> {
    match servers {
        [only] => vec![what(only)],
        _ => thread::scope(|scope| {
            let what = &what;
            let each: Vec<_> =
                servers.iter().map(|server| scope.spawn(move || what(server))).collect();
            let joined = each.into_iter().map(thread::ScopedJoinHandle::join);
            joined.map(|done| done.expect("speaking to an agent does not panic")).collect()
        }),
    }
}

/// The complaint about an agent that does not start.
pub fn complaint(server: &Server, error: &AgentError) -> Complaint {
    match server {
        Server::Local(server) => {
            let whose = if *server.name() == local::server_name() {
                "this machine".to_owned()
            } else {
                format!("server {}", server.name())
            };
            agent_complaint(&whose, Some(&server.agent_log()), error)
        }
        Server::Ssh(server) => match error {
            AgentError::Ssh(error) if error.is_of_key() => {
                enrol::complaint(server, error, true, false)
            }
            _ => {
                let whose = format!("server {} ({})", server.name(), server.place());
                agent_complaint(&whose, None, error)
            }
        },
    }
}

/// The complaint about one of several servers that a deploy needs.
fn unreachable(server: &Server, error: &AgentError) -> Complaint {
    let name = server.name();
    let complaint = complaint(server, error);
    if let AgentError::Ssh(error) = error
        && error.is_of_key()
    {
        // Who may be somebody else is not passed by.
        return complaint;
    }
    let complaint = Complaint { exit: Exit::Refused, ..complaint }.nothing_changed();
    complaint.hint(format!(
        "`onward deploy --without {name}` goes on with the others; {name} catches up by itself when \
         it is back"
    ))
}

//! Servers that the project file does not name any more, and that may have the state: an edit may take the
//! old manager out and name another one at once. To begin anew would forget what is demanded, and every
//! generation of it.
//!
//! They are known from the copies on the other servers and from what this person saw last. What nothing
//! but that memory connects with the servers of the file may be another environment of the same name, so
//! it is never used, only told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use onward_core::document::{self, Document};
use onward_core::model::ServerName;
use onward_core::ports::StateStore;

use super::complaint::Complaint;
use super::context::Context;
use super::exit::Exit;
use super::fleet;
use super::known;
use super::stores;
use super::ways::{self, Ways};
use crate::project::wishes;
use crate::providers::ssh::SshServer;

/// Those that had something to do with the servers of the file: from now on commands know the way to
/// them.
pub fn related(context: &Context) -> Vec<SshServer> {
    let Some(ways) = context.ways() else { return Vec::new() };
    named_by(context, ways, &documents(context, ways))
}

fn named_by(context: &Context, ways: &Ways, documents: &[Document]) -> Vec<SshServer> {
    let mut found = BTreeMap::new();
    for document in documents {
        ways.learn(document);
        for (name, reach) in left(context, document) {
            found.entry(name.clone()).or_insert_with(|| {
                let server = SshServer::new(name, ways::reach(reach), None, ways.pins().clone());
                // A lab has its own way to each of its servers.
                if ways.lab().is_none() {
                    ways.put(server);
                }
            });
        }
    }
    found.keys().map(|name| ways.server(name)).collect()
}

/// What is known of the environment without its state, the newest first.
fn documents(context: &Context, ways: &Ways) -> Vec<Document> {
    let mut documents = copies(context);
    documents.extend(remembered(context, ways).filter(|own| shares(context, ways, own)));
    documents.sort_by_key(|own| std::cmp::Reverse(own.generation));
    documents
}

/// Refuses to begin anew while a server that the file does not name has the state, or may have it.
///
/// # Errors
/// Which server, and what to type.
pub fn must_not_be(context: &Context) -> Result<(), Complaint> {
    let Some(ways) = context.ways().filter(|_| context.resolved.store.is_none()) else {
        return Ok(());
    };
    let documents = documents(context, ways);
    for server in &named_by(context, ways, &documents) {
        if let Err(error) = server.connect() {
            return Err(out_of_reach(context, server, &error.to_string()));
        }
    }
    if let Some(server) = other_machine(context, ways, &documents) {
        return Err(is_another_machine(context, ways, &server));
    }
    let memory = remembered(context, ways).find(|own| !shares(context, ways, own));
    let Some(document) = memory else {
        return Ok(());
    };
    for (name, server) in &document.servers {
        let Some(reach) = server.reach.as_ref().filter(|_| !ways.is_forgotten(name)) else {
            continue;
        };
        let pins = ways.pins().of_gone();
        let server = SshServer::new(name.clone(), ways::reach(reach), None, pins);
        let had = match server.connect() {
            Ok(()) => state_of(context, &server).is_some_and(|own| !own.is_down()),
            Err(_) => document.serving.is_some(),
        };
        if had {
            return Err(unrelated(context, &document, &server));
        }
    }
    Ok(())
}

/// The old machine of a server for which the file has another one, when it has the state.
fn other_machine(context: &Context, ways: &Ways, documents: &[Document]) -> Option<SshServer> {
    if ways.lab().is_some() {
        return None;
    }
    let servers = documents.iter().flat_map(|own| &own.servers);
    let is_other = |name: &ServerName, key: &str| {
        let wished = ways.wished_reach(name).is_some() && !ways.is_forgotten(name);
        wished && ways.server(name).pin().is_some_and(|pin| pin != key)
    };
    let others = servers.filter_map(|(name, own)| {
        let reach = own.reach.as_ref().filter(|reach| is_other(name, &reach.host_key))?;
        let pins = ways.pins().of_gone();
        Some(SshServer::new(name.clone(), ways::reach(reach), None, pins))
    });
    others.into_iter().find(|own| own.connect().is_ok() && state_of(context, own).is_some())
}

/// The document of the environment that a server has.
fn state_of(context: &Context, server: &SshServer) -> Option<Arc<Document>> {
    let stored = stores::of_server(&context.resolved, server).read();
    stored.ok().flatten().map(|stored| stored.document)
}

/// The copies that the servers of the file have.
fn copies(context: &Context) -> Vec<Document> {
    let servers = fleet::wished(context);
    let copies = fleet::on_each(&servers, |server| {
        let mut agent = server.running_agent()?;
        agent.copy(context.app(), context.environment()).ok()?
    });
    copies.into_iter().flatten().collect()
}

/// What this person saw last. A lab is known from itself.
fn remembered(context: &Context, ways: &Ways) -> impl Iterator<Item = Document> + use<> {
    let known = known::any(context).filter(|_| ways.lab().is_none());
    known.map(|known| known.document).into_iter()
}

/// Whether a document has a server of the file.
fn shares(context: &Context, ways: &Ways, document: &Document) -> bool {
    let wished = wishes::servers(&context.resolved);
    wished.iter().any(|(name, _)| {
        let known = document.server(name).and_then(|own| own.reach.as_ref());
        known.is_some_and(|own| ways.server(name).pin().as_ref() == Some(&own.host_key))
    })
}

/// The servers of a document that the file does not name: those it has, those that are being taken out,
/// and those that have left.
fn left<'d>(context: &Context, document: &'d Document) -> Vec<(ServerName, &'d document::Reach)> {
    let wished: BTreeSet<ServerName> =
        wishes::servers(&context.resolved).into_iter().map(|(name, _)| name).collect();
    let is_forgotten = |name: &ServerName| context.ways().is_some_and(|own| own.is_forgotten(name));
    let before = document.operation.as_ref().and_then(|operation| operation.before.as_ref());
    let leaving = before.into_iter().flat_map(|before| &before.servers);
    let gone = document.gone.iter().map(|own| (&own.name, &own.server));
    let all = document.servers.iter().chain(leaving).chain(gone);
    let left = all.filter(|(name, _)| !wished.contains(*name) && !is_forgotten(name));
    left.filter_map(|(name, own)| Some((name.clone(), own.reach.as_ref()?))).collect()
}

fn out_of_reach(context: &Context, server: &SshServer, why: &str) -> Complaint {
    let (name, environment) = (server.name(), context.environment());
    let what = format!(
        "no server of onward.toml has the state of {environment}, and {name} ({}), which was one of \
         its servers, {why}",
        server.place()
    );
    Complaint::new(Exit::Refused, what)
        .fact("The state may be there: it would be taken along before the server is taken out")
        .fact("What serves goes on")
        .nothing_changed()
        .hint(format!("`onward up` takes it along once {name} is reached again"))
        .hint(format!(
            "is {name} lost for good? `onward state restore -y` brings the state back from the newest \
             copy on the servers"
        ))
        .hint(format!("`onward up --forget {name}` goes on without looking there"))
}

fn is_another_machine(context: &Context, ways: &Ways, old: &SshServer) -> Complaint {
    let (name, environment) = (old.name(), context.environment());
    let what = format!(
        "the state of {environment} is on {} as it was, {}; onward.toml has another machine for it, {}",
        name,
        old.place(),
        ways.server(name).place()
    );
    Complaint::new(Exit::Refused, what)
        .fact("To begin anew there would leave behind what is demanded, and its history")
        .nothing_changed()
        .hint(format!(
            "write {name} as it was, and the new machine as a server with another name and the role \
             `manager`; `onward up` takes the state along, then {name} can be taken out"
        ))
        .hint(format!("`onward up --forget {name}` goes on without looking there"))
}

fn unrelated(context: &Context, document: &Document, server: &SshServer) -> Complaint {
    let (name, environment) = (server.name(), context.environment());
    let forget: Vec<String> =
        document.servers.keys().map(|name| format!("--forget {name}")).collect();
    let (forget, place) = (forget.join(" "), server.place());
    let what = format!(
        "{environment} has a state with the server {name} ({place}), and onward.toml names none of \
         its servers"
    );
    Complaint::new(Exit::Refused, what)
        .fact("To begin anew on others would leave behind what is demanded, and its history")
        .nothing_changed()
        .hint(
            "name the old servers in onward.toml too, and `onward up`; then take them out, and \
             `onward up` takes the state along",
        )
        .hint(format!("`onward up {forget}` begins another environment on the new servers"))
}

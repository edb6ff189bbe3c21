//! The servers that a person means: by name, by role, or those that fit what is asked.

use std::collections::BTreeSet;

use onward_core::document::Document;
use onward_core::model::{ProcessName, Role, ServerName};
use onward_server::client::Client;

use super::args_where::Where;
use super::complaint::Complaint;
use super::context::Context;
use super::exit::Exit;
use super::fleet;
use super::problem::Problem;
use crate::project::MANAGER;
use crate::providers::Server;

/// The servers that were named; all when nothing was said.
///
/// # Errors
/// When the environment has no such server, or none with the role.
pub fn servers(
    context: &Context,
    document: Option<&Document>,
    place: &Where,
) -> Result<Vec<Server>, Complaint> {
    if let Some(name) = &place.server {
        return Ok(vec![fleet::named(context, document, name)?]);
    }
    let all = fleet::servers(context, document);
    let Some(role) = &place.on else { return Ok(all) };
    let found: Vec<_> =
        all.into_iter().filter(|own| fleet::has_role(document, own, role.as_str())).collect();
    if found.is_empty() { Err(no_role(document, role)) } else { Ok(found) }
}

fn no_role(document: Option<&Document>, role: &Role) -> Complaint {
    let servers = document.into_iter().flat_map(|document| document.servers.values());
    let roles: BTreeSet<&Role> = servers.flat_map(|server| &server.roles).collect();
    let roles: Vec<_> = roles.iter().map(ToString::to_string).collect();
    let complaint = Complaint::new(Exit::Usage, format!("no server has the role `{role}`"));
    let complaint = match roles.is_empty() {
        true => complaint.fact("The servers have no roles"),
        false => complaint.fact(format!("There are {}", roles.join(", "))),
    };
    complaint.hint("`onward status` shows the servers and their roles")
}

/// The agent of the server that runs a command of a person. Of those that were named it is the first
/// that answers; beside a process it is one that runs it, otherwise one that manages, else the first.
///
/// # Errors
/// When none of them answers.
pub fn of_commands(
    context: &Context,
    document: &Document,
    place: &Where,
    beside: Option<&ProcessName>,
) -> Result<(Server, Client), Complaint> {
    context.prepare()?;
    if let Some(name) = place.server.as_ref().filter(|own| document.server(own).is_none()) {
        let known: Vec<&ServerName> = document.servers.keys().collect();
        return Err(Problem::no_server(name, &known).into());
    }
    let servers = servers(context, Some(document), place)?;
    let fits = |server: &Server| match beside {
        Some(name) => runs(document, server, name),
        None => fleet::has_role(Some(document), server, MANAGER),
    };
    let (mut fit, rest): (Vec<_>, Vec<_>) = servers.into_iter().partition(fits);
    if fit.is_empty() {
        fit = rest;
    }
    let mut failed = None;
    for server in fit {
        match server.agent() {
            Ok(agent) => return Ok((server, agent)),
            Err(error) => {
                failed.get_or_insert_with(|| fleet::complaint(&server, &error));
            }
        }
    }
    Err(failed.unwrap_or_else(|| Problem::Bug("a release serves on no server").into()))
}

/// Whether a server runs a process of the release that serves.
fn runs(document: &Document, server: &Server, name: &ProcessName) -> bool {
    let serving = document.serving.and_then(|number| document.release(number));
    let process = serving.and_then(|release| release.config.processes.get(name));
    let own = document.server(server.name());
    process.zip(own).is_some_and(|(process, own)| process.runs_on(name, &own.roles))
}

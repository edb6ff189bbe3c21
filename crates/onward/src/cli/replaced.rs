//! New machines for servers whose old ones were given up: made, or found where the project file says,
//! before anybody speaks to them.
//!
//! ```text
//! replace ─► the old one leaves (one operation) ─► demand.replacing ─► the new one is there
//!                                        up ─────────────┘  ─► set up ─► it joins
//! ```

use onward_core::document::{Document, Replacing};
use onward_core::model::ServerName;
use serde_json::{Value, json};

use super::args::Global;
use super::complaint::Complaint;
use super::context::Context;
use super::enrol;
use super::exit::Exit;
use super::lab;
use super::screen::Screen;
use super::ways::{self, Ways};
use super::whereabouts;
use crate::project::wishes;
use crate::providers::nspawn::Lab;
use crate::providers::ssh::SshServer;

/// Sees to it that every server that is being replaced, and that the project file still wishes, is
/// reached as its new machine from now on.
///
/// # Errors
/// When a new machine cannot be made, is not there, or is the old one.
pub fn ready(context: &Context, global: &Global, screen: &Screen) -> Result<(), Complaint> {
    let Some(ways) = context.ways() else { return Ok(()) };
    if ways.lab().is_some_and(|lab| !runs(lab, ways.manager().name())) {
        return Ok(());
    }
    // Without a manager nothing is known to be replaced; who needs it says why it is not there.
    if ways.manager().connect().is_err() {
        return Ok(());
    }
    whereabouts::find(context)?;
    let Some(stored) = context.look()? else { return Ok(()) };
    let wished = wishes::servers(&context.resolved);
    for (name, replacing) in &stored.document.demand.replacing {
        if wished.iter().any(|(own, _)| own == name) {
            machine(context, ways, name, replacing, global, screen)?;
        }
    }
    Ok(())
}

fn runs(lab: &Lab, name: &ServerName) -> bool {
    let made = lab.state().unwrap_or_default();
    made.iter().any(|own| own.name == *name && own.is_running)
}

/// The new machine of one server, which is reached from now on.
pub fn machine(
    context: &Context,
    ways: &Ways,
    name: &ServerName,
    replacing: &Replacing,
    global: &Global,
    screen: &Screen,
) -> Result<(), Complaint> {
    match ways.lab() {
        Some(lab) => fresh(context, ways, lab, name, replacing, screen),
        None => found(ways, name, replacing, global, screen),
    }
}

/// A server of a lab gets an empty disk and a new host key; what is left of the old one is removed.
fn fresh(
    context: &Context,
    ways: &Ways,
    lab: &Lab,
    name: &ServerName,
    replacing: &Replacing,
    screen: &Screen,
) -> Result<(), Complaint> {
    let old = replacing.old.reach.as_ref().map(|reach| reach.host_key.as_str());
    lab::discard(lab, name, old)?;
    lab::up(lab, &context.resolved, ways, screen)
}

/// A machine that somebody has: where the project file says, and not the old one.
fn found(
    ways: &Ways,
    name: &ServerName,
    replacing: &Replacing,
    global: &Global,
    screen: &Screen,
) -> Result<(), Complaint> {
    let found = candidate(ways, name, &replacing.old, global, screen)?;
    let reach = ways.wished_reach(name).unwrap_or_else(|| ways.server(name).reach());
    let server = SshServer::new(name.clone(), reach, None, ways.pins().clone());
    if let Some(key) = found.and_then(|found| found.pin()) {
        server.confirm(&key).map_err(|error| not_kept(name, &error))?;
    }
    ways.put(server);
    Ok(())
}

fn not_kept(name: &ServerName, error: &std::io::Error) -> Complaint {
    Complaint::new(Exit::Failed, format!("the host key of {name} cannot be kept: {error}"))
}

/// The machine that the project file has for a server whose machine is given up, with onward on it and
/// its host key confirmed as that of any new server; none when it is known already.
///
/// # Errors
/// When it cannot be reached, nobody confirms its key, or it is the old machine.
pub fn candidate(
    ways: &Ways,
    name: &ServerName,
    old: &onward_core::document::Server,
    global: &Global,
    screen: &Screen,
) -> Result<Option<SshServer>, Complaint> {
    let old_key = old.reach.as_ref().map(|reach| reach.host_key.clone());
    let known = ways.server(name);
    let wished = ways.wished_reach(name).unwrap_or_else(|| known.reach());
    let is_same = |key: Option<String>| key.is_some() && key == old_key;
    if wished.host_key.as_ref().is_some_and(|key| is_same(Some(key.as_str().to_owned()))) {
        return Err(same_machine(name));
    }
    let is_pinned = ways.pins().get(name).is_some_and(|pin| Some(pin) != old_key);
    if wished.host_key.is_none() && is_pinned {
        // Somebody confirmed it before.
        return Ok(None);
    }
    let candidate = SshServer::new(name.clone(), wished, None, ways.pins().of_new());
    enrol::reach_one(&candidate, global, screen)?;
    if is_same(candidate.pin()) {
        return Err(same_machine(name));
    }
    Ok(Some(candidate))
}

fn same_machine(name: &ServerName) -> Complaint {
    let what = format!("{name} is still the machine that is to be given up");
    Complaint::new(Exit::Refused, what)
        .fact("onward.toml names it, or it shows the same host key")
        .nothing_changed()
        .hint(format!(
            "write the `address` of the new machine, or its `host_key` when the old one was set up \
             anew, to {name} in onward.toml; then `onward replace {name}`"
        ))
}

/// How a server is reached that leaves: as the document has it, whatever the file says by now.
pub fn as_old(ways: &Ways, name: &ServerName, document: &Document) -> SshServer {
    let reach = document.server(name).and_then(|own| own.reach.as_ref());
    if let (None, Some(reach)) = (ways.lab(), reach) {
        let reach = ways::reach(reach);
        ways.put(SshServer::new(name.clone(), reach, None, ways.pins().of_gone()));
    }
    ways.server(name)
}

/// What `plan` and `status` tell, a line for each server that is being replaced.
pub fn lines(document: &Document) -> Vec<String> {
    let line = |(name, own): (&ServerName, &Replacing)| {
        format!(
            "server {name} is being replaced, by {}: `onward replace {name}` or `onward up` brings \
             its new machine in",
            own.by
        )
    };
    document.demand.replacing.iter().map(line).collect()
}

/// The same for programs.
pub fn json(document: &Document) -> Vec<Value> {
    let one = |(name, own): (&ServerName, &Replacing)| json!({"what": "replace", "server": name, "by": own.by, "at": own.at});
    document.demand.replacing.iter().map(one).collect()
}

//! On which server the state of an environment is, when that is not the one of the project file, and
//! how it comes to the one that shall have it.
//!
//! Where the state was, a sign says where it went; a server whose machine was replaced has no sign,
//! and then the others are asked. At no moment two servers have a document that can be written: see
//! [`onward_store::state::transfer`].

use std::collections::BTreeSet;
use std::thread;

use onward_core::document::Document;
use onward_core::model::{Generation, Role, ServerName};
use onward_core::ports::{StateStore, StoreError};
use onward_store::state::{Address, Sign, Transfer, transfer};
use serde_json::json;

use super::complaint::Complaint;
use super::context::Context;
use super::left;
use super::managers;
use super::place_problem::PlaceProblem;
use super::screen::Screen;
use super::stores;
use crate::project::{MANAGER, wishes};
use crate::providers::ssh::SshServer;

/// How many signs are followed: more than anybody moves a state before the first sign is renewed.
const SIGNS_MAX: usize = 16;

/// Finds the server that keeps the documents; from then on it is the one that is asked. Nothing is
/// changed but a move that was interrupted at its last step, which is finished.
///
/// # Errors
/// When that step cannot be finished.
pub fn find(context: &Context) -> Result<(), Complaint> {
    if context.ways().is_none() || context.resolved.store.is_some() {
        return Ok(());
    }
    for _ in 0..SIGNS_MAX {
        let sign = match context.look() {
            Ok(Some(_)) => return Ok(()),
            Ok(None) => {
                is_anywhere(context);
                return Ok(());
            }
            Err(StoreError::Moved { to, .. }) => to,
            Err(StoreError::Arriving { from, .. }) => arriving(context, &from)?,
            // Whoever reads it next says what is wrong with it.
            Err(_) => return Ok(()),
        };
        match Address::new(sign).server() {
            Some(name) => {
                learn(context, &name);
                context.is_managed_by(&name);
            }
            None => return Ok(()),
        }
    }
    Ok(())
}

/// Whether any server but the one of the project file has the state: that one is asked from now on.
pub fn is_anywhere(context: &Context) -> bool {
    let found = elsewhere(context, &others(context), |_, _| true);
    // The file may not name the one that has it any more.
    let found = found.or_else(|| elsewhere(context, &left::related(context), |_, _| true));
    if let Some(name) = &found {
        context.is_managed_by(name);
    }
    found.is_some()
}

/// The state is on its way here. Until it is gone where it comes from, it is there; when it is, nobody
/// but us has it.
fn arriving(context: &Context, from: &str) -> Result<String, Complaint> {
    let (origin, here) = (Address::new(from), context.store());
    let (Some(ways), Some(name)) = (context.ways(), origin.server()) else {
        return Ok(from.to_owned());
    };
    learn(context, &name);
    let there = stores::of_server(&context.resolved, &ways.server(&name));
    match there.sign()? {
        Some(Sign::Moved { to, .. }) if to == here.address() => {
            transfer(&there, &here).map_err(PlaceProblem::from)?;
            Ok(here.address().to_string())
        }
        _ => Ok(from.to_owned()),
    }
}

/// A sign may name a server that the project file does not name any more.
fn learn(context: &Context, name: &ServerName) {
    if !wishes::servers(&context.resolved).iter().any(|(own, _)| own == name) {
        left::related(context);
    }
}

/// The servers of the project file besides the one that is asked.
fn others(context: &Context) -> Vec<SshServer> {
    let Some(ways) = context.ways() else { return Vec::new() };
    let manager = ways.manager();
    let wished = wishes::servers(&context.resolved).into_iter().map(|(name, _)| name);
    let others = wished.filter(|name| name != manager.name());
    others.map(|name| ways.server(&name)).collect()
}

/// The one of these servers that has a document, when `is_it` says so of it. Of several, which there are
/// only after a state was restored, the one that is furthest.
fn elsewhere(
    context: &Context,
    others: &[SshServer],
    is_it: impl Fn(&ServerName, &Document) -> bool + Sync,
) -> Option<ServerName> {
    let one = |server: &SshServer| -> Option<Generation> {
        server.connect().ok()?;
        let stored = stores::of_server(&context.resolved, server).read().ok()??;
        is_it(server.name(), &stored.document).then_some(stored.document.generation)
    };
    let found: Vec<Option<Generation>> = thread::scope(|scope| {
        let one = &one;
        let each: Vec<_> = others.iter().map(|server| scope.spawn(move || one(server))).collect();
        each.into_iter().map(|own| own.join().expect("asking does not panic")).collect()
    });
    let found = found.into_iter().zip(others).filter_map(|(own, server)| Some((own?, server)));
    found.max_by_key(|(generation, _)| *generation).map(|(_, server)| server.name().clone())
}

/// Whether the state is on another server, to which somebody moved it, while the one of the project
/// file cannot be reached. That one is asked from now on.
pub fn is_on_another(context: &Context) -> bool {
    if context.resolved.store.is_some() {
        return false;
    }
    let is_there = |name: &ServerName, document: &Document| {
        let moved = document.demand.moved.iter().find(|(role, _)| role.as_str() == MANAGER);
        moved.is_some_and(|(_, moved)| moved.servers.contains(name))
    };
    let found = elsewhere(context, &others(context), is_there);
    found.is_some_and(|name| {
        context.is_managed_by(&name);
        true
    })
}

/// Takes the state to the server that shall keep it, when that is another one and nothing is in
/// flight. The same again goes on where it stopped.
///
/// # Errors
/// When it cannot be taken there; it is where it was then, or the same command finishes it.
pub fn settle(context: &Context, screen: &Screen) -> Result<(), Complaint> {
    let Some(ways) = context.ways().filter(|_| context.resolved.store.is_none()) else {
        return Ok(());
    };
    let Some(stored) = context.look()? else { return Ok(()) };
    let Some(target) = target(context, &stored.document, ways.manager().name()) else {
        return Ok(());
    };
    if stored.document.operation.is_some() {
        return Ok(());
    }
    let (from, new) = (context.store(), ways.server(&target));
    let to = stores::of_server(&context.resolved, &new);
    match transfer(&from, &to).map_err(PlaceProblem::from)? {
        Transfer::Already(_) => {}
        Transfer::Moved { generation, .. } => {
            screen.event(&json!({
                "event": "state_moved", "from": ways.manager().name(), "to": target,
                "generation": generation,
            }));
            screen.note(&format!(
                "  the state is on {target} now, at generation {generation}; {} says so to whoever \
                 asks there",
                ways.manager().name()
            ));
        }
    }
    context.is_managed_by(&target);
    managers::introduce(context, &[], screen);
    Ok(())
}

/// The server that shall keep the state; none when the one that has it may keep it.
fn target(context: &Context, document: &Document, now: &ServerName) -> Option<ServerName> {
    let has_role = |roles: &BTreeSet<Role>| roles.iter().any(|role| role.as_str() == MANAGER);
    let mut managers = Vec::new();
    for (name, mut roles) in wishes::servers(&context.resolved) {
        document.demand.move_roles(&name, &mut roles);
        if has_role(&roles) && document.servers.contains_key(&name) {
            managers.push(name);
        }
    }
    let stays = managers.contains(now);
    managers.into_iter().next().filter(|_| !stays)
}

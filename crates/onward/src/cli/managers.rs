//! The manager of an environment is let in by its other servers, so that it can carry on what a
//! command left.

use std::thread;

use onward_core::machine::AuthorizedKey;
use onward_core::model::ServerName;
use onward_server::client::ClientError;

use super::context::Context;
use super::screen::Screen;
use super::ways::Ways;
use crate::project::wishes;
use crate::providers::ssh::{AgentSilence, SshServer};

/// Brings the manager's key to all other servers that the project file wishes but these. What cannot
/// be done now is said, and done by the next `up`: only what is left in the middle waits for it.
pub fn introduce(context: &Context, without: &[ServerName], screen: &Screen) {
    let Some(ways) = context.ways() else { return };
    let manager = ways.manager();
    let others = others(context, ways, without);
    if others.is_empty() {
        return;
    }
    let keys = manager.known_agent().map_err(AgentSilence::into_client_error);
    let key = match keys.and_then(|(mut agent, _)| agent.manager_key()) {
        Ok(key) => key,
        Err(error) => return tell(&manager, &error, screen),
    };
    for (server, error) in admit(context, &others, std::slice::from_ref(&key)) {
        tell(server, &error, screen);
    }
}

/// Lets a server into another one, beside the manager, until the manager is introduced again.
///
/// # Errors
/// When one of them cannot be asked.
pub fn let_in(context: &Context, who: &SshServer, to: &SshServer) -> Result<(), ClientError> {
    let Some(ways) = context.ways() else { return Ok(()) };
    let manager = ways.manager();
    let key = |server: &SshServer| {
        let (mut agent, _) = server.agent().map_err(AgentSilence::into_client_error)?;
        agent.manager_key()
    };
    let mut keys = vec![key(&manager)?];
    if who.name() != manager.name() {
        keys.push(key(who)?);
    }
    let (mut agent, _) = to.agent().map_err(AgentSilence::into_client_error)?;
    agent.admit(context.app(), context.environment(), keys)
}

/// Takes the manager's key from all other servers: nothing is left there.
pub fn dismiss(context: &Context) {
    if let Some(ways) = context.ways() {
        // One that cannot be reached lets somebody in who has nothing to say any more.
        drop(admit(context, &others(context, ways, &[]), &[]));
    }
}

fn others(context: &Context, ways: &Ways, without: &[ServerName]) -> Vec<SshServer> {
    let manager = ways.manager();
    let wished = wishes::servers(&context.resolved).into_iter().map(|(name, _)| name);
    let others = wished.filter(|name| name != manager.name() && !without.contains(name));
    others.map(|name| ways.server(&name)).collect()
}

fn admit<'a>(
    context: &Context,
    servers: &'a [SshServer],
    keys: &[AuthorizedKey],
) -> Vec<(&'a SshServer, ClientError)> {
    let one = |server: &SshServer| {
        let (mut agent, _) = server.known_agent().map_err(AgentSilence::into_client_error)?;
        agent.admit(context.app(), context.environment(), keys.to_vec())
    };
    thread::scope(|scope| {
        let one = &one;
        let each: Vec<_> = servers.iter().map(|server| scope.spawn(move || one(server))).collect();
        let joined = each.into_iter().map(|own| own.join().expect("asking does not panic"));
        let results = servers.iter().zip(joined);
        results.filter_map(|(server, result)| Some((server, result.err()?))).collect()
    })
}

fn tell(server: &SshServer, error: &ClientError, screen: &Screen) {
    screen.warn(&format!(
        "{}: the manager cannot carry on there what a command leaves: {error}",
        server.name()
    ));
}

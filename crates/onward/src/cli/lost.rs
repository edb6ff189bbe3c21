//! A manager without a document, in an environment whose servers have followed one: its disk is a new
//! one. To begin anew would be refused by every server, and would forget what is demanded.

use onward_core::model::{Generation, ServerName};

use super::complaint::Complaint;
use super::context::Context;
use super::exit::Exit;
use super::fleet;
use super::left;
use crate::providers::Server;

/// Refuses to begin anew where servers have followed a document that is not there any more. Nobody is
/// asked when it is there.
///
/// # Errors
/// Which server has followed which generation, and what brings the document back.
pub fn must_not_be(context: &Context) -> Result<(), Complaint> {
    if context.ways().is_none() || context.is_waiting() || context.look()?.is_some() {
        return Ok(());
    }
    is_first(context)
}

/// The same where nobody could be asked for a document, because onward is not there.
///
/// # Errors
/// As [`must_not_be`].
pub fn is_first(context: &Context) -> Result<(), Complaint> {
    left::must_not_be(context)?;
    followed_by_any(context).map_or(Ok(()), Err)
}

/// What is said instead of a refusal for want of a document, when it is not the first one that is
/// missing.
pub fn instead(context: &Context, refused: Complaint) -> Complaint {
    let is_missing = refused.exit == Exit::Refused
        && context.ways().is_some()
        && !context.is_waiting()
        && matches!(context.look(), Ok(None));
    if is_missing { followed_by_any(context).unwrap_or(refused) } else { refused }
}

/// The complaint, when a server has followed a document.
fn followed_by_any(context: &Context) -> Option<Complaint> {
    let servers = fleet::wished(context);
    let followed = fleet::on_each(&servers, |own| followed(context, own));
    let highest = servers.iter().map(Server::name).zip(followed);
    let highest = highest.filter_map(|(name, own)| Some((own?, name))).max();
    highest.map(|(generation, name)| is_lost(context, name, generation))
}

/// What a server has followed and still runs or keeps; none when it has nothing, or cannot be asked.
fn followed(context: &Context, server: &Server) -> Option<Generation> {
    let report = fleet::report(context, server)?;
    (report.accepted > Generation::default() && !report.releases.is_empty())
        .then_some(report.accepted)
}

fn is_lost(context: &Context, server: &ServerName, generation: Generation) -> Complaint {
    let environment = context.environment();
    let what = format!(
        "the manager has no state of {environment}, and server {server} has followed generation \
         {generation} of it"
    );
    Complaint::new(Exit::Refused, what)
        .fact("The state is lost: the manager's disk may be a new one")
        .fact("What serves goes on")
        .nothing_changed()
        .hint("`onward state restore -y` brings it back from the newest copy on the servers")
}

//! Taking back what a set-up has made of a machine that leaves the environment.

use onward_core::machine::{Harden, Owner, Setup, UserName};

use super::converge::{Converged, Telling, converge};
use crate::providers::ssh::{AgentSilence, SshServer};

/// Takes the set-up of `owner` off the machine: its firewall, what it has of sshd, and the like. A machine
/// that somebody else sets up, or nobody, is left alone. What could lock out is confirmed, as when it
/// was made.
///
/// # Errors
/// Why not, as a sentence.
pub fn soften(server: &SshServer, owner: &Owner, tell: &Telling<'_>) -> Result<(), String> {
    let facts =
        server.agent().and_then(|(mut agent, _)| agent.machine().map_err(AgentSilence::Agent));
    let facts = facts.map_err(|silence| silence.to_string())?;
    let Some(record) = facts.record else { return Ok(()) };
    if record.setup.owner != *owner || record.setup.harden == Harden::Off {
        return Ok(());
    }
    let login: Option<UserName> = server.login().parse().ok();
    let mut setup = Setup::new(owner.clone(), login.unwrap_or_else(UserName::root));
    (setup.harden, setup.is_settled, setup.updates) = (Harden::Off, true, false);
    match converge(server, &setup, &|event| tell(server.name(), &event)) {
        Converged::Done(_) | Converged::Partly(_) => Ok(()),
        Converged::Trouble(trouble) => Err(trouble.sentences().join("; ")),
    }
}

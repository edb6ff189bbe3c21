//! What is settled before a command changes anything on servers behind SSH: whether their environment
//! has a state yet, and whether `up` has every secret that the project file names.

use std::collections::BTreeSet;

use onward_core::secrets::SecretName;

use super::args::{Global, UpArgs};
use super::commands::ask_values;
use super::complaint::{self, Complaint};
use super::context::Context;
use super::enrol;
use super::lost;
use super::question;
use super::screen::Screen;
use super::secrets;
use super::waiting;
use super::whereabouts;
use crate::providers::ssh::SshError;

/// Whether an environment has a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// It may have one, and it can be read.
    Readable,
    /// It has none: its servers are not made, or onward is not on them.
    Before,
    /// Nobody can tell, because whoever has it does not answer. The next who needs it says why.
    Unknown,
}

/// Whether the environment has a state; a host key that is not known is confirmed for that, and
/// nothing else is changed.
///
/// # Errors
/// When the host key is not confirmed.
pub fn of(context: &Context, global: &Global) -> Result<Beginning, Complaint> {
    let Some(ways) = context.ways().filter(|_| context.resolved.store.is_none()) else {
        return Ok(Beginning::Readable);
    };
    let manager = ways.manager();
    if let Some(lab) = ways.lab() {
        let servers = lab.state()?;
        if servers.is_empty() {
            return Ok(Beginning::Before);
        }
        if !servers.iter().any(|own| own.name == *manager.name() && own.is_running) {
            return Ok(Beginning::Unknown);
        }
    }
    match enrol::known(&manager, global)? {
        Ok(()) => {
            whereabouts::find(context)?;
            Ok(Beginning::Readable)
        }
        // The file may have a new manager, and the state be where it was.
        Err(SshError::Bare) if whereabouts::is_anywhere(context) => Ok(Beginning::Readable),
        Err(SshError::Bare) => Ok(Beginning::Before),
        Err(_) => Ok(Beginning::Unknown),
    }
}

/// Sees to it that an `up` has every secret, as far as that can be known already: where there is
/// somebody to ask, it asks for those that are missing, and they [wait](waiting) for the state.
///
/// # Errors
/// Which are missing, when nobody can be asked; nothing was changed.
pub fn has_secrets(
    context: &Context,
    args: &UpArgs,
    global: &Global,
    screen: &Screen,
) -> Result<(), Complaint> {
    let named = &context.resolved.secrets;
    if named.is_empty() {
        return Ok(());
    }
    let beginning = of(context, global)?;
    let mut has = match beginning {
        Beginning::Unknown => return Ok(()),
        Beginning::Before => BTreeSet::new(),
        Beginning::Readable => in_state(context)?,
    };
    has.extend(waiting::names(context)?);
    let missing: BTreeSet<SecretName> =
        named.iter().filter(|n| !has.contains(n)).cloned().collect();
    if missing.is_empty() {
        return Ok(());
    }
    // Of a state that is lost, they are not missing.
    match beginning {
        Beginning::Before if context.ways().is_some_and(|ways| ways.lab().is_none()) => {
            lost::is_first(context)?;
        }
        Beginning::Before | Beginning::Unknown => {}
        Beginning::Readable => lost::must_not_be(context)?,
    }
    // A value changes the state that a plan was made of.
    if !question::can_ask(global) || args.release.generation.is_some() {
        return Err(complaint::no_value(&missing, Some(context.environment())));
    }
    ask(context, missing, global, screen)
}

/// The names that have a value in the state.
fn in_state(context: &Context) -> Result<BTreeSet<SecretName>, Complaint> {
    let stored = context.look()?;
    let secrets = stored.as_ref().and_then(|stored| stored.document.secrets.as_ref());
    Ok(secrets.map(|own| own.current.keys().cloned().collect()).unwrap_or_default())
}

fn ask(
    context: &Context,
    missing: BTreeSet<SecretName>,
    global: &Global,
    screen: &Screen,
) -> Result<(), Complaint> {
    let secrets_are = if missing.len() == 1 { "a secret that has" } else { "secrets that have" };
    screen.note(&format!(
        "{}: onward.toml names {secrets_are} no value yet. What you type is kept encrypted",
        context.title()
    ));
    let values = ask_values(missing, global)?;
    let made = waiting::keep(context, &values)?;
    secrets::tell_made(made.as_deref(), screen);
    Ok(())
}

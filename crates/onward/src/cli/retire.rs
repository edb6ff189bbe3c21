//! Machines that have left the environment: onward is taken off them.

use std::process::Stdio;

use onward_core::document::{Document, Gone};
use onward_core::machine::Owner;
use onward_core::model::ServerName;
use serde_json::json;

use super::complaint::Complaint;
use super::context::Context;
use super::exit::Exit;
use super::lab;
use super::screen::Screen;
use super::secrets;
use super::ways::{self, Ways};
use crate::machine::soften;
use crate::providers::nspawn::Lab;
use crate::providers::ssh::{SshError, SshServer};
use crate::runner::Write;

/// Takes onward off every machine that has left, and forgets those from which it is taken. What cannot
/// be done now is said, and tried again by the next `up`.
pub fn all(context: &Context, screen: &Screen) {
    let Some(ways) = context.ways() else { return };
    let Ok(Some(stored)) = context.look() else { return };
    let mut free: Vec<Gone> = Vec::new();
    for gone in &stored.document.gone {
        let taken = match ways.lab() {
            Some(lab) => of_lab(lab, gone),
            None => of_machine(context, ways, gone, screen),
        };
        match taken {
            Ok(()) => {
                screen.event(&json!({"event": "retired", "server": gone.name}));
                free.push(gone.clone());
            }
            Err(why) => screen.warn(&format!(
                "{} has left, and onward is still on it: {why}. `onward up` tries again, `onward up \
                 --forget {}` does not",
                gone.name, gone.name
            )),
        }
    }
    if !free.is_empty() {
        // The next command finds nothing there, and forgets it.
        drop(forget(context, |own| free.contains(own)));
    }
}

/// Forgets machines by their names: what is on them stays there.
///
/// # Errors
/// When no machine of a name has left, and when the state cannot be changed.
pub fn forget_named(
    context: &Context,
    names: &[ServerName],
    screen: &Screen,
) -> Result<(), Complaint> {
    if names.is_empty() {
        return Ok(());
    }
    // Without a state, it was said where none is to be looked for.
    let Some(stored) = context.look()? else { return Ok(()) };
    let gone = stored.document.gone.as_slice();
    let known: Vec<&ServerName> = gone.iter().map(|own| &own.name).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        return Err(has_not_left(unknown, &known));
    }
    forget(context, |own| names.contains(&own.name))?;
    for name in names {
        screen.note(&format!("  {name} is forgotten: what is on it stays there"));
    }
    Ok(())
}

fn has_not_left(name: &ServerName, gone: &[&ServerName]) -> Complaint {
    let what = format!("no server `{name}` has left the environment");
    let names = gone.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let complaint = match names.is_empty() {
        true => Complaint::new(Exit::Usage, what).nothing_changed(),
        false => Complaint::new(Exit::Usage, format!("{what}; gone is {names}")).nothing_changed(),
    };
    complaint.hint(
        "`--forget` is for servers that are no longer in onward.toml and that `onward status` names \
         as gone",
    )
}

fn forget(context: &Context, is_it: impl Fn(&Gone) -> bool) -> Result<(), Complaint> {
    let forgotten = secrets::change(context, |document| {
        let count = document.gone.len();
        document.gone.retain(|own| !is_it(own));
        Ok(((), if document.gone.len() == count { Write::No } else { Write::Yes }))
    });
    forgotten.map(drop)
}

/// A server of a lab is removed with all it has, unless another one has its name by now.
fn of_lab(lab: &Lab, gone: &Gone) -> Result<(), String> {
    let key = gone.server.reach.as_ref().map(|reach| reach.host_key.as_str());
    lab::discard(lab, &gone.name, key).map_err(|error| error.to_string())
}

/// A machine that somebody has: what this environment has there goes; when nobody else uses onward
/// there, so do agent, proxy, and the set-up of the machine.
fn of_machine(context: &Context, ways: &Ways, gone: &Gone, screen: &Screen) -> Result<(), String> {
    let Some(reach) = &gone.server.reach else { return Ok(()) };
    let pins = ways.pins().of_gone();
    let server = SshServer::new(gone.name.clone(), ways::reach(reach), None, pins);
    match server.connect() {
        Ok(()) => {}
        Err(SshError::Bare) => return Ok(()),
        Err(error) => return Err(format!("{} {error}", server.place())),
    }
    let (app, environment) = (context.app(), context.environment());
    let left = run(&server, &format!("agent remove --app {app} --of {environment}"))?;
    if left.trim() != "nobody" {
        screen.note(&format!("  {}: {app} is taken off {}", gone.name, server.place()));
        return Ok(());
    }
    let owner = Owner { app: app.clone(), environment: environment.clone() };
    soften(&server, &owner, &|_, _| {})?;
    run(&server, "agent remove")?;
    screen.note(&format!("  {}: onward is taken off {}", gone.name, server.place()));
    Ok(())
}

/// Runs onward on the server, as root; what it printed.
fn run(server: &SshServer, words: &str) -> Result<String, String> {
    let output =
        server.onward(words).stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().last().unwrap_or("it said nothing");
    Err(format!("`onward {words}` there failed: {}", last.trim_start_matches("onward: ")))
}

/// What `status` tells, a line for each machine that has left and still has onward.
pub fn lines(document: &Document) -> Vec<String> {
    let line = |own: &Gone| {
        let host = own.server.reach.as_ref().map_or("", |reach| reach.host.as_str());
        format!(
            "server {} ({host}), and onward is still on it: `onward up` takes it off, `onward up \
             --forget {}` leaves it",
            own.name, own.name
        )
    };
    document.gone.iter().map(line).collect()
}

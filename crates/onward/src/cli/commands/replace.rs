//! `onward replace`: a new machine for an old one.

use std::collections::BTreeSet;

use onward_core::document::{Document, Ended, Server};
use onward_core::engine::{Ask, Refusal};
use onward_core::model::{Release, ServerName};
use serde_json::json;

use crate::cli::args::Global;
use crate::cli::args_replace::ReplaceArgs;
use crate::cli::carry::{self, Came, Terms};
use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::enrol;
use crate::cli::exit::Exit;
use crate::cli::interrupt::{self, Interrupts};
use crate::cli::machines;
use crate::cli::managers;
use crate::cli::problem::Problem;
use crate::cli::question;
use crate::cli::replaced;
use crate::cli::retire;
use crate::cli::screen::Screen;
use crate::cli::sending;
use crate::cli::ways::{self, Ways};
use crate::project::wishes;
use crate::providers::ssh::{AgentSilence, SshServer};

/// Takes the old machine out of the environment, drained when it still runs, and brings the new one
/// in. What was begun before is finished.
pub fn run(
    context: &Context,
    args: &ReplaceArgs,
    global: &Global,
    screen: &Screen,
) -> Result<Exit, Complaint> {
    let name = &args.server;
    screen.note(&context.title());
    let ways = context.ways().ok_or_else(|| not_here(name))?;
    must_be_wished(context, name)?;
    let document = document(context)?;
    context.prepare()?;
    // Before anything is given up.
    sending::holder(context, ways, &document, serving(&document)?, name)?;
    let interrupts = interrupt::watch();
    if !document.demand.replacing.contains_key(name) {
        let old = document.servers.get(name).ok_or_else(|| unknown(&document, name))?;
        if ways.manager().name() == name {
            return Err(manages(name));
        }
        if ways.lab().is_none() {
            // Before anything is given up.
            replaced::candidate(ways, name, old, global, screen)?;
        }
        confirm(ways, name, global)?;
        leave(context, ways, &document, name, screen, &interrupts)?;
    }
    let document = self::document(context)?;
    if let Some(replacing) = document.demand.replacing.get(name) {
        replaced::machine(context, ways, name, replacing, global, screen)?;
    }
    let server = ways.server(name);
    enrol::reach_one(&server, global, screen)?;
    if interrupts.count() > 0 {
        return Err(stopped(name));
    }
    machines::converge_all(context, global, screen)?;
    // Another one may serve by now.
    let release = serving(&document)?;
    let holder = sending::holder(context, ways, &document, release, name)?;
    holder.bring(context, &server, &document, release, screen)?;
    managers::introduce(context, &[], screen);
    join(context, name, &server, global, screen, &interrupts)
}

/// Ctrl-C, while there is no operation.
fn stopped(name: &ServerName) -> Complaint {
    Complaint::new(Exit::Failed, format!("interrupted: the new machine of {name} is not set up"))
        .fact(format!("The others serve without {name}"))
        .hint(format!("`onward replace {name}` goes on"))
}

/// The document of an environment that is up.
fn document(context: &Context) -> Result<Document, Complaint> {
    let stored = context.look()?.ok_or(Refusal::NothingReleased)?;
    let document = &*stored.document;
    if document.is_down() {
        return Err(Problem::IsDown { environment: context.environment().clone() }.into());
    }
    Ok(document.clone())
}

/// Drains the old machine and takes it out. One that cannot be reached is given up as it is.
fn leave(
    context: &Context,
    ways: &Ways,
    document: &Document,
    name: &ServerName,
    screen: &Screen,
    interrupts: &Interrupts,
) -> Result<(), Complaint> {
    let old = replaced::as_old(ways, name, document);
    let mut without = BTreeSet::new();
    if let Err(silence) = old.agent() {
        screen.note(&format!("  {name} {silence}: it is given up as it is"));
        without.insert(name.clone());
        if let AgentSilence::Ssh(reason) = silence {
            old.give_up(reason);
        }
    } else {
        screen.note(&format!("  {name} is emptied: the others serve"));
    }
    let terms = Terms { without, ..Terms::default() };
    let ask = Ask::Replace { server: name.clone() };
    match carry::submit(context, ask, terms, screen, interrupts)? {
        Came::Ended(document, number) => {
            let done = document.finished(number).is_some_and(|own| own.outcome == Ended::Done);
            if !done {
                return match carry::conclude(context, &document, number, screen) {
                    Err(complaint) => Err(complaint),
                    Ok(_) => Err(Problem::NoTrace(number).into()),
                };
            }
            screen.event(&json!({"event": "left", "server": name, "operation": number}));
            Ok(())
        }
        Came::Unchanged => Ok(()),
        Came::NothingHere => Err(Problem::StateRemoved.into()),
    }
}

/// Brings the new machine in, with the release that serves.
fn join(
    context: &Context,
    name: &ServerName,
    server: &SshServer,
    global: &Global,
    screen: &Screen,
    interrupts: &Interrupts,
) -> Result<Exit, Complaint> {
    let reached = ways::in_document(server);
    let (address, reach) = reached.ok_or(Problem::Bug("a server was reached without its key"))?;
    let machine = Server { address, roles: BTreeSet::new(), reach: Some(reach) };
    let ask = Ask::Join { server: name.clone(), machine: Box::new(machine) };
    match carry::submit(context, ask, Terms::default(), screen, interrupts)? {
        Came::Ended(document, number) => {
            machines::follow_move(context, None, global, screen)?;
            retire::all(context, screen);
            screen.note(&format!("  {name} is on its new machine, {}", server.place()));
            carry::conclude(context, &document, number, screen)
        }
        Came::Unchanged => {
            retire::all(context, screen);
            carry::follow(context, screen, interrupts, |document| {
                screen.success(&format!("Nothing changed: {name} is on its new machine already"));
                screen.finished(true, json!({"outcome": "unchanged", "release": document.serving}));
                Ok(Exit::Done)
            })
        }
        Came::NothingHere => Err(Problem::StateRemoved.into()),
    }
}

/// The release that serves, which the new machine is brought.
fn serving(document: &Document) -> Result<&Release, Complaint> {
    let number = document.serving.ok_or(Refusal::NothingReleased)?;
    document.release(number).ok_or_else(|| Refusal::UnknownRelease(number).into())
}

fn must_be_wished(context: &Context, name: &ServerName) -> Result<(), Complaint> {
    let wished = wishes::servers(&context.resolved);
    let names: Vec<&ServerName> = wished.iter().map(|(name, _)| name).collect();
    match names.contains(&name) {
        true => Ok(()),
        false => Err(Problem::no_server(name, &names).into()),
    }
}

fn unknown(document: &Document, name: &ServerName) -> Complaint {
    let known: Vec<&ServerName> = document.servers.keys().collect();
    let complaint: Complaint = Problem::no_server(name, &known).into();
    complaint.hint("`onward up` brings a server in that is new in onward.toml")
}

fn not_here(name: &ServerName) -> Complaint {
    let what = format!("{name} is on this machine, which cannot take the place of itself");
    Complaint::new(Exit::Refused, what)
        .nothing_changed()
        .hint("`onward down` and `onward up` begin anew")
}

/// The state is on the manager.
fn manages(name: &ServerName) -> Complaint {
    let what = format!("{name} is the manager: it keeps the state of the environment");
    Complaint::new(Exit::Refused, what).nothing_changed().hint(format!(
        "`onward move manager SERVER` takes the state elsewhere; then `onward replace {name}`"
    ))
}

/// The disk of a server that onward made goes with it.
fn confirm(ways: &Ways, name: &ServerName, global: &Global) -> Result<(), Complaint> {
    if ways.lab().is_none() || global.yes {
        return Ok(());
    }
    let refused = || {
        let what =
            format!("the disk of {name}, with what apps have stored on it, would be removed");
        Complaint::new(Exit::Refused, what)
            .nothing_changed()
            .hint(format!("`onward replace {name} -y` does it"))
    };
    let text = format!(
        "This removes the disk of {name}, with what apps have stored on it. Go on? (yes/no) "
    );
    if question::can_ask(global) && question::says_yes(&text) { Ok(()) } else { Err(refused()) }
}

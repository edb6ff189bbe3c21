//! `onward down`: takes the environment away.

use onward_core::engine::Ask;
use serde_json::json;

use crate::cli::args::{DownArgs, Global};
use crate::cli::carry::{self, Came, Terms};
use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::fleet;
use crate::cli::interrupt::{self, Interrupts};
use crate::cli::known;
use crate::cli::likeness;
use crate::cli::machines;
use crate::cli::managers;
use crate::cli::numbers;
use crate::cli::outcome;
use crate::cli::problem::Problem;
use crate::cli::question;
use crate::cli::screen::Screen;
use crate::cli::ways::Ways;
use crate::providers::Server;
use crate::providers::local::{self, AgentError, Contact};
use crate::providers::nspawn::Lab;

/// How long an agent is waited for before Ctrl-C is looked for, in milliseconds.
const LOOK_MS: u64 = 500;

/// Stops everything. Shared directories, state and bundles stay.
pub fn run(
    context: &Context,
    args: &DownArgs,
    global: &Global,
    screen: &Screen,
) -> Result<Exit, Complaint> {
    screen.note(&context.title());
    if let Some(lab) = context.ways().and_then(Ways::lab) {
        return remove_lab(context, lab, args, global, screen);
    }
    let stored = context.look()?;
    let document = stored.as_ref().map(|stored| &*stored.document);
    let servers = fleet::servers(context, document);
    let is_down = document
        .is_none_or(|document| document.is_down() && outcome::pending_edit(document).is_none());
    if is_down && servers.iter().all(|server| matches!(server.contact(), Contact::Absent)) {
        return already(context, screen);
    }
    confirm(context, args, global)?;
    let interrupts = interrupt::watch();
    let end_agents = || {
        servers.iter().for_each(|server| end_agent(context, server, screen, &interrupts));
    };
    match carry::submit(context, Ask::Down, Terms::default(), screen, &interrupts)? {
        Came::Ended(document, number) => {
            if document.serving.is_none() {
                likeness::forget(&context.local, &context.resolved)?;
            }
            let exit = carry::conclude(context, &document, number, screen)?;
            if exit == Exit::Done {
                machines::leave(context, screen);
                end_agents();
                managers::dismiss(context);
            }
            Ok(exit)
        }
        Came::Unchanged | Came::NothingHere => {
            end_agents();
            already(context, screen)
        }
    }
}

/// Servers that were made for the environment go with it, and with all that is on them: the state
/// too. So they need not be reached for it.
fn remove_lab(
    context: &Context,
    lab: &Lab,
    args: &DownArgs,
    global: &Global,
    screen: &Screen,
) -> Result<Exit, Complaint> {
    let servers = lab.state()?;
    if servers.is_empty() {
        lab.down()?;
        return already(context, screen);
    }
    confirm(context, args, global)?;
    lab.down()?;
    known::forget(context);
    likeness::forget(&context.local, &context.resolved)?;
    let count = numbers::count(servers.len() as u64, "server");
    screen.success(&format!("{} is down: {count} removed", context.environment()));
    screen.finished(true, json!({"outcome": "done", "removed": servers.len()}));
    Ok(Exit::Done)
}

fn already(context: &Context, screen: &Screen) -> Result<Exit, Complaint> {
    likeness::forget(&context.local, &context.resolved)?;
    screen.success(&format!("Nothing changed: {} is down already", context.environment()));
    screen.finished(true, json!({"outcome": "unchanged"}));
    Ok(Exit::Done)
}

/// Nothing is left for agent and proxy to do, once what still stops has stopped: the instances of a
/// release that failed take the time that the project file gives them.
fn end_agent(context: &Context, server: &Server, screen: &Screen, interrupts: &Interrupts) {
    let mut agent = match server.contact() {
        Contact::Answers(agent, _) => agent,
        Contact::Silent { pid } => {
            let error = AgentError::Silent { pid };
            screen.warn(&format!("{}: {}, and goes on", server.name(), local::reason(&error)));
            return;
        }
        Contact::Unreachable(error) => {
            screen.warn(&format!("{} {error}", server.name()));
            return;
        }
        Contact::Foreign(..) | Contact::Ending | Contact::Absent => return,
    };
    let (app, environment) = (context.app(), context.environment());
    let (mut known, mut told) = (None, false);
    while let Ok(seen) = agent.report(app, environment, known, LOOK_MS) {
        let stopping = seen.report.releases.values().any(|release| !release.instances.is_empty());
        if !stopping || interrupts.count() > 0 {
            break;
        }
        if !told {
            screen.note(&format!("  waiting on {}: instances still stop", server.name()));
            told = true;
        }
        known = Some(seen.revision);
    }
    if server.ssh().is_some() {
        // It is there for the machine, and for whatever else is on it.
        return;
    }
    if let Err(error) = agent.shutdown()
        // It is there for others, who share this home.
        && !context.local.is_shared()
    {
        screen.warn(&format!("the agent of {} goes on running: {error}", server.name()));
    }
}

fn confirm(context: &Context, args: &DownArgs, global: &Global) -> Result<(), Complaint> {
    let name = context.environment();
    if global.yes || args.confirm.as_ref() == Some(name) {
        return Ok(());
    }
    if let Some(given) = &args.confirm {
        let (environment, given) = (name.clone(), given.clone());
        return Err(Problem::OtherName { environment, given }.into());
    }
    if !question::can_ask(global) {
        return Err(Problem::DownNeedsName(name.clone()).into());
    }
    let text =
        format!("This stops {}. Type its environment's name ({name}) to go on: ", context.app());
    if question::ask(&text).as_deref() == Some(name.as_str()) {
        return Ok(());
    }
    Err(Problem::NameNotTyped(name.clone()).into())
}

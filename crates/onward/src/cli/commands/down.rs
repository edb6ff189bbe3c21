//! `onward down`: takes the environment away.

use std::io::{BufRead, IsTerminal, Write};

use onward_core::engine::Ask;
use serde_json::json;

use crate::cli::args::{DownArgs, Global};
use crate::cli::carry::{self, Came};
use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::interrupt;
use crate::cli::screen::Screen;

/// Stops everything. Shared directories, state and bundles stay.
pub fn run(
    context: &Context,
    args: &DownArgs,
    global: &Global,
    screen: &Screen,
) -> Result<Exit, Complaint> {
    confirm(context, args, global)?;
    let interrupts = interrupt::watch();
    screen.note(&context.title());
    let exit = match carry::submit(context, Ask::Down, None, screen, &interrupts)? {
        Came::Ended(document, number) => carry::conclude(context, &document, number, screen)?,
        Came::Unchanged(_) | Came::NothingHere => {
            screen.success(&format!("{} is down already", context.environment()));
            screen.finished(true, json!({"outcome": "unchanged"}));
            Exit::Done
        }
    };
    if exit == Exit::Done {
        end_agent(context, screen);
    }
    Ok(exit)
}

/// Nothing is left for the agent and the proxy to do.
fn end_agent(context: &Context, screen: &Screen) {
    let Some(agent) = context.local.running_agent() else { return };
    if let Err(error) = agent.shutdown() {
        screen.warn(&format!("the agent goes on running: {error}"));
    }
}

fn confirm(context: &Context, args: &DownArgs, global: &Global) -> Result<(), Complaint> {
    let name = context.environment();
    if global.yes || args.confirm.as_ref() == Some(name) {
        return Ok(());
    }
    let hint = format!("`onward down --confirm {name}` does not ask");
    if let Some(other) = &args.confirm {
        let what = format!("the environment is {name}, and {other} was confirmed");
        return Err(Complaint::new(Exit::Refused, what).hint(hint));
    }
    let asks = !global.no_input && !global.json && std::io::stdin().is_terminal();
    if !asks {
        let what = format!("taking {name} away needs its name");
        return Err(Complaint::new(Exit::Refused, what).hint(hint));
    }
    print!("This stops {}. Type its environment's name ({name}) to go on: ", context.app());
    let _ = std::io::stdout().flush();
    let mut answer = String::new();
    let _ = std::io::stdin().lock().read_line(&mut answer);
    if answer.trim() == name.as_str() {
        return Ok(());
    }
    Err(Complaint::new(Exit::Refused, "the name was not typed; nothing was changed").hint(hint))
}

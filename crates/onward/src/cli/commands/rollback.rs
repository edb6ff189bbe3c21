//! `onward rollback`: back to a release that ran before.

use onward_core::engine::{Ask, Refusal};
use onward_core::model::ReleaseNumber;
use serde_json::json;

use crate::cli::args::RollbackArgs;
use crate::cli::carry::{self, Came, Terms};
use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::hooks::Hooks;
use crate::cli::interrupt;
use crate::cli::lacking::Lacking;
use crate::cli::outcome;
use crate::cli::problem::Problem;
use crate::cli::screen::Screen;

/// Goes back to the previous release, or to the one given.
pub fn run(context: &Context, args: &RollbackArgs, screen: &Screen) -> Result<Exit, Complaint> {
    let interrupts = interrupt::watch();
    screen.note(&context.title());
    let Some(stored) = context.look()? else {
        return Err(Refusal::NothingReleased.into());
    };
    if stored.document.is_down() {
        return Err(Problem::IsDown { environment: context.environment().clone() }.into());
    }
    let ask = Ask::Rollback { to: args.to.map(ReleaseNumber) };
    let hooks = Hooks::new(context, screen, &interrupts);
    let terms = Terms::default();
    let came = carry::submit_with(context, ask, terms, screen, &interrupts, &hooks);
    let came = came.inspect_err(|complaint| {
        if complaint.exit == Exit::Failed {
            hooks.failed(complaint);
        }
    })?;
    match came {
        Came::Ended(document, number) => {
            let nothing = Lacking::default();
            carry::conclude_with(context, &document, number, screen, Some(&hooks), &nothing)
        }
        Came::Unchanged => carry::follow(context, screen, &interrupts, |document| {
            let url = carry::url(context);
            let serves = outcome::serves(document, url.as_deref());
            screen.success(&format!("Nothing changed: {serves} already"));
            let fields = json!({"outcome": "unchanged", "release": document.serving, "url": url});
            screen.finished(true, fields);
            Ok(Exit::Done)
        }),
        Came::NothingHere => Err(Refusal::NothingReleased.into()),
    }
}

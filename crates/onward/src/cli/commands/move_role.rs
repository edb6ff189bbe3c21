//! `onward move`: a role of one server goes to another one.

use onward_core::engine::{Ask, Refusal};
use onward_core::model::Role;
use onward_core::ports::StateStore;
use serde_json::json;

use crate::cli::args::Global;
use crate::cli::args_move::MoveArgs;
use crate::cli::carry::{self, Came, Terms};
use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::interrupt;
use crate::cli::machines;
use crate::cli::moved;
use crate::cli::problem::Problem;
use crate::cli::screen::Screen;
use crate::project::{BALANCER, MANAGER};

/// Starts what the role runs on the new server, sends requests there, and only then stops it on the
/// old one.
pub fn run(
    context: &Context,
    args: &MoveArgs,
    global: &Global,
    screen: &Screen,
) -> Result<Exit, Complaint> {
    if args.role.as_str() == MANAGER {
        return Err(manager());
    }
    screen.note(&context.title());
    let Some(stored) = context.store().read()? else {
        return Err(Refusal::NothingReleased.into());
    };
    if stored.document.serving.is_none() && stored.document.operation.is_none() {
        return Err(Problem::IsDown { environment: context.environment().clone() }.into());
    }
    machines::follow_move(context, Some((&args.role, &args.to)), global, screen)?;
    let interrupts = interrupt::watch();
    let MoveArgs { role, to, from } = args.clone();
    match carry::submit(
        context,
        Ask::Move { role, to, from },
        Terms::default(),
        screen,
        &interrupts,
    )? {
        Came::Ended(document, number) => {
            let exit = carry::conclude(context, &document, number, screen)?;
            for own in moved::overrides(context, &document) {
                let text = own.text();
                screen.note(&format!(
                    "  moved by hand: {text}; write it into onward.toml to keep it"
                ));
            }
            machines::follow_move(context, None, global, screen)?;
            remind_of_names(&args.role, args, screen);
            Ok(exit)
        }
        Came::Unchanged => carry::follow(context, screen, &interrupts, |document| {
            screen.success(&format!(
                "Nothing changed: {} has the role {} already",
                args.to, args.role
            ));
            let fields = json!({"outcome": "unchanged", "release": document.serving});
            screen.finished(true, fields);
            Ok(Exit::Done)
        }),
        Came::NothingHere => Err(Refusal::NothingReleased.into()),
    }
}

/// People come to a balancer by its address, which onward does not move.
fn remind_of_names(role: &Role, args: &MoveArgs, screen: &Screen) {
    if role.as_str() == BALANCER {
        screen.next(&format!(
            "  Names of the app in DNS have to lead to {} now; `onward doctor` compares them",
            args.to
        ));
    }
}

/// The state is where the manager is.
fn manager() -> Complaint {
    Complaint::new(Exit::Refused, "the manager keeps the state of the environment, and is not moved by this")
        .nothing_changed()
        .hint("`onward state move` takes the state to a store of its own, from where every server may manage")
}

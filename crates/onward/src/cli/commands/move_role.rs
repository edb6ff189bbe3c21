//! `onward move`: a role of one server goes to another one.

use onward_core::engine::{Ask, Refusal};
use onward_core::model::{Role, ServerName};
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
use crate::cli::whereabouts;
use crate::project::{BALANCER, MANAGER};

/// Starts what the role runs on the new server, sends requests there, and only then stops it on the
/// old one.
pub fn run(
    context: &Context,
    args: &MoveArgs,
    global: &Global,
    screen: &Screen,
) -> Result<Exit, Complaint> {
    let manages = args.role.as_str() == MANAGER;
    if manages {
        may_manage(context)?;
    }
    screen.note(&context.title());
    let Some(stored) = context.look()? else {
        return Err(Refusal::NothingReleased.into());
    };
    if stored.document.is_down() {
        return Err(Problem::IsDown { environment: context.environment().clone() }.into());
    }
    if stored.document.server(&args.to).is_none() {
        let known: Vec<&ServerName> = stored.document.servers.keys().collect();
        let complaint: Complaint = Problem::no_server(&args.to, &known).into();
        return Err(complaint.hint("`onward up` brings a server in that is new in onward.toml"));
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
            if manages {
                whereabouts::settle(context, screen)?;
            }
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
            if manages {
                whereabouts::settle(context, screen)?;
            }
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

/// The manager keeps the state where it is behind SSH and the project file names no store.
fn may_manage(context: &Context) -> Result<(), Complaint> {
    let complaint = |what: &str| Complaint::new(Exit::Refused, what.to_owned()).nothing_changed();
    if context.ways().is_none() {
        return Err(complaint("the state of this environment is on this machine, not on a server"));
    }
    match &context.resolved.store {
        Some(url) => Err(complaint(&format!("the state of this environment is in {url}"))
            .hint("`onward state move` takes it to another store")),
        None => Ok(()),
    }
}

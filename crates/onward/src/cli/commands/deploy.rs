//! `onward up` and `onward deploy`: a new release.

use onward_core::document::Document;
use onward_core::engine::Ask;
use onward_core::model::Generation;
use onward_core::ports::StateStore;
use serde_json::json;

use crate::cli::args::DeployArgs;
use crate::cli::carry::{self, Came};
use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::interrupt::{self, Interrupts};
use crate::cli::outcome;
use crate::cli::screen::Screen;
use crate::cli::{build, bundling, numbers, retention};
use crate::project::wishes;
use crate::providers::local;

/// Makes the environment as the file says: on this machine that is a release that runs.
pub fn up(context: &Context, args: &DeployArgs, screen: &Screen) -> Result<Exit, Complaint> {
    release(context, args, screen)
}

/// Brings a new release to an environment that is up.
pub fn deploy(context: &Context, args: &DeployArgs, screen: &Screen) -> Result<Exit, Complaint> {
    let stored = context.store().read()?;
    if stored.is_none_or(|stored| is_down(&stored.document)) {
        return Err(Complaint::new(Exit::Refused, format!("{} is not up", context.environment()))
            .hint("`onward up` makes it and deploys the first release"));
    }
    release(context, args, screen)
}

fn is_down(document: &Document) -> bool {
    document.serving.is_none() && document.operation.is_none()
}

fn release(context: &Context, args: &DeployArgs, screen: &Screen) -> Result<Exit, Complaint> {
    let interrupts = interrupt::watch();
    screen.note(&context.title());
    context.prepare()?;
    let label = args.label.as_deref();
    let bundle = match bundling::named(context, &args.from, label, screen)? {
        Some(bundle) => bundle,
        None => {
            build::run(context, screen, &interrupts)?;
            bundling::of_tree(context, label, screen)?
        }
    };
    let ask = Ask::Deploy {
        bundle,
        config: wishes::config(&context.resolved),
        servers: wishes::local_server(&context.resolved, local::server_name()),
        force: args.force,
    };
    let planned = args.generation.map(Generation);
    match carry::submit(context, ask, planned, screen, &interrupts)? {
        Came::Ended(document, number) => {
            retention::sweep(context, &document, screen);
            carry::conclude(context, &document, number, screen)
        }
        Came::Unchanged(document) => unchanged(context, &document, screen, &interrupts),
        Came::NothingHere => Err(Complaint::new(Exit::Failed, "the state was removed meanwhile")
            .hint("`onward up` begins anew")),
    }
}

/// The same runs already. What a crash or a reboot left is brought back all the same.
fn unchanged(
    context: &Context,
    document: &Document,
    screen: &Screen,
    interrupts: &Interrupts,
) -> Result<Exit, Complaint> {
    carry::carry_on(context, screen, interrupts)?;
    carry::await_serving(context, document, interrupts)?;
    let url = carry::url(context);
    let took = numbers::duration(screen.began().elapsed());
    let serves = outcome::capitalised(&outcome::serves(document, url.as_deref()));
    screen.success(&format!("Nothing changed. {serves} ({took})"));
    screen.finished(true, json!({"outcome": "unchanged", "release": document.serving, "url": url}));
    Ok(Exit::Done)
}

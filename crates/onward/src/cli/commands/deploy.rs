//! `onward up` and `onward deploy`: a new release.

use std::collections::BTreeSet;
use std::sync::Arc;

use onward_core::document::{Document, Ended};
use onward_core::engine::{Ask, Refusal};
use onward_core::model::{BundleRef, Config, Generation, ServerName};
use serde_json::json;

use super::maintenance;
use crate::cli::address;
use crate::cli::args::{DeployArgs, UpArgs};
use crate::cli::carry::{self, Came, Terms};
use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::edits;
use crate::cli::exit::Exit;
use crate::cli::fleet;
use crate::cli::hooks::Hooks;
use crate::cli::https;
use crate::cli::interrupt::{self, Interrupts};
use crate::cli::lacking::Lacking;
use crate::cli::likeness;
use crate::cli::managers;
use crate::cli::outcome;
use crate::cli::problem::Problem;
use crate::cli::retire;
use crate::cli::screen::Screen;
use crate::cli::secrets;
use crate::cli::sending;
use crate::cli::templates;
use crate::cli::whereabouts;
use crate::cli::{build, bundling, numbers, retention, runtimes};
use crate::project::{HookPoint, wishes};

/// Makes the environment as the file says: on this machine that is a release that runs.
pub fn up(context: &Context, args: &UpArgs, screen: &Screen) -> Result<Exit, Complaint> {
    likeness::keep(&context.local, &context.resolved)?;
    whereabouts::settle(context, screen)?;
    retire::forget_named(context, &args.forget, screen)?;
    managers::introduce(context, &args.release.without, screen);
    release(context, &args.release, args.reset, screen)
}

/// Brings a new release to an environment that is up.
pub fn deploy(context: &Context, args: &DeployArgs, screen: &Screen) -> Result<Exit, Complaint> {
    let Some(stored) = context.look()? else {
        return Err(Refusal::NothingReleased.into());
    };
    if stored.document.is_down() {
        return Err(Problem::IsDown { environment: context.environment().clone() }.into());
    }
    release(context, args, false, screen)
}

fn release(
    context: &Context,
    args: &DeployArgs,
    reset: bool,
    screen: &Screen,
) -> Result<Exit, Complaint> {
    let interrupts = interrupt::watch();
    let hooks = Hooks::new(context, screen, &interrupts);
    let result = release_with(context, (args, reset), screen, &interrupts, &hooks);
    if let Err(complaint) = &result
        && complaint.exit == Exit::Failed
    {
        hooks.failed(complaint);
    }
    result
}

fn release_with(
    context: &Context,
    (args, reset): (&DeployArgs, bool),
    screen: &Screen,
    interrupts: &Interrupts,
    hooks: &Hooks<'_>,
) -> Result<Exit, Complaint> {
    screen.note(&context.title());
    let planned = args.generation.map(Generation);
    not_stale(context, planned)?;
    let without = known_servers(context, args)?;
    address::is_free(context)?;
    context.prepare()?;
    secrets::before_deploy(context, screen)?;
    https::before_deploy(context, screen)?;
    let runtimes = runtimes::resolve(context, args.update_runtimes, screen, interrupts)?;
    let label = args.label.as_deref();
    let bundle = match bundling::named(context, &args.from, label, screen)? {
        Some(bundle) => bundle,
        None => {
            templates::of_project(context, screen)?;
            hooks.before(HookPoint::BeforeBuild)?;
            build::run(context, &runtimes, screen, interrupts)?;
            hooks.before(HookPoint::AfterBuild)?;
            bundling::of_tree(context, label, screen)?
        }
    };
    templates::of_bundle(context, &bundle, screen)?;
    https::not_in_bundle(context, &bundle)?;
    hooks.about(&bundle);
    let config = wishes::config(&context.resolved, &runtimes);
    if !args.force && edit_goes_first(context, &bundle, &config, planned)? {
        screen.note("  the state was edited: what it demands is made true");
        return carry::follow(context, screen, interrupts, |document| {
            unchanged(context, document, screen, interrupts)
        });
    }
    let stored = context.look()?;
    let document = stored.as_ref().map(|stored| &*stored.document);
    let servers = fleet::enrolled(context, document, &without)?;
    let brought_to = servers.keys().filter(|name| !without.contains(*name));
    sending::bring(context, brought_to, document, &bundle, screen)?;
    let terms = Terms { planned_at: planned, without };
    let ask = Ask::Deploy { bundle, config, servers, force: args.force, reset };
    match carry::submit_with(context, ask, terms, screen, interrupts, hooks)? {
        Came::Ended(document, number) => {
            retention::sweep(context, &document, screen);
            fleet::retire(context, &document);
            whereabouts::settle(context, screen)?;
            retire::all(context, screen);
            maintenance::remind(context, screen);
            address::remind(context, &document, screen);
            // A release that failed has its own reason not to be reached.
            let is_done = document.finished(number).is_some_and(|own| own.outcome == Ended::Done);
            let lacking = https::after_deploy(context, screen, interrupts)?;
            let lacking = if is_done { lacking } else { Lacking::default() };
            carry::conclude_with(context, &document, number, screen, Some(hooks), &lacking)
        }
        Came::Unchanged => carry::follow(context, screen, interrupts, |document| {
            retire::all(context, screen);
            unchanged(context, document, screen, interrupts)
        }),
        Came::NothingHere => Err(Problem::StateRemoved.into()),
    }
}

/// The servers to leave out; each has to be one of the environment.
fn known_servers(context: &Context, args: &DeployArgs) -> Result<BTreeSet<ServerName>, Complaint> {
    let wished = wishes::servers(&context.resolved);
    let names: Vec<&ServerName> = wished.iter().map(|(name, _)| name).collect();
    for name in &args.without {
        if !names.contains(&name) {
            return Err(Problem::no_server(name, &names).into());
        }
        if names.len() == 1 {
            return Err(Problem::OnlyServer(name.clone()).into());
        }
    }
    Ok(args.without.iter().cloned().collect())
}

/// A damaged state or a stale plan is found out before the build, not after it.
fn not_stale(context: &Context, planned: Option<Generation>) -> Result<(), Complaint> {
    let stored = context.look()?;
    let actual = stored.map_or(Generation(0), |stored| stored.document.generation);
    match planned.filter(|planned| *planned != actual) {
        Some(planned) => Err(Refusal::StalePlan { planned, actual }.into()),
        None => Ok(()),
    }
}

/// Whether an edit of the state is followed instead; refused when the plan is stale.
fn edit_goes_first(
    context: &Context,
    bundle: &BundleRef,
    config: &Arc<Config>,
    planned: Option<Generation>,
) -> Result<bool, Complaint> {
    let Some(stored) = context.read()? else { return Ok(false) };
    let document = &*stored.document;
    if !edits::goes_first(document, bundle, config) {
        return Ok(false);
    }
    let actual = document.generation;
    match planned.filter(|planned| *planned != actual) {
        Some(planned) => Err(Refusal::StalePlan { planned, actual }.into()),
        None => Ok(true),
    }
}

/// The same runs already. What a crash or a reboot left is brought back all the same.
fn unchanged(
    context: &Context,
    document: &Document,
    screen: &Screen,
    interrupts: &Interrupts,
) -> Result<Exit, Complaint> {
    carry::await_serving(context, document, interrupts)?;
    let lacking = https::after_deploy(context, screen, interrupts)?;
    address::remind(context, document, screen);
    let url = carry::url(context);
    let took = numbers::duration(screen.began().elapsed());
    let serves = outcome::capitalised(&outcome::serves(document, url.as_deref()));
    screen.success(&format!("Nothing changed. {serves} ({took})"));
    let fields = json!({"outcome": "unchanged", "release": document.serving, "url": url});
    carry::lacked(document, &lacking, (url.as_deref(), fields), false, screen)
}

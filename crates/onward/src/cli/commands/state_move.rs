//! `onward state move`: the state goes to another store, and there is one truth all the time.

use onward_core::ports::StateStore;
use onward_store::state::{
    Address, Documents, InvalidStoreUrl, Sign, StoreUrl, Transfer, transfer,
};
use serde_json::json;

use crate::cli::args::Global;
use crate::cli::complaint::Complaint;
use crate::cli::context;
use crate::cli::exit::Exit;
use crate::cli::place_problem::PlaceProblem;
use crate::cli::screen::Screen;
use crate::cli::stores;
use crate::project::Resolved;
use crate::providers::local::Local;

/// What a person types for the place that the state has without `store` in the file.
const DEFAULT: &str = "default";

/// Moves the state, or goes on with a move that was interrupted.
pub fn run(global: &Global, to: &str, screen: &Screen) -> Result<Exit, Complaint> {
    let (resolved, _, local) = context::project(global, None)?;
    let target = named(to)?;
    let to = match &target {
        Some(url) => stores::in_cloud(url, &resolved)?,
        None => {
            let prepared = local.prepare(&resolved.app, &resolved.default);
            prepared.map_err(|error| crate::cli::complaint::system(local.root(), error))?;
            Documents::Directory(local.store(&resolved.app, &resolved.environment))
        }
    };
    screen.note(&format!("{} → {}", resolved.app, resolved.environment));
    let from = source(&resolved, &local, &to)?;
    let transferred = transfer(&from, &to).map_err(PlaceProblem::from)?;
    let is_written = resolved.store == target;
    tell(&resolved, &from.address(), &to.address(), &transferred, screen);
    if !is_written {
        screen.line(&what_to_write(&resolved, target.as_ref()));
    }
    let outcome = if matches!(transferred, Transfer::Moved { .. }) { "moved" } else { "unchanged" };
    let line = (!is_written).then(|| what_to_write(&resolved, target.as_ref()));
    screen.finished(
        true,
        json!({
            "outcome": outcome,
            "from": from.address(),
            "to": to.address(),
            "generation": generation(&transferred),
            "next": line,
        }),
    );
    Ok(Exit::Done)
}

/// The store that was typed; `None` for the default.
fn named(text: &str) -> Result<Option<StoreUrl>, PlaceProblem> {
    if text == DEFAULT {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|wrong: InvalidStoreUrl| PlaceProblem::NoStore {
        what: wrong.what,
        help: wrong.help,
    })
}

/// Where the state is now. When the file names the new place already, it is where it was before,
/// or where an interrupted move comes from.
fn source(resolved: &Resolved, local: &Local, to: &Documents) -> Result<Documents, Complaint> {
    let here = || Documents::Directory(local.store(&resolved.app, &resolved.environment));
    let named = match &resolved.store {
        Some(url) => stores::in_cloud(url, resolved)?,
        None => here(),
    };
    if named.address() != to.address() {
        // Refuses when there are two states.
        return match named.sign()? {
            Some(_) => Ok(named),
            None => stores::of(resolved, local, None),
        };
    }
    if let Some(Sign::Arriving { from }) = to.sign()? {
        return origin(&from, resolved, &here());
    }
    let has = match here().sign()? {
        Some(Sign::Moved { to: there, .. }) => there == to.address(),
        Some(Sign::Arriving { .. }) => false,
        None => here().read()?.is_some(),
    };
    Ok(if has { here() } else { named })
}

/// The place that an interrupted move comes from.
fn origin(from: &Address, resolved: &Resolved, here: &Documents) -> Result<Documents, Complaint> {
    if *from == here.address() {
        return Ok(here.clone());
    }
    match from.as_str().parse() {
        Ok(url) => stores::in_cloud(&url, resolved),
        Err(_) => Err(PlaceProblem::MoveOfAnother(from.to_string()).into()),
    }
}

fn generation(transferred: &Transfer) -> onward_core::model::Generation {
    match transferred {
        Transfer::Moved { generation, .. } | Transfer::Already(generation) => *generation,
    }
}

fn tell(
    resolved: &Resolved,
    from: &Address,
    to: &Address,
    transferred: &Transfer,
    screen: &Screen,
) {
    let environment = &resolved.environment;
    match transferred {
        Transfer::Moved { generation, generations, reports } => {
            let generations = crate::cli::numbers::count(*generations as u64, "generation");
            let reports = crate::cli::numbers::count(*reports as u64, "report");
            screen.success(&format!(
                "The state of {environment} is in {to} now: generation {generation}, with \
                 {generations} and {reports}"
            ));
            screen.note(&format!("  {from} is closed and says where it went"));
        }
        Transfer::Already(generation) => screen.success(&format!(
            "Nothing to do: the state of {environment} is in {to}, at generation {generation}"
        )),
    }
}

fn what_to_write(resolved: &Resolved, target: Option<&StoreUrl>) -> String {
    let table = format!("[environment.{}]", resolved.environment);
    match target {
        Some(url) => format!("Now write below {table} of onward.toml:\n  store = \"{url}\""),
        None => format!("Now remove the line `store` below {table} of onward.toml"),
    }
}

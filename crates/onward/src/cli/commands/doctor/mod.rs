//! `onward doctor`: is everything there that a deploy needs, and what to do where it is not?
//!
//! It changes nothing: no agent is started, no directory is made.

mod check;
mod hardening;
mod machine;
mod place;
mod programs;
mod servers;
mod state;
mod system;

use serde_json::json;

use check::{Check, Verdict};

use crate::cli::args::Global;
use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::numbers;
use crate::cli::screen::Screen;
use crate::cli::whereabouts;

/// Looks at everything and tells what it found; ends with 1 when a deploy would fail.
pub fn run(global: &Global, screen: &Screen) -> Result<Exit, Complaint> {
    let mut checks = machine::checks(&global.directory);
    match Context::load(global) {
        Ok(context) => {
            find_state(&context);
            checks.push(project(&context));
            checks.extend(programs::checks(&context));
            checks.extend(place::checks(&context));
            checks.extend(hardening::checks(&context));
            checks.extend(servers::checks(&context));
            checks.extend(state::checks(&context));
        }
        Err(complaint) => checks.push(unreadable(&complaint)),
    }
    tell(&checks, screen);
    let broken = checks.iter().any(|check| check.verdict == Verdict::Broken);
    screen.document(&json!({ "ok": !broken, "checks": checks }));
    Ok(if broken { Exit::Failed } else { Exit::Done })
}

/// Finds the server that keeps the state. What keeps it from being found is among what is looked at.
fn find_state(context: &Context) {
    let Some(ways) = context.ways() else { return };
    match ways.manager().connect() {
        Ok(()) => drop(whereabouts::find(context)),
        // It is told once; not every check waits for it again.
        Err(error) => ways.manager().give_up(error),
    }
}

fn project(context: &Context) -> Check {
    let title = format!("onward.toml is valid; {}", context.title());
    match &context.warnings {
        None => Check::fine("project", title),
        Some(found) => {
            let count = numbers::count(found.diagnostics.len() as u64, "warning");
            Check::warning("project", format!("{title}, {count}"), "`onward check` shows them")
        }
    }
}

fn unreadable(complaint: &Complaint) -> Check {
    let fix = match &complaint.findings {
        Some(_) => "`onward check` shows every problem with its place",
        None => "`onward init` writes an onward.toml; `-C DIR` names another directory",
    };
    let what = match &complaint.findings {
        Some(found) => format!(
            "{} has {}",
            found.file,
            numbers::count(found.diagnostics.len() as u64, "problem")
        ),
        None => complaint.what.clone(),
    };
    Check::broken("project", what, fix)
}

fn tell(checks: &[Check], screen: &Screen) {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or_default();
    for check in checks {
        screen.line(&format!("{}  {:width$}  {}", check.verdict.mark(), check.name, check.text));
        if let Some(fix) = &check.fix {
            screen.next(&format!("      {:width$}  → {fix}", ""));
        }
    }
    let of = |verdict| checks.iter().filter(|check| check.verdict == verdict).count() as u64;
    let last = match (of(Verdict::Broken), of(Verdict::Warning)) {
        (0, 0) => "Everything is as it should be".to_owned(),
        (0, warnings) => format!("A deploy can work; {}", numbers::count(warnings, "warning")),
        (broken, _) => {
            format!("A deploy would fail: {} to mend first", numbers::count(broken, "thing"))
        }
    };
    screen.line(&last);
}

//! `onward history`: the operations that ended, and the releases that can run.

use onward_core::document::{Document, Ended, Finished};
use onward_core::ports::StateStore;
use serde_json::json;

use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::numbers;
use crate::cli::outcome;
use crate::cli::screen::Screen;

/// Lists operations, newest first.
pub fn run(context: &Context, count: usize, screen: &Screen) -> Result<Exit, Complaint> {
    let Some(stored) = context.store().read()? else {
        screen.line(&format!("{}: nothing has been released here yet", context.title()));
        screen.document(&json!({"operations": [], "releases": [], "serving": null}));
        return Ok(Exit::Done);
    };
    let document = &*stored.document;
    let latest: Vec<_> = document.history.iter().rev().take(count).collect();
    screen.document(&json!({
        "operations": latest,
        "in_flight": document.operation,
        "releases": document.releases.values().collect::<Vec<_>>(),
        "serving": document.serving,
        "warm": document.warm,
    }));
    screen.line(&context.title());
    if let Some(operation) = &document.operation {
        screen.line(&format!(
            "  {:>4}  {:<8}  in flight: {}",
            operation.number,
            operation.kind.word(),
            operation.phase.title()
        ));
    }
    for finished in &latest {
        screen.line(&line(finished));
    }
    if let Some(releases) = can_run(document) {
        screen.line(&format!("  Releases that can run: {releases}"));
    }
    Ok(Exit::Done)
}

fn line(finished: &Finished) -> String {
    let release = match (&finished.release, &finished.label) {
        (Some(number), Some(label)) => format!("release {number} ({label})"),
        (Some(number), None) => format!("release {number}"),
        (None, _) => "everything".to_owned(),
    };
    let outcome = match &finished.outcome {
        Ended::Done => "done".to_owned(),
        Ended::Failed(failure) => format!("failed: {}", failure.reason),
        Ended::Aborted { reason } => format!("aborted: {reason}"),
    };
    let took = finished.ended.duration_since(finished.started).unsigned_abs();
    let proof = finished.proof.as_ref().filter(|proof| proof.requests > 0);
    let proof = proof.map_or_else(String::new, |p| format!("; {}", outcome::proof_text(p)));
    format!(
        "  {:>4}  {:<8}  {release}  {}  by {}  {outcome}, {}{proof}",
        finished.number,
        finished.kind.word(),
        finished.started.strftime("%Y-%m-%d %H:%M:%SZ"),
        finished.by,
        numbers::duration(took),
    )
}

fn can_run(document: &Document) -> Option<String> {
    let of = |number: &onward_core::model::ReleaseNumber| {
        let mark = match Some(*number) {
            number if number == document.serving => " serves",
            number if number == document.warm => " is warm",
            _ => "",
        };
        format!("{number}{mark}")
    };
    let names: Vec<_> = document.releases.keys().rev().map(of).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

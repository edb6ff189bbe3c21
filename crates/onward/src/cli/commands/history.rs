//! `onward history`: the operations that ended, and the releases that can run.

use jiff::Timestamp;
use onward_core::document::{Document, Finished};
use onward_core::model::ReleaseNumber;
use serde_json::json;

use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::numbers;
use crate::cli::outcome;
use crate::cli::reading;
use crate::cli::screen::Screen;
use crate::cli::table::{Table, cut};

/// Names and labels are cut to this, so that a line fits a terminal of 80 columns.
const WHO_SHOWN: usize = 8;
const RELEASE_SHOWN: usize = 16;

/// Lists operations, newest first.
pub fn run(context: &Context, count: usize, screen: &Screen) -> Result<Exit, Complaint> {
    let Some(reading) = reading::read(context, screen)? else {
        screen.line(&format!("{}: nothing has been released here yet", context.title()));
        screen.document(&json!({"operations": [], "releases": [], "serving": null}));
        return Ok(Exit::Done);
    };
    let document = &*reading.stored.document;
    let now = Timestamp::now();
    let latest: Vec<_> = document.history.iter().rev().take(count).collect();
    let warm = outcome::warm(document, now).map(|(number, _)| number);
    screen.document(&json!({
        "operations": latest,
        "in_flight": document.operation,
        "releases": document.releases.values().collect::<Vec<_>>(),
        "serving": document.serving,
        "warm": warm,
    }));
    screen.line(&context.title());
    for line in table(document, &latest, now) {
        screen.line(&format!("  {line}"));
    }
    let hidden = document.history.len() - latest.len();
    if hidden > 0 {
        screen.line(&format!(
            "  … and {} before; `-n` shows more",
            numbers::count(hidden as u64, "operation")
        ));
    }
    if let Some(releases) = can_run(document, warm) {
        screen.line(&format!("  Releases that can run: {releases}"));
    }
    Ok(Exit::Done)
}

/// The operations, each with its reason and its traffic on lines of their own below it.
fn table(document: &Document, latest: &[&Finished], now: Timestamp) -> Vec<String> {
    let mut table = Table::new(["OP", "WHEN (UTC)", "WHAT", "ENDED", "TOOK", "BY", "RELEASE"]);
    let mut notes: Vec<Vec<String>> = Vec::new();
    if let Some(operation) = &document.operation {
        let running = now.duration_since(operation.started).unsigned_abs();
        table.row([
            operation.number.to_string(),
            when(operation.started),
            operation.kind.word().to_owned(),
            "not yet".to_owned(),
            numbers::duration(running),
            cut(&operation.by, WHO_SHOWN),
            operation.release.map_or_else(|| "-".to_owned(), |number| number.to_string()),
        ]);
        notes.push(vec![operation.phase.title().to_owned()]);
    }
    for finished in latest {
        let (ended, reason) = outcome::ended(finished);
        let took = finished.ended.duration_since(finished.started).unsigned_abs();
        table.row([
            finished.number.to_string(),
            when(finished.started),
            finished.kind.word().to_owned(),
            ended.to_owned(),
            numbers::duration(took),
            cut(&finished.by, WHO_SHOWN),
            release(finished),
        ]);
        let proof = finished.proof.as_ref().filter(|proof| proof.requests > 0);
        let proof = proof.map(outcome::proof_text);
        notes.push(reason.map(str::to_owned).into_iter().chain(proof).collect());
    }
    let mut lines = Vec::new();
    let mut rows = table.lines().into_iter();
    lines.extend(rows.next());
    for (row, notes) in rows.zip(notes) {
        lines.push(row);
        lines.extend(notes.into_iter().map(|note| format!("      {note}")));
    }
    lines
}

fn when(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M").to_string()
}

fn release(finished: &Finished) -> String {
    let text = match (&finished.release, &finished.label) {
        (Some(number), Some(label)) => format!("{number} {label}"),
        (Some(number), None) => number.to_string(),
        (None, _) => "-".to_owned(),
    };
    cut(&text, RELEASE_SHOWN)
}

fn can_run(document: &Document, warm: Option<ReleaseNumber>) -> Option<String> {
    let of = |number: &ReleaseNumber| {
        let mark = match Some(*number) {
            number if number == document.serving => " (serves)",
            number if number == warm => " (warm)",
            _ => "",
        };
        format!("{number}{mark}")
    };
    let names: Vec<_> = document.releases.keys().rev().map(of).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

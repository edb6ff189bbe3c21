//! `onward why`: the story of a release.

use jiff::Timestamp;
use onward_core::document::{Document, Ended, Failure, Finished, Phase};
use onward_core::engine::Refusal;
use onward_core::model::{Generation, ReleaseNumber};
use onward_core::ports::StateStore;
use onward_store::state::Documents;
use serde_json::{Value, json};

use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::numbers;
use crate::cli::outcome;
use crate::cli::problem::Problem;
use crate::cli::reading;
use crate::cli::screen::Screen;

/// One thing that happened.
struct Moment {
    at: Timestamp,
    generation: Generation,
    text: String,
}

/// Tells what happened with a release, from the generations of the state; by default with the one
/// of the last operation.
pub fn run(context: &Context, number: Option<u64>, screen: &Screen) -> Result<Exit, Complaint> {
    let store = context.store();
    let Some(reading) = reading::read(context, screen)? else {
        return Err(Refusal::NothingReleased.into());
    };
    let document = &*reading.stored.document;
    let last = document.last_release;
    let number = number.map(ReleaseNumber).or_else(|| last_release(document));
    let number = number.ok_or(Refusal::NothingReleased)?;
    if number > last || number.0 == 0 {
        return Err(Problem::NoRelease { number, last }.into());
    }
    let operations: Vec<_> =
        document.history.iter().filter(|finished| finished.release == Some(number)).collect();
    let moments = moments(&store, number)?;
    screen.document(&as_json(document, number, &operations, &moments));
    tell(document, number, &operations, &moments, screen);
    Ok(Exit::Done)
}

fn last_release(document: &Document) -> Option<ReleaseNumber> {
    let in_flight = document.operation.as_ref().and_then(|operation| operation.release);
    in_flight.or_else(|| document.history.iter().rev().find_map(|finished| finished.release))
}

/// The phases that the release went through, read from the generations.
fn moments(store: &Documents, number: ReleaseNumber) -> Result<Vec<Moment>, Complaint> {
    let mut moments = Vec::new();
    let mut last: Option<(u64, Phase)> = None;
    for generation in store.generations()? {
        let Some(stored) = store.read_generation(generation)? else { continue };
        let document = &*stored.document;
        let own = document.operation.as_ref().filter(|o| o.release == Some(number));
        let now = own.map(|operation| (operation.number.0, operation.phase));
        if now != last {
            let at = document.written;
            let text = match (own, &last) {
                (Some(operation), _) => {
                    format!("operation {}: {}", operation.number, operation.phase.title())
                }
                (None, Some((ended, _))) => how_it_ended(document, *ended),
                (None, None) => String::new(),
            };
            moments.push(Moment { at, generation, text });
        }
        last = now;
    }
    Ok(moments)
}

fn how_it_ended(document: &Document, operation: u64) -> String {
    let finished = document.history.iter().rev().find(|f| f.number.0 == operation);
    let outcome = finished.map(|finished| &finished.outcome);
    match outcome {
        Some(Ended::Done) => format!("operation {operation} done"),
        Some(Ended::Failed(failure)) => format!("operation {operation} failed: {}", failure.reason),
        Some(Ended::Aborted { reason }) => format!("operation {operation} ended: {reason}"),
        None => format!("operation {operation} ended"),
    }
}

fn tell(
    document: &Document,
    number: ReleaseNumber,
    operations: &[&Finished],
    moments: &[Moment],
    screen: &Screen,
) {
    let label = operations.iter().find_map(|finished| finished.label.as_deref());
    let release = document.release(number);
    let label = label.or(release.map(|release| release.bundle.label.as_str()));
    let label = label.map_or_else(String::new, |label| format!(" ({label})"));
    screen.line(&format!("Release {number}{label} {}", now(document, number, operations)));
    let began = moments.first().map(|moment| moment.at);
    for moment in moments {
        let after = began.map_or_else(String::new, |began| {
            format!("+{}", numbers::duration(moment.at.duration_since(began).unsigned_abs()))
        });
        screen.line(&format!(
            "  {}  {after:>9}  {}",
            moment.at.strftime("%Y-%m-%d %H:%M:%SZ"),
            moment.text
        ));
    }
    for finished in operations {
        if let Ended::Failed(failure) = &finished.outcome {
            tell_failure(failure, screen);
        }
        if let Some(proof) = finished.proof.as_ref().filter(|proof| proof.requests > 0) {
            screen.line(&format!(
                "  Traffic during operation {}: {}",
                finished.number,
                outcome::proof_text(proof)
            ));
        }
    }
}

/// What the release is now, as the rest of a sentence.
fn now(document: &Document, number: ReleaseNumber, operations: &[&Finished]) -> String {
    let warm = outcome::warm(document, Timestamp::now());
    let own = document.operation.as_ref().filter(|o| o.release == Some(number));
    if let Some(operation) = own.filter(|_| document.serving != Some(number)) {
        return format!("is on its way: {}", operation.phase.title());
    }
    if document.serving == Some(number) {
        return "serves".to_owned();
    }
    if let Some((_, until)) = warm.filter(|(warm, _)| *warm == number) {
        return format!(
            "is kept warm for a quick way back, until about {}",
            until.strftime("%H:%M UTC")
        );
    }
    if document.release(number).is_some() {
        return format!("does not serve; `onward rollback {number}` goes back to it");
    }
    match operations.last().map(|finished| &finished.outcome) {
        Some(Ended::Failed(_)) => "failed and does not serve",
        Some(Ended::Aborted { .. }) => "was stopped before it served",
        Some(Ended::Done) | None => "does not serve and is no longer kept",
    }
    .to_owned()
}

fn tell_failure(failure: &Failure, screen: &Screen) {
    if let Some(answer) = &failure.answer {
        screen.line(&format!("  Last answer of the probe: {answer}"));
    }
    if !failure.lines.is_empty() {
        screen.line("  Last lines it printed:");
    }
    for line in &failure.lines {
        screen.line(&format!("    | {line}"));
    }
}

fn as_json(
    document: &Document,
    number: ReleaseNumber,
    operations: &[&Finished],
    moments: &[Moment],
) -> Value {
    let timeline: Vec<_> = moments
        .iter()
        .map(|m| json!({"at": m.at, "generation": m.generation, "text": m.text}))
        .collect();
    json!({
        "release": number,
        "serves": document.serving == Some(number),
        "warm": outcome::warm(document, Timestamp::now()).is_some_and(|(warm, _)| warm == number),
        "can_run": document.release(number).is_some(),
        "operations": operations,
        "timeline": timeline,
    })
}

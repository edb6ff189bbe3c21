//! `onward why`: the story of a release.

use jiff::{SignedDuration, Timestamp};
use onward_core::document::{Document, Ended, Failure, Finished, Phase};
use onward_core::engine::Refusal;
use onward_core::model::{Generation, OperationNumber, ReleaseNumber};
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
    operation: OperationNumber,
    text: String,
    /// How long it lasted; none for an end.
    took: Option<SignedDuration>,
}

/// The longest bar of a timeline, in characters.
const BAR_WIDTH: f64 = 24.0;

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
    let mut moments: Vec<Moment> = Vec::new();
    let mut last: Option<(OperationNumber, Phase)> = None;
    for generation in store.generations()? {
        let Some(stored) = store.read_generation(generation)? else { continue };
        let document = &*stored.document;
        let own = document.operation.as_ref().filter(|o| o.release == Some(number));
        let now = own.map(|operation| (operation.number, operation.phase));
        if now == last {
            continue;
        }
        let at = document.written;
        if let (Some(before), true) = (moments.last_mut(), last.is_some()) {
            before.took = Some(at.duration_since(before.at));
        }
        if let Some((ended, _)) = last.filter(|(ended, _)| now.is_none_or(|(own, _)| own != *ended))
        {
            let text = how_it_ended(document, ended);
            moments.push(Moment { at, generation, operation: ended, text, took: None });
        }
        if let Some((operation, phase)) = now {
            let text = phase.title().to_owned();
            moments.push(Moment { at, generation, operation, text, took: None });
        }
        last = now;
    }
    Ok(moments)
}

fn how_it_ended(document: &Document, operation: OperationNumber) -> String {
    match document.finished(operation).map(|finished| &finished.outcome) {
        Some(Ended::Done) => "done".to_owned(),
        Some(Ended::Failed(failure)) => format!("failed: {}", failure.reason),
        Some(Ended::Aborted { reason }) => format!("ended: {reason}"),
        None => "ended".to_owned(),
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
    for own in moments.chunk_by(|one, other| one.operation == other.operation) {
        tell_timeline(document, own, screen);
        let finished = operations.iter().find(|finished| finished.number == own[0].operation);
        if let Some(finished) = finished {
            tell_end(finished, screen);
        }
    }
}

/// One operation: when each phase began, how long it took, drawn to scale.
fn tell_timeline(document: &Document, moments: &[Moment], screen: &Screen) {
    let Some(first) = moments.first() else { return };
    let finished = document.finished(first.operation);
    let in_flight = document.operation.as_ref().filter(|o| o.number == first.operation);
    let asked = finished
        .map(|finished| (finished.kind, &finished.by))
        .or(in_flight.map(|operation| (operation.kind, &operation.by)));
    let asked = asked.map_or_else(String::new, |(kind, by)| format!(": {} by {by}", kind.word()));
    screen.line(&format!(
        "  {}  operation {}{asked}",
        first.at.strftime("%Y-%m-%d %H:%M:%SZ"),
        first.operation
    ));
    let longest = moments.iter().filter_map(|moment| moment.took).max().unwrap_or_default();
    let width = moments.iter().filter(|m| m.took.is_some()).map(|m| m.text.chars().count()).max();
    let width = width.unwrap_or_default();
    for moment in moments {
        let after = numbers::duration(moment.at.duration_since(first.at).unsigned_abs());
        let line = match moment.took {
            None => format!("    {:>9}  {}", format!("+{after}"), moment.text),
            Some(took) => format!(
                "    {:>9}  {:width$}  {:>7}  {}",
                format!("+{after}"),
                moment.text,
                numbers::duration(took.unsigned_abs()),
                bar(took, longest)
            ),
        };
        screen.line(line.trim_end());
    }
}

/// A bar of the length that a duration has beside the longest one.
fn bar(took: SignedDuration, longest: SignedDuration) -> String {
    let share = took.as_secs_f64() / longest.as_secs_f64().max(f64::EPSILON);
    "▪".repeat((share * BAR_WIDTH).round() as usize)
}

/// What an operation left: why it failed, and what its proxies counted.
fn tell_end(finished: &Finished, screen: &Screen) {
    if let Ended::Failed(failure) = &finished.outcome {
        tell_failure(failure, screen);
    }
    if let Some(proof) = finished.proof.as_ref().filter(|proof| proof.requests > 0) {
        screen.line(&format!("    Traffic: {}", outcome::proof_text(proof)));
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
        screen.line(&format!("    Last answer of the probe: {answer}"));
    }
    if !failure.lines.is_empty() {
        screen.line("    Last lines it printed:");
    }
    for line in &failure.lines {
        screen.line(&format!("      | {line}"));
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
        .map(|m| {
            json!({
                "at": m.at,
                "generation": m.generation,
                "operation": m.operation,
                "text": m.text,
                "seconds": m.took.map(|took| took.as_secs_f64()),
            })
        })
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

//! The last lines of an operation: what serves, where, and what it cost.

use std::time::Duration;

use jiff::Timestamp;
use onward_core::document::{Document, Ended, Finished, Kind, Operation, Phase};
use onward_core::model::ReleaseNumber;
use onward_core::order::Level;
use onward_core::report::Report;
use onward_core::traffic::Proof;
use serde_json::{Value, json};

use super::complaint::Complaint;
use super::exit::Exit;
use super::numbers;
use super::problem::Problem;

/// Fewer requests than this have no 99th percentile worth telling.
const REQUESTS_FOR_P99: u64 = 100;

/// `release 4 (3f2a9c1)`.
pub fn release_name(document: &Document, number: ReleaseNumber) -> String {
    match document.release(number) {
        Some(release) => format!("release {number} ({})", release.bundle.label),
        None => format!("release {number}"),
    }
}

/// What serves, as a sentence without its full stop.
pub fn serves(document: &Document, url: Option<&str>) -> String {
    match (document.serving, url) {
        (Some(number), Some(url)) => format!("{} serves {url}", release_name(document, number)),
        (Some(number), None) => format!("{} serves", release_name(document, number)),
        (None, _) => "nothing serves".to_owned(),
    }
}

/// The release that is kept running for a quick way back, and until about when.
pub fn warm(document: &Document, now: Timestamp) -> Option<(ReleaseNumber, Timestamp)> {
    let number = document.warm?;
    let kept = Duration::from_millis(document.release(number)?.config.warm_ms);
    let left =
        document.history.iter().rev().find(|finished| {
            finished.outcome == Ended::Done && finished.previous == Some(number)
        })?;
    let until = left.ended.checked_add(kept).ok()?;
    (now < until).then_some((number, until))
}

/// How an operation ended: one word, and the reason when there is one.
pub fn ended(finished: &Finished) -> (&'static str, Option<&str>) {
    match &finished.outcome {
        Ended::Done => ("done", None),
        Ended::Failed(failure) => ("failed", Some(&failure.reason)),
        Ended::Aborted { reason } => ("aborted", Some(reason)),
    }
}

/// What a generation of the state is about.
pub fn step(document: &Document) -> String {
    if let Some(edit) = pending_edit(document) {
        return format!("an edit demands {edit}");
    }
    match (&document.operation, document.history.last()) {
        (Some(operation), _) => {
            let of = operation.release.map_or_else(String::new, |n| format!(" of release {n}"));
            let (number, word) = (operation.number, operation.kind.word());
            let step = step_text(document, operation);
            format!("operation {number}, {word}{of}: {}{step}", phase_title(operation))
        }
        (None, Some(last)) => match ended(last) {
            ("failed", Some(reason)) => format!("operation {} failed: {reason}", last.number),
            (_, Some(reason)) => format!("operation {} ended: {reason}", last.number),
            (word, None) => format!("operation {} {word}", last.number),
        },
        (None, None) => "the state was written".to_owned(),
    }
}

/// An edit of the demand that no operation follows yet: what it demands instead of what.
pub fn pending_edit(document: &Document) -> Option<String> {
    if document.operation.is_some() || document.demand.release == document.serving {
        return None;
    }
    let name = |number: Option<ReleaseNumber>| {
        number.map_or_else(|| "nothing".to_owned(), |number| release_name(document, number))
    };
    Some(format!("{} instead of {}", name(document.demand.release), name(document.serving)))
}

/// What people read while a phase of an operation lasts.
pub const fn phase_title(operation: &Operation) -> &'static str {
    match (operation.kind, operation.phase) {
        (Kind::Scale, Phase::Start) => "starting and probing what is added",
        (Kind::Scale, Phase::Switch) => "taking traffic from what is not needed",
        (_, phase) => phase.title(),
    }
}

/// ` on local, local-2 (2 of 8 servers)`, in a phase that is about some servers only.
pub fn step_text(document: &Document, operation: &Operation) -> String {
    let in_steps = matches!(operation.phase, Phase::Switch | Phase::Exchange | Phase::Watch);
    let Some(rollout) = operation.rollout.as_ref().filter(|_| in_steps) else {
        return String::new();
    };
    let names = rollout.step.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let (taken, all) = (rollout.taken.len() + rollout.step.len(), document.servers.len());
    format!(" on {names} ({taken} of {all} servers)")
}

/// What one server is doing, in a few words.
pub fn server_line(report: &Report) -> String {
    let mut words = Vec::new();
    for (number, release) in &report.releases {
        let level = match release.level {
            Level::Gone => "being staged",
            Level::Staged => continue_or_staged(release.instances.is_empty()),
            Level::Running => "ready",
            Level::Routed => "gets traffic",
        };
        if level != "staged" {
            words.push(format!("{number} {level}"));
        }
    }
    words.join(", ")
}

const fn continue_or_staged(idle: bool) -> &'static str {
    if idle { "staged" } else { "starting" }
}

/// `0 of 12,431 requests lost, app errors 0, p99 +2 ms`.
pub fn proof_text(proof: &Proof) -> String {
    let mut text = format!(
        "{} of {} lost, app errors {}",
        numbers::grouped(proof.lost),
        numbers::count(proof.requests, "request"),
        numbers::grouped(proof.app_errors)
    );
    if proof.requests >= REQUESTS_FOR_P99
        && let (Some(before), Some(during)) = (proof.p99_before_us, proof.p99_us)
    {
        let (before, during) = (before as f64 / 1000.0, during as f64 / 1000.0);
        text.push_str(&format!(", p99 {:+.1} ms", during - before));
    }
    if proof.incomplete {
        text.push_str(" (the proxy was restarted meanwhile, so the counts are not complete)");
    }
    text
}

/// The fields of the last JSON line about an operation.
pub fn finished_json(document: &Document, finished: &Finished, url: Option<&str>) -> Value {
    let (outcome, reason) = ended(finished);
    json!({
        "operation": finished.number,
        "kind": finished.kind,
        "release": finished.release,
        "label": finished.label,
        "outcome": outcome,
        "reason": reason,
        "serving": document.serving,
        "url": url,
        "degraded": finished.degraded,
        "proof": finished.proof,
    })
}

fn maintenance(document: &Document, url: Option<&str>, took: &str) -> String {
    let place = url.map_or_else(String::new, |url| format!(" of {url}"));
    match document.demand.maintenance {
        Some(_) => format!("Maintenance is on after {took}: visitors{place} get its page and 503"),
        None => format!("Maintenance is off after {took}; {}", serves(document, url)),
    }
}

/// The final sentence of an operation that did what was asked.
pub fn done_text(
    document: &Document,
    finished: &Finished,
    url: Option<&str>,
    took: Duration,
) -> String {
    let took = numbers::duration(took);
    let mut text = match finished.kind {
        Kind::Down => format!("{} is down after {took}", document.environment),
        Kind::Maintenance => maintenance(document, url, &took),
        _ => format!("{} after {took}", capitalised(&serves(document, url))),
    };
    if let Some(proof) = finished.proof.as_ref().filter(|proof| proof.requests > 0) {
        text.push_str(&format!("; {}", proof_text(proof)));
    }
    text
}

/// The complaint about an operation that failed or was aborted.
pub fn not_done(document: &Document, finished: &Finished, url: Option<&str>) -> Complaint {
    let word = finished.kind.word();
    let of = match (&finished.release, &finished.label) {
        (Some(number), Some(label)) => format!(" of release {number} ({label})"),
        (Some(number), None) => format!(" of release {number}"),
        (None, _) => String::new(),
    };
    let still = format!("{}", Still { document, finished, url });
    match &finished.outcome {
        Ended::Failed(failure) => {
            let place = failure.server.as_ref().map_or(String::new(), |name| format!(" on {name}"));
            let what = format!("the {word}{of} failed{place}: {}", failure.reason);
            let complaint = Complaint::new(Exit::Failed, what).serving(still).seen(failure);
            match finished.release {
                Some(number) => complaint.hint(format!(
                    "`onward why {number}` tells its story, `onward logs --release {number}` \
                     shows what it printed"
                )),
                None => complaint,
            }
        }
        Ended::Aborted { reason } => {
            Complaint::new(Exit::Failed, format!("the {word}{of} was {reason}")).serving(still)
        }
        Ended::Done => Problem::Bug("an operation that is done was told as one that is not").into(),
    }
}

struct Still<'a> {
    document: &'a Document,
    finished: &'a Finished,
    url: Option<&'a str>,
}

impl std::fmt::Display for Still<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let still = if self.finished.previous == self.document.serving {
            "Still serving"
        } else {
            "Serving"
        };
        match (self.document.serving, self.url) {
            (None, _) => write!(f, "Nothing serves"),
            (Some(number), None) => write!(f, "{still}: {}", release_name(self.document, number)),
            (Some(number), Some(url)) => {
                write!(f, "{still}: {} at {url}", release_name(self.document, number))
            }
        }
    }
}

/// What serves now, as the last line of a command that failed.
pub fn last_line(document: &Document, url: Option<&str>) -> String {
    match (document.serving, url) {
        (None, _) => "Nothing serves".to_owned(),
        (Some(number), None) => format!("Still serving: {}", release_name(document, number)),
        (Some(number), Some(url)) => {
            format!("Still serving: {} at {url}", release_name(document, number))
        }
    }
}

/// The same text with a capital first letter.
pub fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

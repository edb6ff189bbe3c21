//! `onward events`: what changes, as it changes.

use std::thread;
use std::time::Duration;

use onward_core::document::{Document, Ended};
use onward_core::model::Generation;
use onward_core::ports::StateStore;
use onward_core::report::Report;
use serde_json::json;

use crate::cli::carry;
use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::interrupt;
use crate::cli::outcome;
use crate::cli::screen::Screen;

/// How often the state is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Prints a line for every generation of the state and every change on the server, until Ctrl-C.
pub fn run(context: &Context, screen: &Screen) -> Result<Exit, Complaint> {
    let interrupts = interrupt::watch();
    let store = context.store();
    screen.note(&format!("{}: waiting for events; Ctrl-C ends", context.title()));
    let mut seen: Option<Generation> = store.read()?.map(|stored| stored.document.generation);
    let mut before: Option<String> = carry::local_report(context).as_ref().map(summary);
    while interrupts.count() == 0 {
        let now = store.read()?.map(|stored| stored.document.generation);
        for number in seen.map_or(1, |seen| seen.0 + 1)..=now.map_or(0, |now| now.0) {
            if let Some(stored) = store.read_generation(Generation(number))? {
                tell(&stored.document, screen);
            }
        }
        seen = now.or(seen);
        let after = carry::local_report(context).as_ref().map(summary);
        if let Some(after) = after.filter(|after| before.as_ref() != Some(after)) {
            screen.event(&json!({"event": "server", "server": "local", "text": after}));
            screen.line(&format!("server local: {after}"));
            before = Some(after);
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(Exit::Done)
}

fn summary(report: &Report) -> String {
    let mut text = outcome::server_line(report);
    for (number, release) in &report.releases {
        for instance in &release.instances {
            let pid = instance.pid.map_or_else(String::new, |pid| format!(" pid {pid}"));
            text.push_str(&format!(
                "; {} of {number}: {}{pid}",
                instance.process,
                instance.state.word()
            ));
        }
    }
    text
}

fn tell(document: &Document, screen: &Screen) {
    let text = match (&document.operation, document.history.last()) {
        (Some(operation), _) => {
            let of = operation.release.map_or_else(String::new, |n| format!(" of release {n}"));
            let (number, word) = (operation.number, operation.kind.word());
            format!("operation {number}, {word}{of}: {}", operation.phase.title())
        }
        (None, Some(last)) => match &last.outcome {
            Ended::Done => format!("operation {} done", last.number),
            Ended::Failed(failure) => {
                format!("operation {} failed: {}", last.number, failure.reason)
            }
            Ended::Aborted { reason } => format!("operation {} aborted: {reason}", last.number),
        },
        (None, None) => "the state was written".to_owned(),
    };
    screen.event(&json!({
        "event": "generation",
        "generation": document.generation,
        "at": document.written,
        "text": text,
    }));
    screen.line(&format!(
        "{} generation {}: {text}",
        document.written.strftime("%H:%M:%S"),
        document.generation
    ));
}

//! `onward events`: what changes, as it changes.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use onward_core::document::Document;
use onward_core::model::{Generation, ServerName};
use onward_core::ports::StateStore;
use onward_core::report::Report;
use serde_json::json;

use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::fleet;
use crate::cli::interrupt;
use crate::cli::outcome;
use crate::cli::runs;
use crate::cli::screen::Screen;

/// How often the state is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Prints a line for every generation of the state and every change on the server, until Ctrl-C.
pub fn run(context: &Context, screen: &Screen) -> Result<Exit, Complaint> {
    let interrupts = interrupt::watch();
    let store = context.store();
    screen.note(&format!("{}: waiting for events; Ctrl-C ends", context.title()));
    let mut seen: Option<Generation> = store.read()?.map(|stored| stored.document.generation);
    let mut before = summaries(context);
    while interrupts.count() == 0 && screen.is_read() {
        let now = store.read()?.map(|stored| stored.document.generation);
        for number in seen.map_or(1, |seen| seen.0 + 1)..=now.map_or(0, |now| now.0) {
            if let Some(stored) = store.read_generation(Generation(number))? {
                tell(&stored.document, screen);
            }
        }
        seen = now.or(seen);
        for (server, text) in summaries(context) {
            if before.get(&server) != Some(&text) {
                screen.event(&json!({"event": "server", "server": server, "text": text}));
                let at = Timestamp::now().strftime("%H:%M:%S");
                screen.line(&format!("{at} server {server}: {text}"));
                before.insert(server, text);
            }
        }
        thread::sleep(LOOK_EVERY);
    }
    screen.finished(true, json!({"generation": seen}));
    Ok(Exit::Done)
}

/// What each server that says something says.
fn summaries(context: &Context) -> BTreeMap<ServerName, String> {
    let stored = context.store().read().ok().flatten();
    let reports = fleet::reports(context, stored.as_ref().map(|stored| &*stored.document));
    reports.iter().filter_map(|(name, own)| Some((name.clone(), summary(own.as_ref()?)))).collect()
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
    text + &runs::summary(report)
}

fn tell(document: &Document, screen: &Screen) {
    let text = outcome::step(document);
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

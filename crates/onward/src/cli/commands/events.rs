//! `onward events`: what changes, as it changes, on all servers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use onward_core::document::Document;
use onward_core::model::{AppName, EnvironmentName, Generation, ServerName};
use onward_core::ports::StateStore;
use onward_core::report::Report;
use onward_server::client::Client;
use serde_json::json;

use crate::cli::args_where::Where;
use crate::cli::certified;
use crate::cli::chosen;
use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::interrupt;
use crate::cli::outcome;
use crate::cli::runs;
use crate::cli::screen::Screen;
use crate::providers::Server;
use crate::providers::local::Contact;

/// How often the state is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long an agent waits for news before it says that there are none, in milliseconds.
const NEWS_WITHIN_MS: u64 = 2_000;
/// How often a server is looked for whose agent does not answer.
const LOOKED_FOR_EVERY: Duration = Duration::from_millis(500);
/// How many changes may wait to be printed; the servers' watchers wait meanwhile.
const CHANGES_WAITING: usize = 256;

/// Prints a line for every generation of the state and every change on a server, until Ctrl-C.
pub fn run(context: &Context, place: &Where, screen: &Screen) -> Result<Exit, Complaint> {
    let interrupts = interrupt::watch();
    let store = context.store();
    screen.note(&format!("{}: waiting for events; Ctrl-C ends", context.title()));
    let first = store.read()?;
    if !place.is_open() {
        chosen::servers(context, first.as_ref().map(|stored| &*stored.document), place)?;
    }
    let mut seen = first.as_ref().map(|stored| stored.document.generation);
    let mut before: Option<Arc<Document>> = first.map(|stored| stored.document);
    let mut watched = Watched::begin();
    while interrupts.count() == 0 && screen.is_read() {
        let now = store.read()?;
        watched.servers(context, now.as_ref().map(|stored| &*stored.document), place);
        let now = now.map(|stored| stored.document.generation);
        for number in seen.map_or(1, |seen| seen.0 + 1)..=now.map_or(0, |now| now.0) {
            if let Some(stored) = store.read_generation(Generation(number))? {
                tell(before.as_deref(), &stored.document, screen);
                before = Some(stored.document);
            }
        }
        seen = now.or(seen);
        for change in watched.changes.try_iter() {
            tell_change(&change, screen);
        }
        thread::sleep(LOOK_EVERY);
    }
    screen.finished(true, json!({"generation": seen}));
    Ok(Exit::Done)
}

/// The servers that are watched, each by a thread that ends with the command.
struct Watched {
    names: BTreeSet<ServerName>,
    sender: SyncSender<Change>,
    changes: Receiver<Change>,
}

/// What changed on a server.
struct Change {
    at: Timestamp,
    server: ServerName,
    text: String,
}

impl Watched {
    fn begin() -> Self {
        let (sender, changes) = sync_channel(CHANGES_WAITING);
        Self { names: BTreeSet::new(), sender, changes }
    }

    /// Watches those that are not watched yet.
    fn servers(&mut self, context: &Context, document: Option<&Document>, place: &Where) {
        for server in chosen::servers(context, document, place).unwrap_or_default() {
            if self.names.insert(server.name().clone()) {
                let sender = self.sender.clone();
                let (app, environment) = (context.app().clone(), context.environment().clone());
                thread::spawn(move || watch(&server, &app, &environment, &sender));
            }
        }
    }
}

/// Sends what a server says each time that it is something else. What it says at first is known.
fn watch(
    server: &Server,
    app: &AppName,
    environment: &EnvironmentName,
    changes: &SyncSender<Change>,
) {
    let mut before: Option<String> = None;
    let mut tell = |text: String| {
        if before.as_ref() == Some(&text) {
            return true;
        }
        let is_first = before.replace(text.clone()).is_none();
        let change = Change { at: Timestamp::now(), server: server.name().clone(), text };
        is_first || changes.send(change).is_ok()
    };
    loop {
        let goes_on = match server.contact() {
            Contact::Answers(agent, _) => listen(agent, app, environment, &mut tell),
            Contact::Unreachable(error) => tell(format!("it {error}")),
            // On this machine it is nothing to tell: the next command starts it.
            _ => true,
        };
        if !goes_on {
            return;
        }
        thread::sleep(LOOKED_FOR_EVERY);
    }
}

/// Listens until the agent ends; whether somebody still wants to know.
fn listen(
    mut agent: Client,
    app: &AppName,
    environment: &EnvironmentName,
    tell: &mut impl FnMut(String) -> bool,
) -> bool {
    let mut known = None;
    while let Ok(seen) = agent.report(app, environment, known, NEWS_WITHIN_MS) {
        known = Some(seen.revision);
        if !tell(summary(&seen.report)) {
            return false;
        }
    }
    true
}

fn tell_change(change: &Change, screen: &Screen) {
    let Change { at, server, text } = change;
    screen.event(&json!({"event": "server", "at": at, "server": server, "text": text}));
    screen.line(&format!("{} server {server}: {text}", at.strftime("%H:%M:%S")));
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

fn tell(before: Option<&Document>, document: &Document, screen: &Screen) {
    let certificates = certified::changes(before, document);
    let text = match certificates.is_empty() {
        true => outcome::step(document),
        false => certificates.join("; "),
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

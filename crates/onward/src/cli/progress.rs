//! What a person sees while an operation runs: a live line per server, or plain lines.

use std::time::{Duration, Instant};

use onward_core::document::{Document, Operation, Phase};
use onward_core::report::{Contact, Contacts};
use onward_core::runner::Runner;
use serde_json::json;

use super::interrupt::Interrupts;
use super::numbers;
use super::screen::Screen;
use crate::runner::{Observer, Stop};

/// How often a live line is drawn anew.
const REDRAW: Duration = Duration::from_millis(80);

/// Follows one run and shows it.
pub struct Progress<'a> {
    screen: &'a Screen,
    interrupts: &'a Interrupts,
    began: Instant,
    shown: Option<(u64, Phase)>,
    drawn: usize,
    last_draw: Option<Instant>,
}

impl<'a> Progress<'a> {
    /// Shows a run on the screen, and ends it when the person insists.
    pub fn new(screen: &'a Screen, interrupts: &'a Interrupts) -> Self {
        Self { screen, interrupts, began: Instant::now(), shown: None, drawn: 0, last_draw: None }
    }

    /// Takes the live lines away.
    pub fn clear(&mut self) {
        if self.drawn > 0 {
            self.screen.redraw(self.drawn, &[]);
            self.drawn = 0;
        }
    }

    fn tell(&mut self, document: &Document, operation: &Operation) {
        let key = (operation.number.0, operation.phase);
        if self.shown == Some(key) {
            return;
        }
        self.shown = Some(key);
        self.screen.event(&json!({
            "event": "phase",
            "operation": operation.number,
            "kind": operation.kind,
            "phase": operation.phase,
            "release": operation.release,
            "generation": document.generation,
        }));
        if !self.screen.is_live() {
            let subject = subject(operation);
            self.screen.note(&format!("  {subject}: {}", operation.phase.title()));
        }
    }

    fn draw(&mut self, document: &Document, operation: &Operation, contacts: &Contacts) {
        if !self.screen.is_live() || self.last_draw.is_some_and(|last| last.elapsed() < REDRAW) {
            return;
        }
        self.last_draw = Some(Instant::now());
        let took = numbers::duration(self.began.elapsed());
        let mut lines =
            vec![format!("  {}: {} ({took})", subject(operation), operation.phase.title())];
        for server in document.servers.keys() {
            let state = match contacts.get(server) {
                None => "…".to_owned(),
                Some(Contact::Unreachable { cause, .. }) => format!("cannot be reached: {cause}"),
                Some(Contact::Reached(report)) => super::outcome::server_line(report),
            };
            lines.push(format!("    {server:<10} {state}"));
        }
        self.screen.redraw(self.drawn, &lines);
        self.drawn = lines.len();
    }
}

impl Observer for Progress<'_> {
    fn look(&mut self, runner: &Runner) -> Stop {
        if let Some(document) = runner.document()
            && let Some(operation) = &document.operation
        {
            self.tell(document, operation);
            self.draw(document, operation, runner.contacts());
        }
        if self.interrupts.count() > 0 { Stop::Leave } else { Stop::No }
    }
}

fn subject(operation: &Operation) -> String {
    match operation.release {
        Some(release) => format!("release {release}"),
        None => operation.kind.word().to_owned(),
    }
}

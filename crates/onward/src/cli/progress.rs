//! What a person sees while an operation runs: a live line per server, or plain lines.

use std::time::{Duration, Instant};

use onward_core::document::{Document, Operation, Phase};
use onward_core::model::RequestId;
use onward_core::order::Level;
use onward_core::report::{Contact, Contacts, Report};
use onward_core::runner::Runner;
use serde_json::json;

use super::hooks::Hooks;
use super::interrupt::Interrupts;
use super::live::Live;
use super::outcome;
use super::screen::Screen;
use crate::runner::{Observer, Stop};

/// Whose operations a run tells about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Telling {
    /// The one that this request becomes, and a decided one that it has to wait for.
    Own(RequestId),
    /// Whichever is in flight.
    Any,
}

/// How long a phase may last before its reasons are told without being asked for.
const SILENT_FOR: Duration = Duration::from_secs(5);

/// Follows one run and shows it.
pub struct Progress<'a> {
    screen: &'a Screen,
    interrupts: &'a Interrupts,
    telling: Telling,
    live: Option<Live>,
    shown: Option<(u64, Phase, usize)>,
    /// Since when the phase lasts that was told last.
    since: Instant,
    /// What was told last of the servers.
    servers: String,
    hooks: Option<&'a Hooks<'a>>,
}

impl<'a> Progress<'a> {
    /// Shows a run on the screen, and ends it when the person insists.
    pub fn new(screen: &'a Screen, interrupts: &'a Interrupts, telling: Telling) -> Self {
        let live = screen.is_live().then(Live::start);
        let (since, servers) = (Instant::now(), String::new());
        Self { screen, interrupts, telling, live, shown: None, since, servers, hooks: None }
    }

    /// The same with hooks that run on the way.
    #[must_use]
    pub fn with(mut self, hooks: &'a Hooks<'a>) -> Self {
        self.hooks = Some(hooks);
        self
    }

    /// The hooks and the request that they are about.
    fn own_hooks(&self) -> Option<(&'a Hooks<'a>, RequestId)> {
        match &self.telling {
            Telling::Own(request) => Some((self.hooks?, request.clone())),
            Telling::Any => None,
        }
    }

    /// Lets a hook print where live lines are drawn.
    fn beside_live<T>(&mut self, what: impl FnOnce() -> T) -> T {
        let was_live = self.live.take().is_some();
        let result = what();
        self.live = was_live.then(Live::start);
        result
    }

    /// Takes the live lines away.
    pub fn clear(&mut self) {
        self.live = None;
    }

    /// Whether an operation is somebody else's that this run has to wait for.
    fn waits(&self, operation: &Operation) -> bool {
        matches!(&self.telling, Telling::Own(request) if *request != operation.request)
    }

    /// What another one does after ours, or before it takes its place, is not ours to tell.
    fn is_told(&self, runner: &Runner, operation: &Operation) -> bool {
        let ours_began = runner.operation().is_some();
        !self.waits(operation) || (!ours_began && operation.phase.is_decided())
    }

    fn tell(&mut self, document: &Document, operation: &Operation, waits: bool) {
        let taken = operation.rollout.as_ref().map_or(0, |rollout| rollout.taken.len());
        let key = (operation.number.0, operation.phase, taken);
        if self.shown == Some(key) {
            return;
        }
        (self.shown, self.since) = (Some(key), Instant::now());
        self.screen.event(&json!({
            "event": "phase",
            "operation": operation.number,
            "kind": operation.kind,
            "phase": operation.phase,
            "release": operation.release,
            "generation": document.generation,
            "servers": operation.rollout.as_ref().map(|rollout| &rollout.step),
        }));
        if self.live.is_none() {
            self.screen.note(&format!("  {}", headline(document, operation, waits)));
        }
    }

    fn draw(
        &mut self,
        document: &Document,
        operation: &Operation,
        contacts: &Contacts,
        waits: bool,
    ) {
        if let Some(live) = &mut self.live {
            let lines = server_lines(document, operation, contacts);
            live.show(headline(document, operation, waits), self.since, lines);
            return;
        }
        let lines = if self.screen.is_verbose() {
            server_lines(document, operation, contacts)
        } else if self.since.elapsed() >= SILENT_FOR {
            held_up(document, contacts)
        } else {
            return;
        };
        let text = lines.join("\n");
        if !text.is_empty() && text != self.servers {
            self.screen.note(&text);
            self.servers = text;
        }
    }
}

impl Observer for Progress<'_> {
    fn look(&mut self, runner: &Runner) -> Stop {
        if let Some(document) = runner.document()
            && let Some(operation) = &document.operation
            && self.is_told(runner, operation)
        {
            let waits = self.waits(operation);
            self.tell(document, operation, waits);
            self.draw(document, operation, runner.contacts(), waits);
        }
        if let (Some((hooks, request)), Some(document)) = (self.own_hooks(), runner.document())
            && hooks.is_due_at(&request, document)
        {
            self.beside_live(|| hooks.switched());
        }
        if self.interrupts.count() > 0 { Stop::Leave } else { Stop::No }
    }

    fn before_write(&mut self, runner: &Runner, next: &Document) -> Stop {
        let Some((hooks, request)) = self.own_hooks() else { return Stop::No };
        let Some(point) = hooks.due_before(&request, runner.document(), next) else {
            return Stop::No;
        };
        let may = self.beside_live(|| hooks.allows(point));
        if may { Stop::No } else { Stop::Leave }
    }
}

/// What is being done now.
fn headline(document: &Document, operation: &Operation, waits: bool) -> String {
    let title =
        format!("{}{}", outcome::phase_title(operation), outcome::step_text(document, operation));
    if waits {
        let (number, by) = (operation.number, &operation.by);
        return format!("waiting for operation {number} by {by}, which is decided: {title}");
    }
    match operation.release {
        Some(release) => format!("release {release}: {title}"),
        None => format!("{}: {title}", operation.kind.word()),
    }
}

/// A line for each server.
fn server_lines(document: &Document, operation: &Operation, contacts: &Contacts) -> Vec<String> {
    let line = |server| {
        let state = match contacts.get(server) {
            None => "…".to_owned(),
            Some(Contact::Unreachable { cause, .. }) => format!("cannot be reached: {cause}"),
            Some(Contact::Reached(report)) => {
                let mut words = outcome::server_line(report);
                if let Some(release) = operation.release.filter(|_| starts(report, operation)) {
                    words.push_str(&format!("; {release} has not answered its probe yet"));
                }
                words.extend(reasons(report).map(|why| format!("; {why}")));
                words
            }
        };
        format!("    {server:<10} {state}")
    };
    document.servers.keys().map(line).collect()
}

/// A line for each server that is what a phase waits for, with the reason.
fn held_up(document: &Document, contacts: &Contacts) -> Vec<String> {
    let line = |server| match contacts.get(server)? {
        Contact::Unreachable { cause, .. } => {
            Some(format!("    {server} cannot be reached: {cause}"))
        }
        Contact::Reached(report) => Some(format!("    {server}: {}", reasons(report).next()?)),
    };
    document.servers.keys().filter_map(line).collect()
}

/// What a server says that it waits for.
fn reasons(report: &Report) -> impl Iterator<Item = String> {
    report.waiting.iter().map(|waiting| format!("{}: {}", waiting.what, waiting.why))
}

/// Whether the new version has been started and its probe is what is waited for.
fn starts(report: &Report, operation: &Operation) -> bool {
    let own = operation.release.and_then(|release| report.releases.get(&release));
    operation.phase == Phase::Start
        && own.is_some_and(|own| own.level < Level::Running && !own.instances.is_empty())
}

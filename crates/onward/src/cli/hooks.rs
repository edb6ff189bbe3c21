//! `[hooks]`: the project's own commands around an operation.
//!
//! They run here, in the project's directory, each at most once in a command that a person gave.
//! When another command or an agent carries the operation on, nobody runs them: what must happen
//! belongs into `[release] run` or `check`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use onward_core::document::{Document, Ended, Finished, Kind, Operation, Phase};
use onward_core::model::{BundleRef, RequestId};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::json;

use super::carry;
use super::complaint::Complaint;
use super::context::Context;
use super::following::Following;
use super::interrupt::Interrupts;
use super::operator;
use super::problem::Problem;
use super::screen::Screen;
use crate::project::HookPoint;

/// How often a running hook is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The time that a hook has to end when it was asked to.
const STOPS_WITHIN: Duration = Duration::from_secs(5);

/// What hooks are told besides where they are, by name of the variable.
type Told = BTreeMap<&'static str, String>;

/// The hooks of one command.
#[derive(Debug)]
pub struct Hooks<'a> {
    context: &'a Context,
    screen: &'a Screen,
    interrupts: &'a Interrupts,
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    ran: BTreeSet<HookPoint>,
    told: Told,
    refused: Option<(HookPoint, Complaint)>,
}

impl<'a> Hooks<'a> {
    /// None of them has run.
    pub fn new(context: &'a Context, screen: &'a Screen, interrupts: &'a Interrupts) -> Self {
        Self { context, screen, interrupts, state: RefCell::default() }
    }

    /// Runs a hook that may stop what follows.
    ///
    /// # Errors
    /// Why it does.
    pub fn before(&self, point: HookPoint) -> Result<(), Complaint> {
        self.run(point)
    }

    /// Tells the hooks that follow which bundle it is about.
    pub fn about(&self, bundle: &BundleRef) {
        let mut state = self.state.borrow_mut();
        state.told.insert("ONWARD_LABEL", bundle.label.clone());
        state.told.insert("ONWARD_DIGEST", bundle.digest.to_string());
    }

    /// Looks at a document that is about to be written, which records our request or decides it: the
    /// hook that has to run before.
    pub fn due_before(
        &self,
        request: &RequestId,
        now: Option<&Document>,
        next: &Document,
    ) -> Option<HookPoint> {
        let own = next.operation.as_ref().filter(|own| own.request == *request)?;
        if !has_hooks(own.kind) {
            return None;
        }
        let known = now.and_then(|now| now.operation.as_ref());
        let known = known.filter(|known| known.request == *request);
        self.tell(next, own);
        let decides = own.phase == Phase::Switch;
        let point = match known {
            None => HookPoint::BeforeRelease,
            Some(known) if decides && known.phase < Phase::Switch => HookPoint::BeforeSwitch,
            Some(_) => return None,
        };
        self.is_left(point).then_some(point)
    }

    /// Runs a hook before a document is written. Returns whether it may be.
    pub fn allows(&self, point: HookPoint) -> bool {
        let result = self.run(point);
        let may = result.is_ok();
        if let Err(complaint) = result {
            self.state.borrow_mut().refused = Some((point, complaint));
        }
        may
    }

    /// Whether traffic goes to the release since this document was written, and a hook is to be told.
    pub fn is_due_at(&self, request: &RequestId, now: &Document) -> bool {
        let own = now.operation.as_ref().filter(|own| own.request == *request);
        let switched = |own: &Operation| matches!(own.phase, Phase::Exchange | Phase::Watch);
        self.is_left(HookPoint::AfterSwitch)
            && own.is_some_and(|own| has_hooks(own.kind) && switched(own))
    }

    /// Whether there is such a hook, and it has not run.
    fn is_left(&self, point: HookPoint) -> bool {
        let is_there = self.context.resolved.hooks.commands.contains_key(&point);
        is_there && !self.state.borrow().ran.contains(&point)
    }

    /// Tells that traffic goes to the release.
    pub fn switched(&self) {
        self.warn(HookPoint::AfterSwitch);
    }

    /// Which hook stopped the operation and why, when one did.
    pub fn refusal(&self) -> Option<(HookPoint, Complaint)> {
        self.state.borrow_mut().refused.take()
    }

    /// The operation ended.
    pub fn ended(&self, document: &Document, finished: &Finished) {
        if !has_hooks(finished.kind) {
            return;
        }
        let (outcome, reason) = match &finished.outcome {
            Ended::Done => ("done", None),
            Ended::Failed(failure) => ("failed", Some(failure.reason.clone())),
            Ended::Aborted { reason } => ("aborted", Some(reason.clone())),
        };
        {
            let told = &mut self.state.borrow_mut().told;
            told.insert("ONWARD_OUTCOME", outcome.to_owned());
            told.extend(reason.map(|reason| ("ONWARD_REASON", reason)));
            told.extend(document.serving.map(|number| ("ONWARD_SERVING", number.to_string())));
        }
        let is_done = finished.outcome == Ended::Done;
        self.warn(if is_done { HookPoint::AfterRelease } else { HookPoint::OnFailure });
    }

    /// The command failed before its operation ended, or before there was one.
    pub fn failed(&self, complaint: &Complaint) {
        {
            let told = &mut self.state.borrow_mut().told;
            told.insert("ONWARD_OUTCOME", "failed".to_owned());
            told.insert("ONWARD_REASON", complaint.what.clone());
        }
        self.warn(HookPoint::OnFailure);
    }

    fn tell(&self, document: &Document, own: &Operation) {
        let told = &mut self.state.borrow_mut().told;
        told.insert("ONWARD_OPERATION", own.number.to_string());
        told.insert("ONWARD_KIND", own.kind.word().to_owned());
        told.insert("ONWARD_BY", own.by.clone());
        told.extend(own.previous.map(|number| ("ONWARD_PREVIOUS", number.to_string())));
        if let Some(release) = own.release.and_then(|number| document.release(number)) {
            told.insert("ONWARD_RELEASE", release.number.to_string());
            told.insert("ONWARD_LABEL", release.bundle.label.clone());
            told.insert("ONWARD_DIGEST", release.bundle.digest.to_string());
        }
    }

    /// Runs a hook that stops nothing.
    fn warn(&self, point: HookPoint) {
        if let Err(complaint) = self.run(point) {
            self.screen.warn(&format!("{}; what was done stays done", complaint.what));
        }
    }

    fn run(&self, point: HookPoint) -> Result<(), Complaint> {
        let hooks = &self.context.resolved.hooks;
        let Some(command) = hooks.commands.get(&point) else { return Ok(()) };
        if !self.state.borrow_mut().ran.insert(point) {
            return Ok(());
        }
        let (key, command) = (point.key(), command.as_str());
        self.screen.note(&format!("  {key}: {command}"));
        self.screen.event(&json!({"event": "hook", "hook": key, "command": command}));
        let lost = |source| Problem::StepLost { step: key, source };
        let mut child = self.start(point, command).map_err(lost)?;
        let following = Following::of(&mut child, Some(key), self.screen);
        let how = self.wait(&mut child, point, hooks.within).map_err(lost)?;
        following.drain();
        let how = match how {
            How::Ended(status) if status.success() => return Ok(()),
            How::Ended(status) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("status {code}"),
                (None, signal) => format!("signal {}", signal.unwrap_or_default()),
            },
            How::TookTooLong => {
                format!("a time-out after {}", crate::project::duration_text(hooks.within))
            }
            How::Interrupted => return Err(Problem::Interrupted { during: Some(key) }.into()),
        };
        let lines = following.unseen();
        Err(Problem::HookFailed { hook: key, how, command: command.to_owned(), lines }.into())
    }

    fn start(&self, point: HookPoint, command: &str) -> io::Result<Child> {
        let context = self.context;
        let state = self.state.borrow();
        Command::new("sh")
            .args(["-c", command])
            .current_dir(context.local.project())
            .env("ONWARD_HOOK", point.key())
            .env("ONWARD_APP", context.app().as_str())
            .env("ONWARD_ENVIRONMENT", context.environment().as_str())
            .envs(carry::url(context).map(|url| ("ONWARD_URL", url)))
            .envs(&state.told)
            .env_remove(operator::VARIABLE)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
    }

    /// Waits for the end of a hook. A failure is told of also after Ctrl-C, so that hook is not
    /// ended by the Ctrl-C before it.
    fn wait(&self, child: &mut Child, point: HookPoint, within: Duration) -> io::Result<How> {
        let (began, interrupts) = (Instant::now(), self.interrupts.count());
        loop {
            if let Some(status) = child.try_wait()? {
                // What it left behind would go on unseen.
                signal(child, Signal::TERM);
                return Ok(How::Ended(status));
            }
            let so_far = if point == HookPoint::OnFailure { interrupts } else { 0 };
            if self.interrupts.count() > so_far {
                end(child)?;
                return Ok(How::Interrupted);
            }
            if began.elapsed() >= within {
                end(child)?;
                return Ok(How::TookTooLong);
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}

/// What brings a release has hooks.
const fn has_hooks(kind: Kind) -> bool {
    matches!(kind, Kind::Deploy | Kind::Rollback)
}

enum How {
    Ended(ExitStatus),
    TookTooLong,
    Interrupted,
}

fn signal(child: &Child, signal: Signal) {
    let leader = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(leader) = leader {
        // It may be gone already.
        let _ = kill_process_group(leader, signal);
    }
}

fn end(child: &mut Child) -> io::Result<()> {
    signal(child, Signal::TERM);
    let began = Instant::now();
    while child.try_wait()?.is_none() && began.elapsed() < STOPS_WITHIN {
        thread::sleep(LOOK_EVERY);
    }
    signal(child, Signal::KILL);
    child.wait().map(|_| ())
}

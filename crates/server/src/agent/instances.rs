//! The life of instances: started, probed, stopped, started again after a pause.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::time::Duration;

use onward_core::document::Failure;
use onward_core::model::{Process, ReleaseNumber, Run};
use onward_core::order::{Level, ReleaseOrder};
use onward_core::reconcile::{SlotId, backoff_ms};
use tokio::time::Instant;

use super::app::{App, FilesState, Instance, State, Task};
use super::context::{Context, Teller, environment, jitter};
use super::event::{Life, News};
use super::note::note;
use super::out_of_memory::out_of_memory;
use super::probe::{self, Verdict};
use crate::process::{self, Confine, End, Exit, Group, Identity, Program, Spawn};

/// How long an instance must have been ready to be forgiven its earlier ends.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);
/// How an instance is ended whose release is in no order any more.
const UNORDERED: End = End::term(Duration::from_secs(10));
/// How that is ended what an instance leaves behind, when it ends by itself.
pub(super) const LEFTOVERS: End = End::term(Duration::from_secs(2));

impl App {
    /// Starts an instance, or starts it again.
    pub(super) fn start(&mut self, slot: &SlotId, context: &Context, taken: &BTreeSet<u16>) {
        let Some((order, process)) = self.ordered(slot) else { return };
        let (order, process) = (order.clone(), process.clone());
        let earlier = self.instances.remove(slot);
        let mut own = Instance::new(context.new_life());
        if let Some(earlier) = earlier {
            own.was_ready = earlier.was_ready;
            own.early_exits = earlier.early_exits;
            own.restarts = earlier.restarts + u32::from(earlier.was_ready);
            own.crashes = earlier.crashes;
            own.failure = earlier.failure;
        }
        own.memory_kills = process::memory_kills();
        own.stop = Some(process.stop.clone());
        own.port = if slot.process.has_traffic() { process::free_port(taken) } else { None };
        let within = probe::effective(process.probe.as_ref(), slot.process.has_traffic());
        own.state = State::Starting { overdue_at: within.map(|p| overdue_at(p.within_ms, 0)) };
        match self.spawn(slot, &own, &order, &process, context) {
            Ok(identity) => {
                own.identity = Some(identity);
                own.probe = Some(self.probe(slot, &own, &order, &process, context));
            }
            Err(error) => {
                note(format_args!("{} {slot} cannot be started: {error}", self.route_name()));
                let reason = format!("{} cannot be started: {error}", slot.process);
                own.ends(Failure { reason, ..Failure::default() });
                self.distrust(slot.release);
            }
        }
        self.instances.insert(slot.clone(), own);
    }

    pub(super) fn ordered(&self, slot: &SlotId) -> Option<(&ReleaseOrder, &Process)> {
        let order = self.order()?.releases.get(&slot.release)?;
        Some((order, order.config.processes.get(&slot.process)?))
    }

    fn environment_of(
        &self,
        slot: &SlotId,
        port: Option<u16>,
        order: &ReleaseOrder,
    ) -> Result<std::collections::BTreeMap<String, std::ffi::OsString>, String> {
        let mut all = environment(self, slot.release, order)?;
        all.insert("ONWARD_PROCESS".to_owned(), slot.process.as_str().into());
        all.insert("ONWARD_INSTANCE".to_owned(), slot.index.to_string().into());
        if let Some(port) = port {
            all.insert("PORT".to_owned(), port.to_string().into());
        }
        Ok(all)
    }

    fn spawn(
        &self,
        slot: &SlotId,
        own: &Instance,
        order: &ReleaseOrder,
        process: &Process,
        context: &Context,
    ) -> std::io::Result<Identity> {
        if slot.process.has_traffic() && own.port.is_none() {
            return Err(std::io::Error::other("no port is free"));
        }
        runtime_is_there(order)?;
        let program = match &process.run {
            Run::Command(line) => Program::Line(line.clone()),
            Run::Static(directory) => Program::Direct(
                context.config.program(),
                files_arguments(directory, &order.config.routing.site),
            ),
        };
        let environment = self.environment_of(slot, own.port, order);
        let spawn = Spawn {
            program: &program,
            directory: &self.tree.release(slot.release),
            environment: &environment.map_err(std::io::Error::other)?,
            log: &self.tree.log(slot),
            stdin: None,
            stdout: None,
        };
        let source = format!("{}.{}", slot.process, slot.index);
        let unit = self.names.instance(slot);
        let confine = self.confine(unit, source, slot.release, End::of(&process.stop));
        let confine = Confine { limits: process.limits, ..confine };
        let started = self.supervisor.start(spawn, &confine)?;
        let (teller, slot, life) = (context.teller(&self.key), slot.clone(), own.life);
        tokio::spawn(async move {
            teller.tell(News::Exited(slot, life, started.exit.await)).await;
        });
        Ok(started.group.identity)
    }

    pub(super) fn probe(
        &self,
        slot: &SlotId,
        own: &Instance,
        order: &ReleaseOrder,
        process: &Process,
        context: &Context,
    ) -> Task {
        // What could not be had was told when the instance was started.
        let mut environment = self.environment_of(slot, own.port, order).unwrap_or_default();
        environment.insert("ONWARD_PROBE".to_owned(), "1".into());
        let target = probe::Target {
            identity: own.identity.unwrap_or(Identity { pid: 0, started: 0 }),
            port: own.port,
            directory: self.tree.release(slot.release),
            environment,
            log: self.tree.log(slot),
            masker: self.vault.masker(),
            keeper: probe::Keeper {
                supervisor: self.supervisor.clone(),
                names: self.names.clone(),
                slot: slot.clone(),
                tree: self.tree.clone(),
                app: self.route_name(),
            },
        };
        let probe = probe::effective(process.probe.as_ref(), slot.process.has_traffic());
        let is_ready = matches!(own.state, State::Ready { .. });
        let words = self.last_words(self.tree.log(slot));
        let (teller, slot, life) = (context.teller(&self.key), slot.clone(), own.life);
        let tell = async move |mut verdict| {
            if let Verdict::NotYet(failure) | Verdict::Failing(failure) = &mut verdict {
                failure.lines = words.clone().read().await;
            }
            teller.tell(News::Probed(slot.clone(), life, verdict)).await;
        };
        let task = tokio::spawn(async move { probe::run(probe, target, is_ready, tell).await });
        Task(task.abort_handle())
    }

    /// Asks an instance to stop, and kills it when its time is over.
    pub(super) fn stop(&mut self, slot: &SlotId, context: &Context) {
        let teller = context.teller(&self.key);
        let identity = self.instances.get(slot).and_then(|own| own.identity);
        let group = identity.map(|identity| self.group_of(slot, identity));
        let Some(own) = self.instances.get_mut(slot) else { return };
        own.probe = None;
        let Some(group) = group else {
            own.state = State::Ended { retry_at: Instant::now() };
            return;
        };
        own.state = State::Stopping { crashed: false };
        let end = own.stop.as_ref().map_or(UNORDERED, End::of);
        clear(group, end, slot.clone(), own.life, teller);
    }

    /// The leader of an instance ended. When it was not asked to, that counts once it is known what it
    /// said last.
    pub(super) fn exited(&mut self, slot: &SlotId, life: Life, exit: Exit, context: &Context) {
        if self.unasked(slot, life).is_none() {
            return;
        }
        let words = self.last_words(self.tree.log(slot));
        let (teller, slot) = (context.teller(&self.key), slot.clone());
        tokio::spawn(async move {
            teller.tell(News::Failed(slot, life, exit, words.read().await)).await;
        });
    }

    /// The instance, unless it was asked to end or another was started in its place.
    fn unasked(&self, slot: &SlotId, life: Life) -> Option<&Instance> {
        let own = self.instances.get(slot).filter(|own| own.life == life)?;
        (!matches!(own.state, State::Stopping { .. } | State::Ended { .. })).then_some(own)
    }

    /// An instance ended that was not asked to. Somebody may have changed the files that it ran from.
    pub(super) fn failed(
        &mut self,
        slot: &SlotId,
        life: Life,
        exit: Exit,
        lines: Vec<String>,
        context: &Context,
    ) {
        let Some(own) = self.unasked(slot, life) else { return };
        let (failure, identity) = (self.failure_of(slot, exit, own, lines), own.identity);
        self.distrust(slot.release);
        note(format_args!("{} {slot}: {}", self.route_name(), failure.reason));
        if let Some(watch) = self.watch.as_mut().filter(|own| own.order.release == slot.release) {
            watch.ended.get_or_insert_with(|| failure.clone());
        }
        let teller = context.teller(&self.key);
        let group = identity.map(|identity| self.group_of(slot, identity));
        let Some(own) = self.instances.get_mut(slot) else { return };
        own.identity = None;
        own.ends(failure);
        if let Some(left) = group.filter(Group::has_left) {
            own.state = State::Stopping { crashed: true };
            own.identity = Some(left.identity);
            clear(left, LEFTOVERS, slot.clone(), life, teller);
        }
    }

    /// The whole group of an instance ended.
    pub(super) fn group_gone(&mut self, slot: &SlotId, life: Life) {
        let Some(own) = self.instances.get_mut(slot).filter(|own| own.life == life) else { return };
        own.identity = None;
        let State::Stopping { crashed } = own.state else { return };
        let pause = if crashed { own.pause() } else { Duration::ZERO };
        own.state = State::Ended { retry_at: Instant::now() + pause };
    }

    /// An instance was probed.
    pub(super) fn probed(&mut self, slot: &SlotId, life: Life, verdict: Verdict) {
        if self.unasked(slot, life).is_none() {
            return;
        }
        let Some(own) = self.instances.get_mut(slot) else { return };
        match verdict {
            Verdict::NotYet(failure) => own.failure = Some(self.vault.masked(failure)),
            Verdict::Failing(failure) => {
                own.failure = Some(self.vault.masked(failure));
                own.state = State::Failing;
            }
            Verdict::Ready => {
                own.state = State::Ready { since: Instant::now() };
                own.was_ready = true;
                own.early_exits = 0;
                own.failure = None;
            }
        }
    }

    /// Forgets an instance that ended, and no longer trusts files that nothing runs from.
    pub(super) fn forget(&mut self, slot: &SlotId) {
        self.instances.remove(slot);
        if !self.instances.keys().any(|own| own.release == slot.release) {
            self.distrust(slot.release);
        }
        self.remove_secret_files();
    }

    /// Before anything is started again from the files of a release, they are compared with their
    /// digest again.
    fn distrust(&mut self, release: ReleaseNumber) {
        if let Some(files @ FilesState::Verified) = self.files.get_mut(&release) {
            *files = FilesState::Staged;
        }
    }

    /// Removes the secrets of releases that nothing runs of and nothing is about to.
    pub(super) fn remove_secret_files(&self) {
        let level = |release| self.order().map_or(Level::Gone, |order| order.level(release));
        self.vault.remove_files(|release| level(release) >= Level::Running || self.uses(release));
    }

    pub(super) fn failure_of(
        &self,
        slot: &SlotId,
        exit: Exit,
        own: &Instance,
        lines: Vec<String>,
    ) -> Failure {
        let limit = self.ordered(slot).and_then(|(_, process)| process.limits.memory_bytes);
        let memory = out_of_memory(exit, process::memory_kills() > own.memory_kills, limit);
        let before = if own.was_ready { "" } else { " before it was ready" };
        let answer = own.failure.as_ref().and_then(|failure| failure.answer.clone());
        self.vault.masked(Failure {
            reason: format!("{} {}{memory}{before}", slot.process, exit.words()),
            answer: answer.filter(|_| !own.was_ready),
            lines,
            ..Failure::default()
        })
    }
}

impl Instance {
    /// It ended without having been asked to.
    pub(super) fn ends(&mut self, failure: Failure) {
        let forgiven =
            matches!(self.state, State::Ready { since } if since.elapsed() >= FORGIVEN_AFTER);
        self.crashes = if forgiven { 1 } else { self.crashes + 1 };
        if !matches!(self.state, State::Ready { .. } | State::Failing) {
            self.early_exits += 1;
        }
        self.probe = None;
        self.failure = Some(failure);
        self.state = State::Ended { retry_at: Instant::now() + self.pause() };
    }

    fn pause(&self) -> Duration {
        Duration::from_millis(backoff_ms(self.crashes, jitter()))
    }
}

pub(super) fn overdue_at(within_ms: u64, so_far_ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(within_ms.saturating_sub(so_far_ms))
}

pub(super) fn clear(group: Group, end: End, slot: SlotId, life: Life, teller: Teller) {
    tokio::spawn(async move {
        group.end(end).await;
        teller.tell(News::GroupGone(slot, life)).await;
    });
}

/// A runtime that was removed is told by its name, not as a program that is not found.
pub(super) fn runtime_is_there(order: &ReleaseOrder) -> std::io::Result<()> {
    match crate::runtimes::missing(&order.config.runtimes) {
        Some(lost) => Err(std::io::Error::other(format!("{lost}; `onward up` brings it again"))),
        None => Ok(()),
    }
}

/// The arguments of onward's own server of files.
fn files_arguments(directory: &str, rules: &onward_core::model::SiteRules) -> Vec<OsString> {
    let mut all: Vec<OsString> = vec!["proxy".into(), "files".into(), directory.into()];
    if rules.spa {
        all.push("--spa".into());
    }
    for immutable in &rules.immutable {
        all.extend(["--immutable".into(), immutable.into()]);
    }
    all
}

//! One server as it truly is: its disk, its processes, its proxy.
//!
//! What survives what: the disk and the proxy's table survive everything; processes and a running
//! command survive the death of the agent, not a reboot; the agent's memory survives nothing.
//!
//! # Assumptions about the agent's own surroundings
//! - The proxy takes the routes of one agent in the order in which they were sent. When the agent
//!   dies, what it sent last has arrived or never will: it was a local connection.
//! - Files are brought under another name and renamed when they are whole; a removal that was
//!   interrupted leaves a directory that is not whole.

use std::collections::{BTreeMap, BTreeSet};

use onward_core::model::{BundleRef, Generation, OperationNumber, ReleaseNumber, ServerName};
use onward_core::order::CommandKind;
use onward_core::reconcile::{Kept, RouteFact, SlotId, UPGRADED_WITHIN_MS};

use super::agent::Memory;
use super::core::Core;
use super::scenario::Behaviour;

/// The files of one release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// They come under another name.
    Bringing {
        /// Until then.
        until_ms: u64,
        /// Whether they will be what the digest says.
        whole: bool,
    },
    /// They are there.
    There {
        /// Whether they are what the digest says.
        whole: bool,
    },
    /// They are being removed.
    Removing {
        /// Until then.
        until_ms: u64,
    },
}

/// A running process.
#[derive(Debug, Clone)]
pub struct Proc {
    /// Which instance it is.
    pub slot: SlotId,
    /// Its id, never used twice in a run.
    pub pid: u32,
    /// Its port, never used twice in a run.
    pub port: u16,
    /// When it was started.
    pub started_ms: u64,
    /// When it answers its probe first; never, for some.
    pub ready_ms: Option<u64>,
    /// When it ends by itself.
    pub exits_ms: Option<u64>,
    /// From when to when it fails its probe although it was ready.
    pub fails_ms: Option<(u64, u64)>,
    /// When it ends because it was asked to.
    pub stops_ms: Option<u64>,
}

impl Proc {
    /// Whether it answers its probe.
    pub fn is_ready(&self, now_ms: u64) -> bool {
        self.ready_ms.is_some_and(|ready| ready <= now_ms) && !self.is_failing(now_ms)
    }

    /// Whether it has stopped answering.
    pub fn is_failing(&self, now_ms: u64) -> bool {
        self.fails_ms.is_some_and(|(from, to)| from <= now_ms && now_ms < to)
    }
}

/// A running command.
#[derive(Debug, Clone)]
pub struct Command {
    /// Its operation.
    pub operation: OperationNumber,
    /// Which one.
    pub kind: CommandKind,
    /// The release.
    pub release: ReleaseNumber,
    /// When it ends.
    pub ends_ms: u64,
    /// Whether it ends well.
    pub succeeds: bool,
}

/// What a release that lost its route still has of traffic.
#[derive(Debug, Clone, Copy)]
pub struct Leaving {
    /// Since when no route names it.
    pub since_ms: u64,
    /// When its last request ends.
    pub requests_until_ms: u64,
    /// When its last upgraded connection ends.
    pub upgraded_until_ms: u64,
}

/// A server.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Its name.
    pub name: ServerName,
    /// Its number among the actors.
    pub actor: u8,
    /// On the disk: what the agent keeps.
    pub kept: Kept,
    /// On the disk: releases.
    pub files: BTreeMap<ReleaseNumber, Disk>,
    /// On the disk and in the proxy: where traffic goes.
    pub route: Option<RouteFact>,
    /// In the proxy: what has lost its route.
    pub leaving: BTreeMap<ReleaseNumber, Leaving>,
    /// In the proxy: instances that have left the route of their release, which stays.
    pub left: BTreeMap<SlotId, Leaving>,
    /// The processes.
    pub procs: Vec<Proc>,
    /// The command that runs.
    pub commands: Vec<Command>,
    /// How often instances of a bundle died of their behaviour here; they stop doing so.
    pub deaths: BTreeMap<ReleaseNumber, u32>,
    /// The agent, while it lives.
    pub agent: Option<Memory>,
    /// When a dead agent lives again.
    pub up_ms: u64,
    /// Until when the agent does nothing.
    pub paused_ms: u64,
    /// When the agent has something to do.
    pub wake_ms: u64,
    /// Whether the agent is of an older version.
    pub old: bool,
    /// Whether the agent fetches its orders too.
    pub pulls: bool,
    /// The highest generation that was ever accepted here.
    pub accepted_max: Generation,
    /// When it lost its power last.
    pub rebooted_ms: Option<u64>,
    /// Ports of instances that ended by themselves or with their server.
    pub excused: BTreeSet<u16>,
}

impl Machine {
    /// A new server with an agent that knows nothing.
    pub fn new(name: ServerName, actor: u8) -> Self {
        Self {
            name,
            actor,
            kept: Kept::default(),
            files: BTreeMap::new(),
            route: None,
            leaving: BTreeMap::new(),
            left: BTreeMap::new(),
            procs: Vec::new(),
            commands: Vec::new(),
            deaths: BTreeMap::new(),
            agent: Some(Memory::default()),
            up_ms: 0,
            paused_ms: 0,
            wake_ms: 0,
            old: false,
            pulls: false,
            accepted_max: Generation(0),
            rebooted_ms: None,
            excused: BTreeSet::new(),
        }
    }

    /// Lets time do what it does to processes.
    pub fn pass(&mut self, core: &mut Core) {
        let now = core.now_ms;
        let excused = &mut self.excused;
        self.procs.retain(|proc| {
            let exits = proc.exits_ms.is_some_and(|at| at <= now);
            if exits {
                excused.insert(proc.port);
            }
            !exits && proc.stops_ms.is_none_or(|at| at > now)
        });
        if self.agent.is_none() {
            let ledger = &mut core.ledger;
            let name = &self.name;
            self.commands.retain(|command| {
                let ended = command.ends_ms <= now;
                if ended && command.kind == CommandKind::Release {
                    ledger.commands_running.remove(name);
                }
                !ended
            });
        }
    }

    /// The proxy takes a route.
    pub fn apply_route(&mut self, target: Option<RouteFact>, core: &mut Core) {
        let now = core.now_ms;
        self.note_who_leaves(target.as_ref(), core);
        let named = target.as_ref().filter(|route| !route.slots.is_empty());
        let new = named.map(|route| route.release);
        if let Some(old) =
            self.route.as_ref().filter(|own| !own.slots.is_empty()).map(|own| own.release)
            && Some(old) != new
        {
            let requests_until_ms = now + core.rng.below(60);
            let long = if core.rng.percent(3) { 700_000 } else { 80 };
            let upgraded_until_ms = now + core.rng.below(long);
            let leaving = Leaving { since_ms: now, requests_until_ms, upgraded_until_ms };
            self.leaving.insert(old, leaving);
        }
        if let Some(new) = new {
            self.leaving.remove(&new);
            self.make_trouble(new, core);
        }
        self.route = target;
    }

    /// Instances that leave the route of a release that stays have requests of their own to end.
    fn note_who_leaves(&mut self, target: Option<&RouteFact>, core: &mut Core) {
        let (Some(old), Some(new)) = (&self.route, target) else { return self.left.clear() };
        if old.release != new.release {
            return self.left.clear();
        }
        self.left.retain(|id, _| !new.slots.contains_key(id));
        for id in old.slots.keys().filter(|id| !new.slots.contains_key(*id)) {
            let (now, long) = (core.now_ms, if core.rng.percent(3) { 700_000 } else { 80 });
            let left = Leaving {
                since_ms: now,
                requests_until_ms: now + core.rng.below(60),
                upgraded_until_ms: now + core.rng.below(long),
            };
            self.left.insert(id.clone(), left);
        }
    }

    /// Releases that go bad after the switch do so the first times that they are routed.
    fn make_trouble(&mut self, release: ReleaseNumber, core: &mut Core) {
        let at = core.now_ms + 60 + core.rng.below(200);
        let Some(bundle) = self.bundle(release) else { return };
        let behaviour = Behaviour::of(bundle);
        let routed_on = core.ledger.routed_on.entry(release).or_default();
        routed_on.insert(self.actor);
        let is_second = routed_on.len() > 1;
        for proc in self.procs.iter_mut().filter(|proc| proc.slot.release == release) {
            let deaths = self.deaths.entry(release).or_default();
            if *deaths >= 2 || !proc.slot.process.has_traffic() {
                continue;
            }
            match behaviour {
                Behaviour::DiesInWatch => proc.exits_ms = Some(at),
                Behaviour::DiesInSecondStep if is_second => proc.exits_ms = Some(at),
                Behaviour::FailsProbeInWatch => proc.fails_ms = Some((at, at + 600)),
                _ => continue,
            }
            *deaths += 1;
        }
    }

    /// The bundle of a release that is ordered.
    pub fn bundle(&self, release: ReleaseNumber) -> Option<&BundleRef> {
        let order = self.kept.order.as_ref()?;
        order.releases.get(&release).map(|release| &release.bundle)
    }

    /// The agent dies; its processes live on.
    pub fn crash(&mut self, core: &mut Core) {
        if let Some(memory) = self.agent.take()
            && let Some(job) = memory.route_job
            && !job.lost
            && core.rng.percent(50)
        {
            self.apply_route(job.target, core);
        }
        for disk in self.files.values_mut() {
            if let Disk::Removing { .. } = disk {
                *disk = Disk::There { whole: false };
            }
        }
        self.files.retain(|_, disk| matches!(disk, Disk::There { .. }));
        self.up_ms = core.now_ms + core.downtime_ms();
        self.wake_ms = self.up_ms;
    }

    /// The server loses its power and comes back.
    pub fn reboot(&mut self, core: &mut Core) {
        self.crash(core);
        self.rebooted_ms = Some(core.now_ms);
        self.excused.extend(self.procs.drain(..).map(|proc| proc.port));
        for command in self.commands.drain(..) {
            if command.kind == CommandKind::Release {
                core.ledger.commands_running.remove(&self.name);
            }
        }
        for leaving in self.leaving.values_mut().chain(self.left.values_mut()) {
            leaving.requests_until_ms = core.now_ms;
            leaving.upgraded_until_ms = core.now_ms;
        }
    }

    /// Whether a request to this server would be answered.
    pub fn answers(&self, now_ms: u64) -> bool {
        let Some(route) = &self.route else { return false };
        let ready =
            |port: &u16| self.procs.iter().any(|proc| proc.port == *port && proc.is_ready(now_ms));
        route.slots.values().any(ready)
    }

    /// Whether an instance runs only for upgraded connections that may still last.
    pub fn keeps_connections(&self, now_ms: u64) -> bool {
        let lasts =
            |own: &Leaving| own.upgraded_until_ms.min(own.since_ms + UPGRADED_WITHIN_MS) > now_ms;
        let runs = |slot: &SlotId| self.proc(slot).is_some();
        let of_release = |number: ReleaseNumber| {
            self.procs
                .iter()
                .any(|own| own.slot.release == number && own.slot.process.has_traffic())
        };
        self.left.iter().any(|(slot, own)| lasts(own) && runs(slot))
            || self.leaving.iter().any(|(number, own)| lasts(own) && of_release(*number))
    }

    /// The running process of an instance.
    pub fn proc(&self, slot: &SlotId) -> Option<&Proc> {
        self.procs.iter().find(|proc| proc.slot == *slot)
    }
}

//! What runs, written down so that the next agent finds it again.
//!
//! The record need not survive the loss of power, because what it names does not either. An
//! instance that was started a moment before the agent died may be missing in it; its environment
//! names it, so it is found as well.

use std::collections::{BTreeMap, BTreeSet};

use onward_core::document::Failure;
use onward_core::model::{OperationNumber, ProcessName, ReleaseNumber, Stop};
use onward_core::order::CommandKind;
use onward_core::reconcile::SlotId;
use serde::{Deserialize, Serialize};

use super::app::{App, Instance, State};
use super::durable::{self, Survives};
use super::jobs::{JobName, JobRecord, SCHEDULE_VARIABLE};
use super::note::note;
use super::one_off::{ATTACHED_VARIABLE, NAME_VARIABLE};
use crate::layout::{AppTree, command_word};
use crate::process::{self, Identity};

/// What runs for one app.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The time since the system was started in which this was written.
    pub(super) boot: String,
    /// The instances.
    pub(super) instances: Vec<InstanceRecord>,
    /// The command that runs.
    pub(super) command: Option<CommandRecord>,
    /// What goes on by itself besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) jobs: Vec<JobRecord>,
    /// Since when no route names a release, in milliseconds since 1970.
    pub(super) unrouted: BTreeMap<ReleaseNumber, u64>,
}

/// One instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct InstanceRecord {
    pub(super) slot: SlotId,
    /// None while it waits to be started again.
    pub(super) identity: Option<Identity>,
    pub(super) port: Option<u16>,
    pub(super) is_ready: bool,
    pub(super) was_ready: bool,
    pub(super) early_exits: u32,
    pub(super) restarts: u32,
    pub(super) crashes: u32,
    pub(super) failure: Option<Failure>,
    pub(super) started: u64,
    /// Whether it was asked to stop, so that its end is no surprise.
    pub(super) is_stopping: bool,
    /// How it is asked to stop.
    pub(super) stop: Option<Stop>,
}

/// One command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CommandRecord {
    pub(super) operation: OperationNumber,
    pub(super) kind: CommandKind,
    pub(super) release: ReleaseNumber,
    pub(super) identity: Identity,
}

impl Record {
    /// What runs of an app.
    pub(super) fn of(app: &App, boot: &str) -> Self {
        let command = app.command.as_ref().and_then(|command| {
            let identity = command.identity?;
            let (operation, kind) = (command.operation, command.kind);
            Some(CommandRecord { operation, kind, release: command.release, identity })
        });
        Self {
            boot: boot.to_owned(),
            instances: app.instances.iter().map(|(slot, own)| instance(slot, own)).collect(),
            command,
            jobs: app.job_records(),
            unrouted: app.unrouted.clone(),
        }
    }

    /// Reads the record of an app and adds what runs without being in it. After the system was
    /// started again nothing of it runs any more.
    pub(super) fn read(tree: &AppTree, boot: &str) -> Self {
        let read = durable::read::<Self>(&tree.instances_file()).unwrap_or_else(|error| {
            note(format_args!("what runs is found without its record: {error}"));
            None
        });
        let mut record = read.unwrap_or_default();
        if record.boot != boot || boot.is_empty() {
            let unrouted = std::mem::take(&mut record.unrouted);
            record = Self { boot: boot.to_owned(), unrouted, ..Self::default() };
        }
        record.add_strays(tree);
        record
    }

    /// Writes it down.
    pub(super) fn write(&self, tree: &AppTree) -> Result<(), durable::FileError> {
        durable::write(&tree.instances_file(), self, Survives::Exit)
    }

    fn add_strays(&mut self, tree: &AppTree) {
        let known: BTreeSet<SlotId> = self
            .instances
            .iter()
            .filter(|own| own.identity.is_some())
            .map(|own| own.slot.clone())
            .collect();
        let shared = tree.shared().display().to_string();
        for identity in process::own_groups() {
            let environment = process::environment(identity.pid);
            if environment.get("ONWARD_SHARED") != Some(&shared) {
                continue;
            }
            match Stray::of(&environment) {
                Some(Stray::Instance(slot)) if !known.contains(&slot) => {
                    let port = environment.get("PORT").and_then(|port| port.parse().ok());
                    self.instances.retain(|own| own.slot != slot);
                    self.instances.push(found(slot, identity, port));
                }
                Some(Stray::Command { operation, kind, release }) if self.command.is_none() => {
                    self.command = Some(CommandRecord { operation, kind, release, identity });
                }
                Some(Stray::Job(name, release))
                    if !self.jobs.iter().any(|own| own.identity == identity) =>
                {
                    self.jobs.retain(|own| own.name != name);
                    let (command, started) = (name.to_string(), super::app::unix_ms());
                    self.jobs.push(JobRecord { name, release, identity, command, started });
                }
                Some(Stray::Attached) => {
                    process::signal_session(identity.pid, rustix::process::Signal::KILL);
                }
                // Nobody waits for its answer any more.
                Some(Stray::Probe) => process::kill_group(identity),
                _ => {}
            }
        }
    }
}

/// What the environment of a process says that it is.
enum Stray {
    Instance(SlotId),
    Command {
        operation: OperationNumber,
        kind: CommandKind,
        release: ReleaseNumber,
    },
    Probe,
    Job(JobName, ReleaseNumber),
    /// A command of a person whose connection ended with the agent.
    Attached,
}

impl Stray {
    fn of(environment: &BTreeMap<String, String>) -> Option<Self> {
        let release = ReleaseNumber(environment.get("ONWARD_RELEASE")?.parse().ok()?);
        if environment.contains_key(ATTACHED_VARIABLE) {
            return Some(Self::Attached);
        }
        if let Some(name) = environment.get(NAME_VARIABLE) {
            let number = name.strip_prefix("run.")?.parse().ok()?;
            return Some(Self::Job(JobName::Run(number), release));
        }
        if let Some(name) = environment.get(SCHEDULE_VARIABLE) {
            return Some(Self::Job(JobName::Schedule(name.parse().ok()?), release));
        }
        if let Some(word) = environment.get("ONWARD_COMMAND") {
            let operation = OperationNumber(environment.get("ONWARD_OPERATION")?.parse().ok()?);
            let kinds = [CommandKind::Release, CommandKind::Check];
            let kind = kinds.into_iter().find(|kind| command_word(*kind) == word)?;
            return Some(Self::Command { operation, kind, release });
        }
        if environment.contains_key("ONWARD_PROBE") {
            return Some(Self::Probe);
        }
        let process: ProcessName = environment.get("ONWARD_PROCESS")?.parse().ok()?;
        let index = environment.get("ONWARD_INSTANCE")?.parse().ok()?;
        Some(Self::Instance(SlotId { release, process, index }))
    }
}

fn found(slot: SlotId, identity: Identity, port: Option<u16>) -> InstanceRecord {
    InstanceRecord {
        slot,
        identity: Some(identity),
        port,
        is_ready: false,
        was_ready: false,
        early_exits: 0,
        restarts: 0,
        crashes: 0,
        failure: None,
        started: super::app::unix_ms(),
        is_stopping: false,
        stop: None,
    }
}

fn instance(slot: &SlotId, own: &Instance) -> InstanceRecord {
    InstanceRecord {
        slot: slot.clone(),
        identity: own.identity,
        port: own.port,
        is_ready: matches!(own.state, State::Ready { .. }),
        was_ready: own.was_ready,
        early_exits: own.early_exits,
        restarts: own.restarts,
        crashes: own.crashes,
        failure: own.failure.clone(),
        started: own.started,
        is_stopping: matches!(own.state, State::Stopping { crashed: false }),
        stop: own.stop.clone(),
    }
}

//! Units that an agent started a moment before it died, so that its record does not name them.
//!
//! A command goes on, because it may not run twice at a time; so does a scheduled run. Anything else
//! is stopped: nobody is sent there, and the agent starts what shall run.

use onward_core::report::Progress;

use super::app::App;
use super::jobs::{JobName, JobRecord};
use super::note::note;
use super::record::{CommandRecord, Record};
use crate::process::{Identity, Supervisor};
use crate::systemd::Manager;

impl App {
    /// Adds what runs and is in no record, and stops what nobody can take over.
    pub(super) fn find_stray_units(&self, record: &mut Record) {
        if self.supervisor == Supervisor::Own {
            return;
        }
        let known = self.known_units(record);
        let units = Manager.all(&self.names.all()).unwrap_or_else(|error| {
            note(format_args!("{}: what runs is not known: {error}", self.route_name()));
            Vec::new()
        });
        for unit in units.iter().filter(|unit| !known.contains(unit)) {
            let shown = Manager.show(unit).unwrap_or_default();
            let identity = Identity::of(shown.main_pid).filter(|own| own.pid != 0);
            let is_taken = identity.is_some_and(|identity| self.take_stray(unit, identity, record));
            if !is_taken {
                note(format_args!("{unit} is in no record, and is stopped"));
                let _ = Manager.systemctl(&["stop", unit]);
                Manager.forget(unit);
            }
        }
    }

    fn known_units(&self, record: &Record) -> Vec<String> {
        let runs = record.instances.iter().filter(|own| own.identity.is_some());
        let mut known: Vec<String> = runs.map(|own| self.names.instance(&own.slot)).collect();
        let command = record.command.as_ref();
        known.extend(command.map(|own| self.names.command(own.operation, own.kind)));
        known.extend(record.jobs.iter().map(|own| self.names.job(&own.name.to_string())));
        known
    }

    fn take_stray(&self, unit: &str, identity: Identity, record: &mut Record) -> bool {
        let ordered = self.order().and_then(|order| order.command.as_ref());
        let mut begun =
            self.kept.commands.iter().filter(|own| own.outcome == Progress::Running).filter_map(
                |own| ordered.filter(|o| (o.operation, o.kind) == (own.operation, own.kind)),
            );
        if let Some(own) = begun.find(|own| self.names.command(own.operation, own.kind) == unit) {
            let (operation, kind, release) = (own.operation, own.kind, own.release);
            record.command = Some(CommandRecord { operation, kind, release, identity });
            return true;
        }
        let mut schedules = self.kept.schedules.iter();
        let found = schedules.find_map(|(name, own)| {
            let begun = own.begun.as_ref()?;
            (self.names.job(name.as_str()) == unit).then(|| (name.clone(), begun.release))
        });
        let Some((name, release)) = found else { return false };
        let (command, started) = (name.to_string(), super::app::unix_ms());
        let name = JobName::Schedule(name);
        record.jobs.push(JobRecord { name, release, identity, command, started });
        true
    }
}

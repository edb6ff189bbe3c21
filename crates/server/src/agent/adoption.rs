//! What an agent takes over from an earlier life of its own: instances that run, and those that ended
//! while no agent looked.

use onward_core::reconcile::SlotId;
use tokio::time::Instant;

use super::app::{App, Instance, State, unix_ms};
use super::context::Context;
use super::event::News;
use super::instances::{LEFTOVERS, clear, overdue_at};
use super::note::note;
use super::probe;
use super::record::InstanceRecord;
use crate::process::{self, Exit, Group};

impl App {
    /// Takes an instance of an earlier life of the agent over.
    pub(super) fn adopt(&mut self, record: InstanceRecord, context: &Context) {
        let slot = record.slot.clone();
        let mut own = Instance::new(context.new_life());
        own.port = record.port;
        own.was_ready = record.was_ready;
        own.early_exits = record.early_exits;
        own.restarts = record.restarts;
        own.crashes = record.crashes;
        own.failure = record.failure;
        own.started = record.started;
        own.memory_kills = process::memory_kills();
        own.adopted = true;
        own.stop = record.stop;
        own.identity = record.identity;
        let Some(identity) = record.identity else {
            own.state = State::Ended { retry_at: Instant::now() };
            self.instances.insert(slot, own);
            return;
        };
        if !process::is_running(identity) {
            self.find_ended(&slot, own, record.is_stopping, context);
            return;
        }
        let ordered = self.ordered(&slot).map(|(order, process)| (order.clone(), process.clone()));
        let probe = ordered.as_ref().and_then(|(_, process)| {
            probe::effective(process.probe.as_ref(), slot.process.has_traffic())
        });
        own.state = if record.is_ready {
            State::Ready { since: Instant::now() }
        } else {
            let so_far = unix_ms().saturating_sub(own.started);
            State::Starting { overdue_at: probe.map(|p| overdue_at(p.within_ms, so_far)) }
        };
        if let Some((order, process)) = ordered {
            own.probe = Some(self.probe(&slot, &own, &order, &process, context));
        }
        let (teller, life, name) = (context.teller(&self.key), own.life, slot.clone());
        let group = self.group_of(&slot, identity);
        tokio::spawn(async move {
            if group.unit.is_none()
                && let Err(error) = process::wait_for_exit(identity).await
            {
                note(format_args!("process {} cannot be watched: {error}", identity.pid));
                return;
            }
            teller.tell(News::Exited(name, life, group.exit().await)).await;
        });
        self.instances.insert(slot, own);
    }

    /// Probes what was taken over before the order was known.
    pub(super) fn probe_adopted(&mut self, context: &Context) {
        let runs = |own: &Instance| {
            matches!(own.state, State::Starting { .. } | State::Ready { .. } | State::Failing)
        };
        let silent: Vec<SlotId> = self
            .instances
            .iter()
            .filter(|(_, own)| own.probe.is_none() && runs(own))
            .map(|(slot, _)| slot.clone())
            .collect();
        for slot in silent {
            let Some((order, process)) = self.ordered(&slot) else { continue };
            let probe = self.probe(&slot, &self.instances[&slot], order, process, context);
            if let Some(own) = self.instances.get_mut(&slot) {
                own.probe = Some(probe);
            }
        }
    }

    /// An instance ended while no agent looked. What it left behind is cleared away.
    fn find_ended(&mut self, slot: &SlotId, mut own: Instance, asked: bool, context: &Context) {
        if asked {
            own.state = State::Ended { retry_at: Instant::now() };
        } else {
            let ended = own.identity.map(|identity| self.group_of(slot, identity).ended());
            let lines = self.last_words(self.tree.log(slot)).read_here();
            let failure = self.failure_of(slot, ended.unwrap_or(Exit::Unknown), &own, lines);
            self.ended_unseen.insert(slot.release, failure.clone());
            own.ends(failure);
        }
        let left = own.identity.take().map(|identity| self.group_of(slot, identity));
        let life = own.life;
        if let Some(left) = left.filter(Group::has_left) {
            own.state = State::Stopping { crashed: !asked };
            own.identity = Some(left.identity);
            clear(left, LEFTOVERS, slot.clone(), life, context.teller(&self.key));
        }
        self.instances.insert(slot.clone(), own);
    }
}

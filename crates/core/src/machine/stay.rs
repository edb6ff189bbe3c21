//! An environment on a machine that another one sets up: it has its ports there, and nothing else.

use super::change::Plan;
use super::facts::{Facts, Guest, Record};
use super::firewall::{self, Opening};
use super::plan::firewall_changes;
use super::setup::{Harden, Owner, Setup};

/// What becomes of a machine with the ports of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stay {
    /// What has to change on the machine.
    pub plan: Plan,
    /// What is remembered then: what the owner set up, and the guests.
    pub record: Record,
}

impl Stay {
    /// What follows from `setup` for a machine whose owner is another; none when it is nobody's, or
    /// this one's own. Of `setup` only the ports count; a guest without any is no guest.
    pub fn of(setup: &Setup, facts: &Facts) -> Option<Self> {
        let mut record = host(setup, facts)?.clone();
        record.guests.retain(|guest| guest.owner != setup.owner);
        let openings = openings(setup, &record.setup, facts);
        if !openings.is_empty() {
            record.guests.push(Guest { owner: setup.owner.clone(), openings });
            record.guests.sort_by(|a, b| a.owner.cmp(&b.owner));
        }
        let mut plan = Plan::default();
        // Without a firewall of onward's there is nothing to open, and it is remembered for later.
        if record.setup.harden == Harden::Full {
            let facts = Facts { record: Some(record.clone()), ..facts.clone() };
            plan.changes.extend(firewall_changes(&record.setup, &facts));
        }
        Some(Self { plan, record })
    }

    /// Whether this is what the machine remembers already.
    pub fn is_known(&self, facts: &Facts) -> bool {
        facts.record.as_ref().is_some_and(|record| record.guests == self.record.guests)
    }

    /// Who sets the machine up.
    pub fn owner(&self) -> &Owner {
        &self.record.setup.owner
    }
}

/// What another environment than that of `setup` has set up.
fn host<'a>(setup: &Setup, facts: &'a Facts) -> Option<&'a Record> {
    facts.record.as_ref().filter(|record| record.setup.owner != setup.owner)
}

/// The ports of a guest; where SSH is not open to everybody, also that for its own servers.
fn openings(setup: &Setup, host: &Setup, facts: &Facts) -> Vec<Opening> {
    let mut all = setup.openings.clone();
    if !host.ssh.from.is_empty() && !setup.ssh.peers.is_empty() {
        let why = format!("SSH of the servers of {}", setup.owner);
        let from = Some(setup.ssh.peers.clone());
        all.extend(firewall::ssh_ports(host, facts).into_iter().map(|port| Opening {
            protocol: Default::default(),
            ports: port.into(),
            from: from.clone(),
            why: why.clone(),
        }));
    }
    all
}

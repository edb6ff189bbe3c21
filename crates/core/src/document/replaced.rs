//! Machines that are given up: those that others take the place of, and those that have left.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Document, Reach, Server};
use crate::model::ServerName;

/// A server that is out of the environment until another machine takes its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replacing {
    /// The machine that is given up, with the roles that the new one gets.
    pub old: Server,
    /// Who asked.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// A machine that has left the environment, and from which onward has not been taken yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gone {
    /// What it was called.
    pub name: ServerName,
    /// The machine.
    pub server: Server,
    /// Since when.
    pub since: Timestamp,
}

impl Server {
    /// Whether this is the same machine as another entry: it shows the same host key, or it is reached
    /// at the same place. Of machines that are not behind SSH nobody can say more than that there is
    /// one of each name.
    pub fn is_machine_of(&self, other: &Self) -> bool {
        let (Some(own), Some(other)) = (&self.reach, &other.reach) else { return true };
        own.host_key == other.host_key || place(own) == place(other)
    }

    /// Whether it shows the host key of another entry.
    pub fn shows_key_of(&self, other: &Self) -> bool {
        let key = |server: &Self| server.reach.as_ref().map(|reach| reach.host_key.clone());
        key(self) == key(other)
    }
}

fn place(reach: &Reach) -> (&str, Option<u16>) {
    (&reach.host, reach.port)
}

impl Document {
    /// Keeps which machines of `before` are not in the environment any more, and still have onward.
    /// Machines that nobody reaches over SSH are looked after by whoever has them.
    pub(crate) fn keep_gone(&mut self, before: &BTreeMap<ServerName, Server>, now: Timestamp) {
        for (name, server) in before {
            let stays = self.servers.values().any(|own| own.is_machine_of(server));
            if stays || server.reach.is_none() {
                continue;
            }
            let gone = Gone { name: name.clone(), server: server.clone(), since: now };
            self.gone.push(gone);
        }
        let surplus = self.gone.len().saturating_sub(GONE_MAX);
        self.gone.drain(..surplus);
    }

    /// Forgets what is known about machines that are back.
    pub(crate) fn are_back(&mut self) {
        let Self { gone, servers, .. } = self;
        gone.retain(|own| !servers.values().any(|server| server.is_machine_of(&own.server)));
    }
}

/// How many machines that have left are remembered: more than anybody gives up between two looks.
const GONE_MAX: usize = 64;

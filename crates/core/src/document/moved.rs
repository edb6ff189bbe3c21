//! Roles that are on other servers than the project file says.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Demand;
use crate::model::{Role, ServerName};

impl Demand {
    /// Gives and takes the roles that were moved, of one server of the project file.
    pub fn move_roles(&self, server: &ServerName, roles: &mut BTreeSet<Role>) {
        for (role, moved) in &self.moved {
            if moved.servers.contains(server) {
                roles.insert(role.clone());
            } else {
                roles.remove(role);
            }
        }
    }
}

/// Where a role is that somebody moved past the project file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moved {
    /// All servers that have it.
    pub servers: BTreeSet<ServerName>,
    /// Who asked.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

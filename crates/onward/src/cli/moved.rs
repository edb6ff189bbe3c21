//! Roles that somebody moved past the project file, as people read them.

use std::collections::BTreeSet;

use onward_core::document::{Document, Moved};
use onward_core::model::{Role, ServerName};
use serde_json::{Value, json};

use super::context::Context;
use crate::project::wishes;

/// One role that is elsewhere than the file says.
#[derive(Debug, Clone)]
pub struct Override<'a> {
    /// The role.
    pub role: &'a Role,
    /// Where it is, by whom and since when.
    pub moved: &'a Moved,
    /// The servers that the file gives it.
    pub file: BTreeSet<ServerName>,
}

/// The roles that are elsewhere than the file says.
pub fn overrides<'a>(context: &Context, document: &'a Document) -> Vec<Override<'a>> {
    let wished = wishes::servers(&context.resolved);
    let with_file = |(role, moved): (&'a Role, &'a Moved)| {
        let file = wished.iter().filter(|(_, roles)| roles.contains(role));
        let file: BTreeSet<_> = file.map(|(name, _)| name.clone()).collect();
        (file != moved.servers).then_some(Override { role, moved, file })
    };
    document.demand.moved.iter().filter_map(with_file).collect()
}

impl Override<'_> {
    /// `worker on two instead of one, by ana`.
    pub fn text(&self) -> String {
        let by = &self.moved.by;
        let on = listed(&self.moved.servers);
        match self.file.is_empty() {
            true => format!("{} on {on}, which the file gives to no server, by {by}", self.role),
            false => format!("{} on {on} instead of {}, by {by}", self.role, listed(&self.file)),
        }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "what": "move",
            "role": self.role,
            "servers": self.moved.servers,
            "file": self.file,
            "by": self.moved.by,
            "at": self.moved.at,
            "text": self.text(),
        })
    }
}

fn listed(names: &BTreeSet<ServerName>) -> String {
    names.iter().map(ServerName::as_str).collect::<Vec<_>>().join(", ")
}

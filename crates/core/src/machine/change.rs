//! What a plan is made of: changes for people, effects for the server, questions for the operator.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::user::UserName;

/// What makes a machine what it shall be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The changes, in the order in which they are made; none when everything is so already.
    pub changes: Vec<Change>,
    /// What has to be answered before any of them is made. Those that were answered are not here.
    pub questions: Vec<Question>,
    /// What people should know and nobody has to answer.
    pub notes: Vec<String>,
}

/// One change of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// When it is made.
    pub stage: Stage,
    /// What it is, as a sentence without its period.
    pub sentence: String,
    /// What comes and goes in particular, one a line, beginning with `+` or `-`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// How it is undone, as a sentence without its period.
    pub undo: String,
    /// How it is made, in order.
    pub effects: Vec<Effect>,
}

impl Change {
    /// Whether it could lock the operator out: then it is undone unless somebody confirms it over a
    /// new connection.
    pub fn is_guarded(&self) -> bool {
        self.stage == Stage::Guarded
    }
}

/// When a change is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Before everything that needs it. One that fails ends the set-up with nothing at risk.
    First,
    /// All together, to be confirmed over a new connection.
    Guarded,
    /// At last. One that fails leaves the others made.
    Last,
}

/// One effect on a machine. Each may be repeated: what is so already stays so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Install packages.
    Install(BTreeSet<String>),
    /// Make the group of those who may sign in.
    MakeGroup,
    /// Make an account with a home, a shell and no password.
    MakeAccount(UserName),
    /// Put an account into the group.
    Join(UserName),
    /// Take an account out of the group.
    Leave(UserName),
    /// Write a file, whole and at once.
    Write {
        /// Its path.
        path: String,
        /// Its permissions.
        mode: u32,
        /// What it holds.
        content: String,
    },
    /// Delete a file.
    Remove(String),
    /// See that sshd accepts its configuration, and would do these things.
    CheckSshd(BTreeMap<String, String>),
    /// Make sshd read its configuration; sessions go on.
    ReloadSshd,
    /// Load the firewall's file into the kernel, at once.
    LoadFirewall,
    /// Take the firewall's table out of the kernel.
    UnloadFirewall,
    /// Start a unit at boot, and now when it says so.
    Enable {
        /// The unit.
        unit: String,
        /// Whether it is started now.
        now: bool,
    },
    /// Do not start a unit at boot any more.
    Disable(String),
    /// Set the time zone.
    Timezone(String),
    /// Make a locale when it is not there, and set it.
    Locale(String),
    /// Use a swap file of so many MiB.
    Swap(u32),
    /// Use no swap file of onward's own.
    NoSwap,
}

/// Something that a person has to decide before a machine is changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// What an answer names, as `port 5432/tcp`.
    pub id: String,
    /// What would happen, as a sentence without its period.
    pub text: String,
    /// How it is settled otherwise, as a sentence without its period.
    pub instead: String,
}

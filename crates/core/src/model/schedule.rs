//! Commands at times: what a release keeps of `[schedule.NAME]`.

use serde::{Deserialize, Serialize};

use super::{Role, Stop};

/// A command that runs at times, on one server, never twice at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// A shell command line, run in the release directory.
    pub run: String,
    /// When.
    pub when: When,
    /// The time zone of `when`, by its IANA name; UTC when none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The time that a run has, in milliseconds.
    pub within_ms: u64,
    /// How late a run may begin that was missed, in milliseconds.
    pub late_ms: u64,
    /// How it is asked to stop: by its time limit and by the next release.
    pub stop: Stop,
    /// Roles of which its server carries one; `worker`, else `manager`, else any, when none is
    /// given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<Role>,
}

/// When a schedule runs, as [`crate::schedule::Timing`] reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// A time of day, on some days: `03:15`, `Mon 03:15`, `Mon-Fri 03:15`.
    At(String),
    /// Whenever the time since 1970 is a multiple of so many milliseconds.
    Every(u64),
    /// Five fields: minute, hour, day of the month, month, day of the week.
    Cron(String),
}

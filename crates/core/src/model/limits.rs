//! What one instance of a process may use of its server.

use serde::{Deserialize, Serialize};

/// What one instance of a process may use of its server. What is not given is not limited.
///
/// A supervisor that can keep to it (systemd) does; the one for development cannot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory, in bytes; swap is not counted apart. What needs more is killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Time of processors, in hundredths of one: 150 is one and a half. What wants more waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<u32>,
    /// Processes and threads at a time. What wants more is refused by the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<u32>,
}

impl Limits {
    /// Whether nothing is limited.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

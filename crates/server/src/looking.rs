//! What is said when somebody looks at a server: the requests that its proxy answered, and how its
//! machine is.

use onward_core::model::{AppName, EnvironmentName, ReleaseNumber};
use serde::{Deserialize, Serialize};

/// Which lines of the access log are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRequest {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: EnvironmentName,
    /// Only those that this release answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseNumber>,
    /// How many of the last lines.
    pub lines: u32,
    /// Whether to go on with what is answered from now on, until the client closes.
    pub follow: bool,
}

/// How a server is besides what runs on it. What cannot be found out is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkup {
    /// The disk of the server tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<Space>,
    /// Bytes of memory that programs can still have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_available: Option<u64>,
    /// Units of systemd that failed, onward's own and others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_units: Vec<String>,
    /// What somebody changed by hand of what onward put there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<Changed>,
}

/// Bytes of a file system: free for programs, and all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    /// Free.
    pub free: u64,
    /// All.
    pub all: u64,
}

/// Something that is not as onward put it there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Changed {
    /// A unit of onward, or a file that adds to one.
    Unit {
        /// Its path.
        path: String,
    },
    /// A file of a release that runs.
    Release {
        /// The release.
        release: ReleaseNumber,
        /// What is different, as a sentence without its full stop.
        text: String,
    },
}

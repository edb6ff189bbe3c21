//! A language runtime of a release: an exact version, and where a server has it.

use serde::{Deserialize, Serialize};

/// An exact version of a language's programs. A release keeps it, so that a rollback runs with what
/// the release ran with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// The exact version, for example `22.12.0`.
    pub version: String,
    /// Where it is.
    pub from: RuntimeSource,
}

/// Where a server has a runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuntimeSource {
    /// In the server's own store of runtimes, under this key: name, version and digest in one word.
    Stored(String),
    /// In directories of the system, which are put first on `PATH`.
    System(Vec<String>),
}

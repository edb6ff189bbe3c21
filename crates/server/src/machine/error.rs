//! Why a machine could not be set up.

use std::io;
use std::path::Path;

use onward_core::machine::OwnedByAnother;

/// Why a machine could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// Only root can.
    #[error("setting up a machine needs root")]
    NotRoot,
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// The reason.
        source: io::Error,
    },
    /// A file of onward's own is not what onward wrote.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A program could not be started, failed, or took too long.
    #[error("`{program}` {reason}")]
    Program {
        /// The program with its arguments.
        program: String,
        /// What it did, with its last lines.
        reason: String,
    },
    /// Something on the machine is not as it has to be for a change.
    #[error("{0}")]
    Unable(String),
    /// Another environment sets the machine up.
    #[error(transparent)]
    Owned(#[from] OwnedByAnother),
    /// Another set-up of this machine is going on.
    #[error("another set-up of this machine is going on; try again when it is over")]
    Busy,
    /// Nothing waits for this confirmation.
    #[error(
        "nothing waits to be confirmed with this token: it was undone, or is confirmed already"
    )]
    NothingWaits,
}

impl MachineError {
    /// Gives an error of the system its file.
    pub(super) fn file(path: &Path, source: io::Error) -> Self {
        Self::File { path: path.display().to_string(), source }
    }
}

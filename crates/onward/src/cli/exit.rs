//! Exit codes: a contract with scripts.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// Failed; the last line says what serves now.
    Failed,
    /// Usage or project-file error; nothing was changed.
    Usage,
    /// Refused: stale plan, ambiguous, needs an answer; nothing was changed.
    Refused,
    /// Accepted, not finished; it continues without the command.
    Continues,
    /// `plan --exit-code`: there are changes.
    Changes,
    /// `exec`, `run` and `task`: what the command exited with, or 128 and its signal.
    Program(u8),
    /// A bug of onward.
    Bug,
}

impl Exit {
    /// The number that the shell sees.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::Continues => 4,
            Self::Changes => 5,
            Self::Program(code) => code,
            Self::Bug => 255,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

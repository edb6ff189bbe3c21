//! Why an agent gave no good answer.

use std::io;
use std::path::PathBuf;

use crate::protocol::{Answer, Hello, OLDEST, VERSION};

/// What people are told of a silence, for which the system has other words.
const SAYS_NOTHING: &str = "it runs and says nothing";

/// The kind of error by which a way to an agent says that it is no use to try it again.
pub const NO_USE: io::ErrorKind = io::ErrorKind::PermissionDenied;

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens at the socket: there is no agent.
    #[error("no agent listens at {}: {source}", path.display())]
    NoAgent {
        /// The socket.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The connection broke, or the time was over. Whether the request was carried out is unknown.
    #[error("the agent did not answer: {}", if is_silence(.0) { SAYS_NOTHING.to_owned() } else { .0.to_string() })]
    Lost(#[from] io::Error),
    /// The agent did not carry the request out.
    #[error("{0}")]
    Refused(String),
    /// The agent speaks other words.
    #[error("the agent answered something else: {0}")]
    Nonsense(String),
    /// The server needs a key that it does not have and that cannot be brought from here.
    #[error(
        "the server does not have the key of the environment, and this side cannot open it to \
         bring it"
    )]
    NoKey,
    /// The agent is of another version.
    #[error(
        "the agent is of onward {}, which speaks version {} of the protocol; this onward speaks \
         versions {OLDEST} to {VERSION}",
        .0.onward, .0.version
    )]
    Version(Box<Hello>),
}

impl ClientError {
    /// Whether somebody listens and says nothing: an agent that hangs.
    pub fn is_silence(&self) -> bool {
        match self {
            Self::Lost(error) | Self::NoAgent { source: error, .. } => is_silence(error),
            Self::Refused(_) | Self::Nonsense(_) | Self::NoKey | Self::Version(_) => false,
        }
    }

    /// Whether it is no use to ask again: the way to the agent is closed for good.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::NoAgent { source, .. } if source.kind() == NO_USE)
    }

    /// Whether there is no agent now: nobody listens, or whoever did is gone. One that is started
    /// again answers.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Lost(_) | Self::NoAgent { .. }) && !self.is_silence()
    }
}

pub(super) fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// The error about an answer that does not belong to its question.
pub(crate) fn nonsense(answer: &Answer) -> ClientError {
    ClientError::Nonsense(serde_json::to_string(answer).unwrap_or_default())
}

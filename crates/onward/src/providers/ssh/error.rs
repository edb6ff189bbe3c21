//! Why a server cannot be reached over SSH, or onward cannot be put there.

use std::io;

/// Why there is no connection; the rest of a sentence that begins with the server.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SshError {
    /// There is no `ssh` on this machine.
    #[error("cannot be reached: `ssh` cannot be started: {0}")]
    NoSsh(String),
    /// The server shows a key that nobody has confirmed.
    #[error("shows a host key that nobody has confirmed: {fingerprint}")]
    UnknownKey {
        /// `KIND BASE64`.
        key: String,
        /// `SHA256:…` of it.
        fingerprint: String,
    },
    /// The server shows another key than the pinned one.
    #[error("shows another host key than before: {found}, and {pinned} is pinned")]
    ChangedKey {
        /// `SHA256:…` of the pinned one.
        pinned: String,
        /// `SHA256:…` of the one that it shows, when that is known.
        found: String,
    },
    /// `ssh` ended before the server answered.
    #[error("cannot be reached: {}", .said.last().map_or("ssh ended without a word", String::as_str))]
    Refused {
        /// The last lines that `ssh` printed.
        said: Vec<String>,
    },
    /// Nothing came within the time.
    #[error("does not answer within {seconds} s")]
    Silent {
        /// How long it was waited for.
        seconds: u64,
    },
    /// Onward is not on the server, and this command does not put it there.
    #[error("is not set up")]
    Bare,
    /// Onward cannot run there; nothing was changed.
    #[error("cannot run onward: {0}")]
    Unsuitable(String),
    /// The account may not do what has to be done.
    #[error("lets `{user}` log in, who is not root and may not use sudo without a password")]
    NoSudo {
        /// Who logged in.
        user: String,
    },
    /// Onward could not be put there.
    #[error("could not be set up: {0}")]
    NotInstalled(String),
    /// The server is there, and its agent is not.
    #[error("is reached, and its agent is not: {0}")]
    NoAgent(String),
    /// Something on this machine failed.
    #[error("cannot be reached: {0}")]
    Here(String),
}

impl SshError {
    /// What the system said on this side.
    pub(super) fn here(error: &io::Error) -> Self {
        Self::Here(error.to_string())
    }

    /// Whether the server is perhaps another one than it was.
    pub fn is_of_key(&self) -> bool {
        matches!(self, Self::ChangedKey { .. } | Self::UnknownKey { .. })
    }

    /// Whether trying again may help.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Silent { .. } | Self::NoAgent(_))
    }
}

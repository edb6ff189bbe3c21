//! What is wrong with keys and with who has them, for people. No text of it ever repeats what may be
//! a private key.

use std::io;
use std::path::PathBuf;

use onward_core::secrets::{OPERATORS_MAX, PublicKey};

use super::complaint::Complaint;
use super::exit::Exit;
use super::secret_problem::SecretProblem;

/// What a command found.
#[derive(Debug, thiserror::Error)]
pub enum KeyProblem {
    /// The person has no key.
    #[error("you have no key, so you cannot read the secrets of {0}")]
    NoKey(String),
    /// The person's key opens nothing here.
    #[error("your key cannot read the secrets of {environment}")]
    NoAccess {
        /// Where.
        environment: String,
        /// Its public half.
        key: PublicKey,
        /// Who can.
        operators: String,
    },
    /// A server without the key, and nobody here who could bring it.
    #[error("{server} does not have the key of {environment} yet, and you cannot bring it")]
    ServerNeedsKey {
        /// The server.
        server: String,
        /// The environment.
        environment: String,
        /// Who can.
        operators: String,
    },
    /// `ONWARD_KEY` is something else.
    #[error("ONWARD_KEY is not a private key")]
    VariableIsNoKey,
    /// No home directory.
    #[error("there is no place for your key: neither HOME nor XDG_CONFIG_HOME is an absolute path")]
    NoHome,
    /// The key file cannot be read or written.
    #[error("{}: {source}", path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others can read the key file.
    #[error(
        "{} {}, so your key is not used", path.display(),
        if *foreign { "belongs to another user".to_owned() }
        else { format!("can be read by others (mode {mode:o})") }
    )]
    OpenKeyFile {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// Whether it is another user's.
        foreign: bool,
    },
    /// The key file holds something else.
    #[error("{} does not hold exactly one private key", .0.display())]
    NoKeyInFile(PathBuf),
    /// The argument of `share` is no public key.
    #[error("this is not a public key (it is not shown: it may be a private one)")]
    NotAPublicKey,
    /// A private key was given away.
    #[error("this is a private key, not a public one")]
    PrivateKey,
    /// Nobody of that name or key.
    #[error("nobody of that name or key can read the secrets of {0}")]
    NoSuchOperator(String),
    /// Several people have the name.
    #[error("several keys have that name")]
    AmbiguousOperator,
    /// Nobody would be left.
    #[error("nobody else can read the secrets of {0}, so this key cannot be revoked")]
    LastOperator(String),
    /// There are too many.
    #[error("an environment is shared with at most {} keys", OPERATORS_MAX)]
    TooManyOperators,
}

impl KeyProblem {
    pub(super) const fn exit(&self) -> Exit {
        match self {
            Self::VariableIsNoKey
            | Self::NotAPublicKey
            | Self::PrivateKey
            | Self::NoSuchOperator(_)
            | Self::AmbiguousOperator => Exit::Usage,
            Self::NoKey(_)
            | Self::NoAccess { .. }
            | Self::ServerNeedsKey { .. }
            | Self::NoHome
            | Self::OpenKeyFile { .. }
            | Self::NoKeyInFile(_)
            | Self::LastOperator(_)
            | Self::TooManyOperators => Exit::Refused,
            Self::KeyFile { .. } => Exit::Failed,
        }
    }

    /// What to type next.
    pub(super) fn hint(&self) -> String {
        match self {
            Self::NoKey(_) => {
                "`onward secret key` makes one and prints its public half; somebody who can read \
                 the secrets shares them with it: `onward secret share PUBLIC_KEY`"
                    .to_owned()
            }
            Self::NoAccess { key, operators, .. } => {
                format!("ask {operators} for `onward secret share {key}`")
            }
            Self::ServerNeedsKey { operators, .. } => format!(
                "ask {operators} for one `onward up`, which brings it; from then on everybody can \
                 deploy"
            ),
            Self::VariableIsNoKey => {
                "give it the line that begins with AGE-SECRET-KEY-1, or unset it".to_owned()
            }
            Self::NoHome => "set HOME, or give the key in ONWARD_KEY".to_owned(),
            Self::KeyFile { .. } => "can you read and write it?".to_owned(),
            Self::OpenKeyFile { path, foreign: false, .. } => {
                format!("`chmod 600 {}`; who may have read it meanwhile?", path.display())
            }
            Self::OpenKeyFile { foreign: true, .. } | Self::NoKeyInFile(_) => {
                "move it away, or give the key in ONWARD_KEY".to_owned()
            }
            Self::NotAPublicKey => {
                "it begins with `age1`; `onward secret key` prints it on the other machine"
                    .to_owned()
            }
            Self::PrivateKey => {
                "take it for known: its owner removes it and makes another; what is shared is the \
                 line that begins with `age1`"
                    .to_owned()
            }
            Self::NoSuchOperator(_) | Self::AmbiguousOperator | Self::TooManyOperators => {
                "`onward secret share list` lists who can, with their keys".to_owned()
            }
            Self::LastOperator(_) => {
                "share them with somebody else first: `onward secret share PUBLIC_KEY`".to_owned()
            }
        }
    }
}

impl From<KeyProblem> for Complaint {
    fn from(problem: KeyProblem) -> Self {
        SecretProblem::from(problem).into()
    }
}

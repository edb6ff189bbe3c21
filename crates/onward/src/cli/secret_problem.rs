//! What is wrong with secrets, for people. No text of it ever repeats what may be a value.

use std::io;
use std::path::PathBuf;

use onward_core::secrets::{InvalidSecretName, SecretName, TooMuch, VALUE_BYTES_MAX};
use onward_secret::OpenError;

use super::complaint::Complaint;
use super::exit::Exit;
use super::key_problem::KeyProblem;

/// What a command found.
#[derive(Debug, thiserror::Error)]
pub enum SecretProblem {
    /// `NAME=value` as an argument.
    #[error("a value is never given as an argument{}", .0.as_ref().map(|name| format!(" ({name})")).unwrap_or_default())]
    ValueInArgument(Option<SecretName>),
    /// An argument that is no name. It is not repeated.
    #[error(
        "argument {at} is not the name of a secret (it is not shown: it may be a value): {why}"
    )]
    NotAName {
        /// Which of the names, counted from 1.
        at: usize,
        /// What a name is.
        why: InvalidSecretName,
    },
    /// One of several names that the project does not name: it may be a value.
    #[error(
        "argument {at} is not among the names in `[secrets]` of onward.toml (it is not shown: it \
         may be a value)"
    )]
    UnnamedAmongSeveral {
        /// Which of the names, counted from 1.
        at: usize,
    },
    /// No name at all.
    #[error("which secret? Give its name")]
    NoName,
    /// Several names and one value.
    #[error("standard input and `--file` hold the value of one secret, and several are named")]
    OneValueForSeveral,
    /// Nobody can be asked.
    #[error("the value of {0} needs to be asked for, and there is no terminal")]
    NobodyToAsk(SecretName),
    /// The person pressed Ctrl-C, or closed the input.
    #[error("no value was given; nothing was changed")]
    NotGiven,
    /// An empty value.
    #[error("the value of {0} is empty")]
    Empty(SecretName),
    /// A value that no variable can hold.
    #[error("the value of {0} holds a NUL byte, which no environment variable can")]
    Nul(SecretName),
    /// A value that is too long.
    #[error("the value of {0} is longer than {kib} KiB", kib = VALUE_BYTES_MAX >> 10)]
    TooLong(SecretName),
    /// All values together are too long.
    #[error(transparent)]
    TooMuch(#[from] TooMuch),
    /// A file of `NAME=value` lines that cannot be understood.
    #[error("{}: line {line}, column {column}: {what}", path.display())]
    EnvFile {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
        /// What is wrong there.
        what: String,
    },
    /// Names that a file does not have.
    #[error("{} has no value for {names}", path.display())]
    NotInEnvFile {
        /// The file.
        path: PathBuf,
        /// The names.
        names: String,
    },
    /// A file that cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A secret that is not there.
    #[error("there is no secret {name} in {environment}")]
    Unknown {
        /// Its name.
        name: SecretName,
        /// Where.
        environment: String,
    },
    /// `get --json`.
    #[error("values are not printed as JSON, so that no log gets one by mistake")]
    GetAsJson,
    /// A text that was sealed and cannot be opened.
    #[error("the secret {name} cannot be read: {why}")]
    Damaged {
        /// Its name.
        name: SecretName,
        /// Why.
        why: OpenError,
    },
    /// Others wrote again and again.
    #[error("the state changes too often; nothing was changed")]
    Busy,
    /// Something about keys.
    #[error(transparent)]
    Key(#[from] KeyProblem),
}

impl SecretProblem {
    const fn exit(&self) -> Exit {
        match self {
            Self::ValueInArgument(_)
            | Self::NotAName { .. }
            | Self::UnnamedAmongSeveral { .. }
            | Self::NoName
            | Self::OneValueForSeveral
            | Self::Empty(_)
            | Self::Nul(_)
            | Self::TooLong(_)
            | Self::EnvFile { .. }
            | Self::NotInEnvFile { .. }
            | Self::Unknown { .. }
            | Self::GetAsJson => Exit::Usage,
            Self::TooMuch(_) | Self::NobodyToAsk(_) | Self::NotGiven | Self::Busy => Exit::Refused,
            Self::File { .. } | Self::Damaged { .. } => Exit::Failed,
            Self::Key(problem) => problem.exit(),
        }
    }

    /// What to type next.
    fn hint(&self) -> String {
        match self {
            Self::ValueInArgument(name) => {
                let name = name.as_ref().map_or("NAME", SecretName::as_str);
                format!(
                    "`onward secret set {name}` asks for it, `… | onward secret set {name}` reads it; \
                     arguments are seen by everybody on this machine and stay in the history of the \
                     shell: take this value for known and change it"
                )
            }
            Self::NotAName { .. } | Self::NoName => {
                "`onward secret set SESSION_KEY` asks for the value of SESSION_KEY".to_owned()
            }
            Self::UnnamedAmongSeveral { .. } => {
                "add it to `names` in onward.toml first, or set it alone".to_owned()
            }
            Self::OneValueForSeveral => {
                "set them one by one, or all at once with `--env-file PATH`".to_owned()
            }
            Self::NobodyToAsk(name) => {
                format!("pass it on standard input: `onward secret set {name} < file`")
            }
            Self::NotGiven | Self::Busy => "repeat the command".to_owned(),
            Self::Empty(name) => format!(
                "was the variable that it came from set? `onward secret rm {name}` takes it away"
            ),
            Self::Nul(_) => "set it as Base64, and let the app decode it".to_owned(),
            Self::TooLong(_) | Self::TooMuch(_) => {
                "keep large data where the app can fetch it, and its key here".to_owned()
            }
            Self::EnvFile { .. } => "correct the line; nothing was set".to_owned(),
            Self::NotInEnvFile { .. } => "without names, every value of the file is set".to_owned(),
            Self::File { .. } => "is it there, and can you read it?".to_owned(),
            Self::Unknown { .. } => "`onward secret list` lists them".to_owned(),
            Self::GetAsJson => "leave `--json` out".to_owned(),
            Self::Damaged { name, .. } => format!(
                "`onward secret set {name}` sets it anew; `onward state log` lists the earlier \
                 generations"
            ),
            Self::Key(problem) => problem.hint(),
        }
    }
}

impl From<SecretProblem> for Complaint {
    fn from(problem: SecretProblem) -> Self {
        Self::new(problem.exit(), problem.to_string()).hint(problem.hint())
    }
}

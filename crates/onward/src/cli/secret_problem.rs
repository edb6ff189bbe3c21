//! What is wrong with secrets, for people. No text of it ever repeats what may be a value.

use std::io;
use std::path::PathBuf;

use onward_core::secrets::{InvalidSecretName, PublicKey, SecretName, TooMuch, VALUE_BYTES_MAX};
use onward_secret::OpenError;

use super::complaint::Complaint;
use super::exit::Exit;

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
    /// A text that was sealed and cannot be opened.
    #[error("the secret {name} cannot be read: {why}")]
    Damaged {
        /// Its name.
        name: SecretName,
        /// Why.
        why: OpenError,
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
    #[error("an environment is shared with at most {} keys", onward_core::secrets::OPERATORS_MAX)]
    TooManyOperators,
    /// Others wrote again and again.
    #[error("the state changes too often; nothing was changed")]
    Busy,
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
            | Self::GetAsJson
            | Self::VariableIsNoKey
            | Self::NotAPublicKey
            | Self::PrivateKey
            | Self::NoSuchOperator(_)
            | Self::AmbiguousOperator => Exit::Usage,
            Self::TooMuch(_)
            | Self::NobodyToAsk(_)
            | Self::NotGiven
            | Self::NoKey(_)
            | Self::NoAccess { .. }
            | Self::ServerNeedsKey { .. }
            | Self::NoHome
            | Self::OpenKeyFile { .. }
            | Self::NoKeyInFile(_)
            | Self::LastOperator(_)
            | Self::TooManyOperators
            | Self::Busy => Exit::Refused,
            Self::File { .. } | Self::KeyFile { .. } | Self::Damaged { .. } => Exit::Failed,
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
            Self::Damaged { name, .. } => format!(
                "`onward secret set {name}` sets it anew; `onward state log` lists the earlier \
                 generations"
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

impl From<SecretProblem> for Complaint {
    fn from(problem: SecretProblem) -> Self {
        Self::new(problem.exit(), problem.to_string()).hint(problem.hint())
    }
}

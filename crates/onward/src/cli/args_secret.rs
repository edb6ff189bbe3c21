//! The command line of `onward secret`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What can be done with secrets.
#[derive(Debug, Subcommand)]
pub enum SecretVerb {
    /// Give secrets a value: asked for, from standard input or from a file; never as an argument
    Set(SetArgs),
    /// List the secrets, without their values
    List,
    /// Take secrets away; releases that were made with them keep them
    Rm {
        /// The names
        #[arg(required = true, value_name = "NAME")]
        names: Vec<OsString>,
    },
    /// Print the value of one secret
    Get {
        /// The name
        #[arg(value_name = "NAME")]
        name: OsString,
    },
    /// Let somebody else read the secrets of this environment
    #[command(args_conflicts_with_subcommands = true)]
    Share {
        /// The public key of a colleague or of CI, as `onward secret key` prints it there
        #[arg(value_name = "PUBLIC_KEY", required = true)]
        key: Option<OsString>,
        /// What people call whoever has it
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// Who can read the secrets, and taking that away
        #[command(subcommand)]
        verb: Option<ShareVerb>,
    },
    /// Print your own public key; makes a key when you have none
    Key,
}

impl SecretVerb {
    /// Whether it works on values before there is a state that has them.
    pub fn can_wait(&self) -> bool {
        matches!(self, Self::Set(_) | Self::List | Self::Rm { .. } | Self::Get { .. })
    }
}

/// Who can read the secrets.
#[derive(Debug, Subcommand)]
pub enum ShareVerb {
    /// List who can read the secrets
    List,
    /// Take the right to read away; all secrets get a new key
    Revoke {
        /// The public key, or the name
        #[arg(value_name = "WHO")]
        who: OsString,
    },
}

/// What `secret set` takes.
#[derive(Debug, Clone, Args)]
pub struct SetArgs {
    /// The names. Their values are asked for in a terminal; one can come from standard input
    #[arg(value_name = "NAME")]
    pub names: Vec<OsString>,
    /// Take the value from a file, byte for byte
    #[arg(long, value_name = "PATH", conflicts_with = "env_file")]
    pub file: Option<PathBuf>,
    /// Take values from a file of `NAME=value` lines: those of the names, or all
    #[arg(long, value_name = "PATH")]
    pub env_file: Option<PathBuf>,
    /// Make a release with the new values at once, of the bundle that serves
    #[arg(long)]
    pub now: bool,
}

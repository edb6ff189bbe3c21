//! What `onward ssh` takes.

use clap::Args;

/// `onward ssh`
#[derive(Debug, Clone, Args)]
pub struct SshArgs {
    /// The server, or a role: the first server that has it. Not needed where there is only one
    #[arg(value_name = "SERVER|ROLE")]
    pub to: Option<String>,
    /// What runs there instead of a shell; one word alone is a command line
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<String>,
}

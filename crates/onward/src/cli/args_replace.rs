//! What `onward replace` takes.

use clap::Args;
use onward_core::model::ServerName;

/// `onward replace`
#[derive(Debug, Clone, Args)]
pub struct ReplaceArgs {
    /// The server whose machine is given up
    #[arg(value_name = "SERVER")]
    pub server: ServerName,
}

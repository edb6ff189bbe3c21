//! What `onward move` takes.

use clap::Args;
use onward_core::model::{Role, ServerName};

/// `onward move`
#[derive(Debug, Clone, Args)]
pub struct MoveArgs {
    /// The role
    #[arg(value_name = "ROLE")]
    pub role: Role,
    /// The server that gets it
    #[arg(value_name = "SERVER")]
    pub to: ServerName,
    /// The server that loses it; needed when several have it
    #[arg(long, value_name = "SERVER")]
    pub from: Option<ServerName>,
}

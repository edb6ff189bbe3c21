//! Which servers a command looks at.

use clap::Args;
use onward_core::model::{Role, ServerName};

/// Which servers.
#[derive(Debug, Clone, Default, Args)]
pub struct Where {
    /// The server
    #[arg(long, value_name = "SERVER", conflicts_with = "on")]
    pub server: Option<ServerName>,
    /// The servers with this role
    #[arg(long, value_name = "ROLE")]
    pub on: Option<Role>,
}

impl Where {
    /// Whether nothing was said.
    pub const fn is_open(&self) -> bool {
        self.server.is_none() && self.on.is_none()
    }
}

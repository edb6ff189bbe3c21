//! Servers that somebody has, reached over SSH.
//!
//! A server is reached by one child process, the system's `ssh`, which runs `onward agent stdio`
//! there; see [`onward_server::session`]. Whatever `~/.ssh/config` says holds: users, ports, keys,
//! agents, jump hosts.
//!
//! # Guarantees
//! - A connection is only used when the server showed the host key that is pinned for it. Nothing
//!   ever accepts a key by itself.
//! - A connection that is lost ends every conversation over it, so whoever waits for an answer learns
//!   that it is unknown; the next one connects again.
//! - A server on which onward cannot run is refused before anything on it is changed.

mod bare;
mod connection;
mod error;
mod invocation;
mod knock;
mod link;
mod pins;
mod server;

pub use bare::Facts;
pub use error::SshError;
pub use link::SshLink;
pub use pins::{Pins, fingerprint};
pub use server::{AgentSilence, SshServer};

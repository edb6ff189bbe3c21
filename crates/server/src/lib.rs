//! What runs on a server.
//!
//! [`agent::run`] is the agent of one server tree: it keeps the last order of each app and
//! environment durably and makes it true, with processes that it supervises and a proxy that it
//! starts. What to do next is decided by [`onward_core::reconcile`]; this crate gathers the facts
//! and carries the actions out.
//!
//! [`client`] speaks to an agent over its socket in the words of [`protocol`]; a command with its
//! input and output goes over the same connection as a [`stream`].

pub mod agent;
pub mod attached;
pub mod bringing;
pub mod build;
pub mod client;
pub mod layout;
pub mod looking;
pub mod machine;
pub mod managers;
pub mod process;
pub mod protocol;
pub mod remote_state;
pub mod runtimes;
pub mod session;
pub mod stream;
pub mod systemd;
pub mod template;

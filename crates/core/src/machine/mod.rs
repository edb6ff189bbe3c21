//! What a server's machine shall be, and how it becomes that: set-up and hardening.
//!
//! ```text
//!  project file, servers × roles ──► Setup ─┐
//!                                           ├─► plan ──► changes, in order ──► carried out on the
//!  files, accounts, sockets … ────► Facts ──┘            questions             server, or printed
//! ```
//!
//! Everything is a value: [`plan()`] compares a [`Setup`] with [`Facts`] and says what to change, in
//! which order, which change could lock the operator out, and what has to be asked first. When all
//! changes are made, the plan is empty. Nothing outside the files, accounts and the one firewall
//! table that onward owns is ever changed: going back is deleting them.
//!
//! - [`Setup`]: what is wanted; [`Harden`] says how much of it.
//! - [`Facts`]: what is there.
//! - [`firewall`]: the rule set; [`doors`]: which ports of a server are open, by who talks to whom.
//! - [`Change`], [`Effect`], [`Question`]: what [`plan()`] answers.
//! - [`Event`]: what is told while a set-up is carried out.

mod accounts;
mod change;
pub mod doors;
mod event;
mod facts;
mod files;
pub mod firewall;
mod key;
mod network;
mod packages;
mod plan;
mod questions;
mod setup;
mod sshd;
mod stay;
mod user;

pub use accounts::{GROUP, KEYS_DIRECTORY, MANAGER, keys_file};
pub use change::{Change, Effect, Plan, Question, Stage};
pub use event::{Event, Token};
pub use facts::{
    Account, Facts, FileFact, FirewallFacts, Guest, Listener, Protocol, Record, SshdFacts, System,
};
pub use files::{FIREWALL_FILE, FIREWALL_UNIT, MANAGED, SWAP_FILE, SWAP_UNIT, UNDO_UNIT};
pub use firewall::{Opening, Ports};
pub use key::{AuthorizedKey, InvalidKey};
pub use network::{InvalidNetwork, Network};
pub use packages::{PackageSystem, is_built_in_locale};
pub use plan::{OwnedByAnother, plan};
pub use setup::{Admin, Harden, Owner, Setup, SshDoor};
pub use sshd::DROP_IN;
pub use stay::Stay;
pub use user::{InvalidUserName, UserName};

#[cfg(test)]
mod tests;

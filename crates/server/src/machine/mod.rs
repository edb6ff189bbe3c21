//! The machine that the agent runs on: what it is, and how it becomes what it shall be.
//!
//! What to change is decided by [`onward_core::machine`]; here the facts are gathered and the changes
//! made, by a process of its own that is root and not confined as the agent is. It needs no agent,
//! and can be run by hand:
//!
//! ```text
//! onward agent set-up --facts             what the machine is, as JSON
//! onward agent set-up --plan < setup.json what would change
//! onward agent set-up        < setup.json makes the changes, and says so in lines of JSON
//! onward agent set-up --confirm TOKEN     over a new connection: what was changed stays
//! ```
//!
//! # What cannot go wrong for good
//! What could lock the operator out is kept in `undo.json` as it was, durably, before it is changed;
//! a timer of systemd, started before as well, and a unit at boot undo it, unless somebody confirmed
//! it. So it is undone also when this process, the agent or the machine ends in between.

mod accounts;
mod command;
mod effects;
mod error;
mod gather;
mod guard;
mod interfaces;
mod packages;
mod place;
mod run;
mod sockets;
mod transient;

pub use error::MachineError;
pub use gather::facts;
pub use guard::{confirm, undo};
pub use place::Place;
pub use run::{planned, set_up};
pub(crate) use transient::{Mode, in_unit};

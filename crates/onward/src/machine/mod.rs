//! The machines of an environment's servers: what they shall be, what differs, and making them so.
//!
//! ```text
//!  look ──► facts of all servers ──► a set-up for each ──► plans ──► lines, questions
//!                                                            │
//!  converge ◄── answers ─────────────────────────────────────┘
//!     └─ each server at once: changes; a new connection confirms what could have locked us out
//! ```
//! The set-up of one server follows from all of them: its firewall lets in those that talk to it. So
//! all are looked at first.

mod converge;
mod lines;
mod look;
mod soften;
mod wishes;

pub use converge::{Converged, Trouble};
pub use look::{Look, Looks, MachineError};
pub use soften::soften;
pub use wishes::{Known, setups};

//! The engine decides and never does.
//!
//! [`submit`] records a request as an operation, [`order`] says what each server shall be,
//! [`advance`] takes the next decision from the document and the reports. All are pure functions:
//! what they return can be printed, compared and replayed.
//!
//! ```text
//! Stage → Command → Start → Check ─ DECIDE ─ Switch → Exchange → Watch → done
//!    └───────┴────────┴───────┴→ failed, aborted    └──────────────┴→ TakeBack → failed
//! ```
//!
//! # Guarantees
//! Every phase is one document write for all servers, made before anything is ordered. Before
//! `Switch` any failure goes back; from `Switch` on everything goes forward.

mod advance;
mod finish;
mod moves;
mod orders;
mod reached;
mod replaces;
mod scaling;
mod schedules;
mod sides;
mod steps;
mod submit;

pub use advance::{Advance, advance};
pub use moves::CannotMove;
pub use orders::{STAGED_KEPT, order, orders};
pub use replaces::CannotReplace;
pub use scaling::count_of_file;
pub use submit::{Ask, Refusal, Request, Submitted, submit};

/// The time that an unreachable server has before a decision, in milliseconds; then the operation
/// fails and names it.
pub const REACH_WITHIN_MS: u64 = 10_000;
/// The time that an unreachable server has after the decision, in milliseconds; then the
/// operation goes on without it, and it catches up by itself.
pub const FOLLOW_WITHIN_MS: u64 = 10_000;

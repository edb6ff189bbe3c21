//! State documents in a bucket: Amazon S3 and what speaks its protocol, Google Cloud Storage,
//! Azure Blob Storage.
//!
//! ```text
//! PREFIX/APP/ENVIRONMENT/state.json            the head: replaced by compare-and-swap, first
//!                        history/00000042.json created once, after the head, never replaced
//!                        reports/SERVER.json   overwritten by its server alone
//! PREFIX/onward-probe/…json                    that the store was tried and keeps its promises
//! ```
//!
//! The head alone decides. It is written before its copy in the history, so that a write which
//! lost a race leaves no object that looks like a generation; the next writer makes the copy that
//! a crash left out before it replaces the head.
//!
//! Nothing here trusts a retry that it did not make itself: the library is told not to repeat
//! requests, because a conditional write that was repeated blindly is refused when its first
//! attempt had happened.

mod aws_files;
mod judge;
mod open;
mod probe;
mod raw;
mod store;
mod wire;
mod write;

pub use probe::{PROBE, Weakness};
pub use store::CloudStore;

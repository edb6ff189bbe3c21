//! Certificates: what one says about itself, those that users bring, those that authorities issue.

pub mod acme;
mod facts;
mod own;
mod process;
pub mod renewal;
pub mod seat;

pub use facts::{Facts, Unreadable, facts};
pub use own::{Brought, believed, bring};

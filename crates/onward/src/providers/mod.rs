//! Where servers come from.

pub mod local;
pub mod nspawn;
pub mod ssh;

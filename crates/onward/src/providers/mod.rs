//! Who has the servers of an environment, and how they are reached.

pub mod local;
pub mod nspawn;
pub mod ssh;

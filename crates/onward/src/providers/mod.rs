//! Who has the servers of an environment, and how they are reached.

pub mod local;
pub mod nspawn;
mod server;
pub mod ssh;

pub use server::Server;

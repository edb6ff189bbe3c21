//! The real binary in a world of its own: a copy of an example in a temporary directory, with a
//! private home and runtime directory. Everything that a test starts is ended by it, by process id.

pub mod authority;
pub mod example;
pub mod http;
mod project;
mod wait;

pub use project::{Outcome, Project, binary, ended, ended_within, has};
pub use wait::{eventually, within};

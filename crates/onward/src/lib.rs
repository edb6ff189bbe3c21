//! The inside of the `onward` binary.
//!
//! `certificates` knows those that visitors are shown,
//! `cli` is what a person types and reads, `project` what the project file wishes, `providers`
//! where servers come from, `machine` how they are set up, `runtimes` where languages come from, and
//! `runner` the driver that carries the engine's decisions out; `carrier` drives it on a manager that
//! is left alone.

pub mod carrier;
pub mod certificates;
pub mod cli;
pub mod eject;
pub mod machine;
pub mod project;
pub mod providers;
pub mod runner;
pub mod runtimes;

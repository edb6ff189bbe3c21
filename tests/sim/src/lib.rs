//! The levels of the simulation: which runs are made, and what is shown of them.

pub mod hunt;
pub mod levels;
pub mod show;

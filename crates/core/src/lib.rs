//! The pure inside of onward.
//!
//! Everything here is a value or a function from values to values. Nothing reads a clock, a file,
//! a socket or a source of randomness: time and identifiers are arguments.

pub mod document;
pub mod engine;
pub mod https;
pub mod machine;
pub mod model;
pub mod order;
pub mod outcome;
pub mod planted;
pub mod ports;
pub mod reconcile;
pub mod report;
pub mod runner;
pub mod schedule;
pub mod secrets;
pub mod traffic;
pub mod unknown;

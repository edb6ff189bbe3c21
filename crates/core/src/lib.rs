//! The pure inside of onward.
//!
//! Everything here is a value or a function from values to values. Nothing reads a clock, a file,
//! a socket or a source of randomness: time and identifiers are arguments.

pub mod model;

//! The inside of the `onward` binary.

pub mod project;

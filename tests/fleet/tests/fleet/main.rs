//! Real servers.

mod lab;
mod traces;

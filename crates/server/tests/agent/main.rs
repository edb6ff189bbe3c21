//! The agent with real processes and a real proxy.
#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

mod commands;
mod files;
mod found;
mod probes;
mod remote;
mod rolling;
mod secrets;
mod trouble;
mod upgrade;
mod upgraded;
mod world;

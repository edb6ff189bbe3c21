//! Tests of bundles through their public interface.
#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

mod damage;
mod full;
mod fuzz;
mod git;
mod hostile;
mod kill;
mod label;
mod odd;
mod parity;
mod property;
mod rawtar;
mod rawzip;
mod retain;
mod round;
mod rules;
mod together;
mod transfer;
mod world;

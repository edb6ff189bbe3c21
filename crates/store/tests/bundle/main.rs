//! Tests of bundles through their public interface.
#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

mod hostile;
mod odd;
mod rawtar;
mod rawzip;
mod round;
mod world;

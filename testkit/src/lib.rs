//! Fakes, contract suites and the simulated world: for tests, and for `onward rehearse`.
//!
//! - [`fake`]: strict adapters in memory, which pass the contract suites first.
//! - [`contract`]: one suite per port; every adapter runs it in its own tests.
//! - [`release`]: what agents are ordered to run, for tests with real ones.
//! - [`bucket`]: an object store that really speaks its protocol, strict, weak or troubled.
//! - [`sim`]: the shipped engine, runner and reconcile in a world with faults at every boundary.

pub mod bucket;
pub mod contract;
pub mod fake;
pub mod killed;
pub mod release;
pub mod sim;

//! One suite per port. Every adapter of a port runs it in its own tests, the fake first.

pub mod state_store;

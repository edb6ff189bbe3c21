//! State documents and bundles on disk.

pub mod bundle;
pub mod state;

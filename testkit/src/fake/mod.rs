//! Adapters in memory: as strict as the ports' promises, and without any input or output.

mod store;
mod weak;

pub use store::MemoryStore;
pub use weak::WeakStore;

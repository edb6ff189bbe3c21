//! The words that everybody shares: names, numbers, digests.

mod digest;
mod name;

pub use digest::{Digest, InvalidDigest};
pub use name::{
    AppName, EnvironmentName, InvalidName, NAME_BYTES_MAX, ProcessName, Role, ServerName,
};

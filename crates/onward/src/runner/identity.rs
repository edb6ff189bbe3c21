//! Identities that nobody else has.

use std::fs::File;
use std::io::Read;

use onward_core::model::{RequestId, WriteId};

/// 16 hexadecimal digits from the system's source of randomness.
///
/// # Panics
/// When there is no such source, on which nothing safe can be built.
pub fn fresh() -> String {
    let mut bytes = [0_u8; 8];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .expect("every Unix has /dev/urandom");
    format!("{:016x}", u64::from_be_bytes(bytes))
}

/// A fresh identity for one write.
pub(super) fn write_id() -> WriteId {
    WriteId::new(&fresh())
}

/// A fresh identity for one request of a person.
pub fn request_id() -> RequestId {
    RequestId::new(&fresh())
}

//! Secrets: kept from view, sealed to keys, found again in text.
//!
//! [`Secret`] is every plaintext: it is wiped when it is dropped, and neither shown nor serialised.
//! [`Identity`] opens what was sealed to its public key. [`Masker`] takes known secrets out of text
//! that is about to be shown or kept. The format is [age](https://age-encryption.org/v1), so that
//! in an emergency the `age` program opens what onward sealed.
//!
//! Nothing here reads a file or a socket.

mod hidden;
mod identity;
mod masker;
mod sealing;
pub mod wire;

pub use hidden::Secret;
pub use identity::{Identity, NotAnIdentity};
pub use masker::{MASKED_BYTES_MIN, Masker, UNMASKED};
pub use sealing::{
    OpenError, SealError, check_public, open, open_identity, open_value, seal_identity, seal_value,
};

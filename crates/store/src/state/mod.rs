//! State documents: in a directory, in one of another machine, or in a bucket.
//!
//! Every store keeps the documents of one app and environment in the same layout, below a
//! directory or as objects below a prefix:
//!
//! ```text
//! APP/ENVIRONMENT/state.json            the current document; a person may edit it
//!                 history/00000042.json each generation as it was written
//!                 reports/SERVER.json   what each server last said
//!                 lock                  held while a document is replaced; in a directory only
//! ```
//!
//! In the place of `state.json` there may be a [`Sign`]: the documents were moved elsewhere.

#[cfg(feature = "cloud")]
pub mod cloud;
mod directory;
mod documents;
mod file;
mod inspect;
mod raw_directory;
pub mod remote;
mod sign;
mod transfer;
mod url;

pub use directory::{Difference, DirectoryStore};
pub use documents::Documents;
pub use sign::{Address, Sign};
pub use transfer::{Transfer, TransferRefused, transfer};
pub use url::{Bucket, InvalidStoreUrl, STORE_URL_BYTES_MAX, StoreUrl};

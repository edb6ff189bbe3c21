//! State documents on disk.
//!
//! [`DirectoryStore`] keeps the documents of one app and environment below a directory:
//!
//! ```text
//! APP/ENVIRONMENT/state.json            the current document; a person may edit it
//!                 history/00000042.json each generation as it was written
//!                 reports/SERVER.json   what each server last said
//!                 lock                  held while a document is replaced
//! ```

mod directory;
mod file;
mod inspect;

pub use directory::{Difference, DirectoryStore};

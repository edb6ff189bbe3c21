//! Bundles: the files of an application as one content-addressed whole.
//!
//! A bundle is a [`Manifest`] and the contents it names. [`Store`] keeps them in a directory: [`Store::add`] makes one
//! from a [`Source`], [`Store::stage`] turns one into a directory that an application runs in.
//!
//! It promises that the same tree has the same digest everywhere, that a store is never seen half-written whatever dies
//! at whatever moment, that every changed bit of what is stored is found before it is used, and that a hostile archive
//! is refused whole before anything of it is visible. It does not decide which bundles to keep, and it speaks to no other
//! machine: it says what to send, and takes what arrived.

mod add;
mod archive;
mod check;
mod disk;
mod error;
mod export;
mod fault;
mod git;
mod git_archive;
mod ignore_rules;
mod index;
mod intake;
mod label;
pub mod limits;
mod links;
mod manifest;
mod pack;
mod path;
mod progress;
mod reader;
mod retain;
mod stage;
mod store;
mod tar_pax;
mod tar_read;
mod transfer;
mod tree;
mod workers;
mod zip_directory;
mod zip_read;

pub use add::{AddOptions, Added, Source};
pub use check::{Verified, verify_tree};
pub use error::{Error, Result, TreeMismatch};
pub use export::ExportFormat;
pub use fault::Fault;
pub use git_archive::GitSource;
pub use label::Revision;
pub use manifest::{BadEntry, BadManifest, Entry, Kind, Manifest};
pub use path::BundlePath;
pub use progress::{OnProgress, Progress};
pub use retain::{Retention, Swept};
pub use stage::{StageMode, Staged};
pub use store::{Listed, Store};
pub use transfer::{Arrival, PACK_FILE_BYTES_MAX};
pub use tree::{Skipped, TreeSource};

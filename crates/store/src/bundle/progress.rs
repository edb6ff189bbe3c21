//! Progress, for whoever shows it.

use std::sync::atomic::{AtomicU64, Ordering};

/// How far an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Files done.
    pub files: u64,
    /// Files in all; 0 while unknown, as in archives.
    pub files_total: u64,
    /// Bytes of the files done.
    pub bytes: u64,
    /// Bytes in all; 0 while unknown.
    pub bytes_total: u64,
}

/// Receives progress from any thread, some dozen to some thousand times per operation; must return at once.
pub type OnProgress<'a> = &'a (dyn Fn(Progress) + Sync);

/// Counts, and tells.
pub(crate) struct Meter<'a> {
    tell: Option<OnProgress<'a>>,
    files: AtomicU64,
    bytes: AtomicU64,
    total: (u64, u64),
}

impl<'a> Meter<'a> {
    /// A meter that will end at these files and bytes.
    pub(crate) fn new(tell: Option<OnProgress<'a>>, files: u64, bytes: u64) -> Self {
        Self { tell, files: AtomicU64::new(0), bytes: AtomicU64::new(0), total: (files, bytes) }
    }

    /// Some files are done.
    pub(crate) fn add(&self, files: u64, bytes: u64) {
        let files = self.files.fetch_add(files, Ordering::Relaxed) + files;
        let bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if let Some(tell) = self.tell {
            let (files_total, bytes_total) = self.total;
            tell(Progress { files, files_total, bytes, bytes_total });
        }
    }
}

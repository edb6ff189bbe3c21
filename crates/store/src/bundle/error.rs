//! What can go wrong with bundles.

use std::io;
use std::path::{Path, PathBuf};

use onward_core::model::Digest;

use super::fault::Fault;
use super::manifest::BadEntry;

/// An operation on bundles failed. Unless a variant says otherwise, the store and the destination are as before.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {action} `{path}`")]
    Io {
        /// What was attempted, as a verb: "read", "create".
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Too little disk space, found out before writing or while writing.
    #[error("not enough disk space at `{path}`: {needed} bytes are needed, {free} are free")]
    NoSpace {
        /// The file system is the one of this path.
        path: PathBuf,
        /// Bytes the operation needs at most.
        needed: u64,
        /// Bytes that are free for it.
        free: u64,
    },
    /// The store has no such bundle.
    #[error("there is no bundle {0} in the store")]
    NoBundle(Digest),
    /// No bundle has that label or digest.
    #[error("no bundle is called `{0}`")]
    NoSuchName(String),
    /// The beginning of a digest fits several bundles.
    #[error("`{0}` fits several bundles; give more digits")]
    AmbiguousName(String),
    /// A file of the store is damaged: it is not what was written.
    #[error("`{path}` is damaged: {why}")]
    Damaged {
        /// The file in the store.
        path: PathBuf,
        /// How it differs from what was written.
        why: String,
    },
    /// A bundle's manifest is there, but no pack holds the content of one of its files (a damaged pack was set aside).
    #[error("the store lacks the content of `{path}` in bundle {bundle}")]
    Incomplete {
        /// The bundle.
        bundle: Digest,
        /// The file in the bundle.
        path: String,
    },
    /// A source tree has something that no bundle can hold.
    #[error("`{root}` cannot become a bundle")]
    Unfit {
        /// The source.
        root: PathBuf,
        /// The entry and the reason.
        source: BadEntry,
    },
    /// A file changed while it was read.
    #[error("`{0}` changed while it was read")]
    Changed(PathBuf),
    /// An `include` names nothing that exists.
    #[error("`{include}` is to be included, but does not exist in `{root}`")]
    NoInclude {
        /// The source.
        root: PathBuf,
        /// The include as given.
        include: String,
    },
    /// An archive was refused whole.
    #[error("the archive `{archive}` is refused{}: {fault}", at_entry(entry.as_deref()))]
    Refused {
        /// The archive.
        archive: PathBuf,
        /// The entry, with unprintable bytes escaped; `None` when the fault lies before the first.
        entry: Option<String>,
        /// The reason.
        fault: Fault,
    },
    /// The file is not an archive of a known format.
    #[error("`{path}` is not an archive that can be read: {why}")]
    NotAnArchive {
        /// The file.
        path: PathBuf,
        /// What it looks like instead.
        why: String,
    },
    /// The `git` command failed.
    #[error("`git {command}` failed in `{root}`: {message}")]
    Git {
        /// The project directory.
        root: PathBuf,
        /// The subcommand.
        command: &'static str,
        /// What it said.
        message: String,
    },
    /// The repository has no such commit, branch or tag.
    #[error("`{reference}` is no commit, branch or tag of the repository at `{root}`")]
    NoSuchCommit {
        /// The project directory.
        root: PathBuf,
        /// What was asked for.
        reference: String,
    },
    /// A label that means another content already.
    #[error("the label `{label}` already means bundle {owner}")]
    LabelTaken {
        /// The label.
        label: String,
        /// What it means.
        owner: Digest,
    },
    /// A label with characters that labels may not have.
    #[error(
        "`{0}` is not a label: letters, digits and `.` `_` `+` `-` are allowed, up to 100, the first a letter or digit"
    )]
    BadLabel(String),
    /// The destination exists and is not this bundle.
    #[error("`{dest}` exists and is not this bundle")]
    DestinationDiffers {
        /// The destination.
        dest: PathBuf,
        /// The first difference.
        source: TreeMismatch,
    },
    /// A staged tree is not what its manifest says.
    #[error(transparent)]
    Mismatch(#[from] TreeMismatch),
    /// The path exists, and nothing may be overwritten.
    #[error("`{0}` exists already")]
    Exists(PathBuf),
}

/// Where a directory differs from the bundle it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not as the bundle has it: {why}", path.display())]
pub struct TreeMismatch {
    /// The file, link or directory.
    pub path: PathBuf,
    /// The difference.
    pub why: String,
}

/// The result of bundle operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

fn at_entry(entry: Option<&str>) -> String {
    entry.map(|entry| format!(" because of `{entry}`")).unwrap_or_default()
}

/// Gives an I/O error its context.
pub(crate) trait At<T> {
    /// Names what was attempted on which file. A full disk becomes [`Error::NoSpace`].
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|source| {
            let path = path.as_ref().to_owned();
            match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    let free = super::disk::free(&path);
                    // The write that failed needed at least one byte more than there was.
                    Error::NoSpace { needed: free + 1, free, path }
                }
                _ => Error::Io { action, path, source },
            }
        })
    }
}

//! Why a tree or an archive cannot become a bundle. Every fault names one reason; who reports it names the entry.

use super::limits;

/// One reason to refuse a tree or an archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    // ---- names
    /// The name has no bytes, or only `.` and `/`.
    #[error("the name is empty")]
    EmptyName,
    /// The name starts with `/` or a drive letter.
    #[error("the path is absolute")]
    Absolute,
    /// The name contains a `..` component.
    #[error("the path contains `..`")]
    Parent,
    /// The name is not UTF-8.
    #[error("the name is not UTF-8")]
    NotUtf8,
    /// The name contains NUL, a line break or another control character.
    #[error("the name contains a control character")]
    Control,
    /// One component is longer than [`limits::MAX_NAME`].
    #[error("a name of {0} bytes is longer than {max}", max = limits::MAX_NAME)]
    NameTooLong(usize),
    /// The whole path is longer than [`limits::MAX_PATH`].
    #[error("a path of {0} bytes is longer than {max}", max = limits::MAX_PATH)]
    PathTooLong(usize),
    /// More components than [`limits::MAX_DEPTH`].
    #[error("the path is {0} levels deep, {max} are allowed", max = limits::MAX_DEPTH)]
    TooDeep(usize),

    // ---- the tree as a whole
    /// Two entries have the same path.
    #[error("the path appears twice")]
    Duplicate,
    /// Something lies below a file or a symbolic link.
    #[error("it lies below `{0}`, which is not a directory")]
    BelowNonDirectory(String),
    /// A symbolic link leads out of the tree, directly or through other links.
    #[error("the symbolic link to `{0}` leads out of the tree")]
    LinkEscapes(String),
    /// A symbolic link's target is empty, too long, not UTF-8 or has control characters.
    #[error("the symbolic link's target is not a usable path")]
    BadTarget,
    /// More entries than [`limits::MAX_ENTRIES`].
    #[error("there are more than {max} entries", max = limits::MAX_ENTRIES)]
    TooManyEntries,
    /// More bytes than [`limits::MAX_BYTES`].
    #[error("the files are larger than {max} bytes together", max = limits::MAX_BYTES)]
    TooManyBytes,

    // ---- archives
    /// A hard link to something that is not an earlier file of the same archive.
    #[error("the hard link to `{0}` names no earlier file of the archive")]
    HardLink(String),
    /// A character or block device.
    #[error("it is a device")]
    Device,
    /// A named pipe.
    #[error("it is a named pipe")]
    Fifo,
    /// A socket or another kind of file that no bundle holds.
    #[error("it is of a kind that cannot be deployed ({0})")]
    UnknownKind(String),
    /// A file with the setuid or setgid bit.
    #[error("the file has a setuid or setgid bit")]
    Setuid,
    /// A sparse file, which archives describe in ways that programs read differently.
    #[error("it is a sparse file")]
    Sparse,
    /// Two places of the archive disagree on something, so that two programs would read two different archives.
    #[error("the archive says two different things about it: {0}")]
    Ambiguous(String),
    /// The archive expands to more than [`limits::MAX_RATIO`] times its size.
    #[error("it expands to more than {max} times its size", max = limits::MAX_RATIO)]
    Bomb,
    /// The archive ends early.
    #[error("the archive ends before it is complete")]
    Truncated,
    /// A checksum, header or compressed stream is wrong.
    #[error("the archive is corrupt: {0}")]
    Corrupt(String),
    /// Bytes before, between or after what the archive declares.
    #[error("the archive has bytes that belong to no entry")]
    StrayBytes,
    /// An encrypted entry.
    #[error("it is encrypted")]
    Encrypted,
    /// A compression or archive feature that is not supported.
    #[error("{0} is not supported")]
    Unsupported(String),
}

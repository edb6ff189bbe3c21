//! The limits of bundles, each with its reason.

/// Bytes of one path component: what Linux file systems take.
pub const MAX_NAME: usize = 255;
/// Bytes of a whole path: leaves room for the directory it is staged into within Linux' 4096.
pub const MAX_PATH: usize = 3072;
/// Components of a path: deeper trees are found in attacks, not in applications.
pub const MAX_DEPTH: usize = 32;
/// Entries of one bundle: a large Node.js application has 60,000.
pub const MAX_ENTRIES: usize = 100_000;
/// Bytes of all files of one bundle: what a server can be expected to hold several times.
pub const MAX_BYTES: u64 = 16 << 30;
/// Bytes of a symbolic link's target: the kernel's own limit.
pub const MAX_TARGET: usize = 4095;
/// How many times its size an archive may expand to; text compresses 3 to 20 times.
pub const MAX_RATIO: u64 = 200;
/// Below this many expanded bytes the ratio is not judged: small archives of zeros are legal and harmless.
pub const RATIO_FREE_BYTES: u64 = 32 << 20;
/// Bytes of one manifest file when it is read back: [`MAX_ENTRIES`] with long paths.
pub const MAX_MANIFEST_BYTES: u64 = 64 << 20;

/// Files up to this many bytes are stored whole; larger ones are cut by content.
pub const WHOLE_FILE: usize = 1 << 20;
/// Uncompressed bytes after which a pack is closed: about 2 MiB of it remain when compressed.
pub const PACK_BYTES: usize = 4 << 20;
/// The most uncompressed bytes a pack may claim, when one is read: a full one and the chunk list of the largest file.
pub const MAX_PACK_BYTES: usize = PACK_BYTES + (40 << 20);
/// Smallest, average and largest chunk of a cut file. All even: fastcdc 5 cuts wrongly at odd ones.
/// They are part of the storage format: other values would find no chunk of an existing store again.
pub const CHUNK_SIZES: (usize, usize, usize) = (16 << 10, 64 << 10, 256 << 10);
/// zstd level of packs.
pub const LEVEL: i32 = 3;
/// Disk space that is never used up: for state documents and logs of what is running.
pub const RESERVE_BYTES: u64 = 8 << 20;
/// Threads that read, hash and compress; more only cost memory (about 15 MB each).
pub const MAX_THREADS: usize = 4;
/// Characters of a label.
pub const MAX_LABEL: usize = 100;

const _: () = assert!(
    CHUNK_SIZES.0.is_multiple_of(2)
        && CHUNK_SIZES.1.is_multiple_of(2)
        && CHUNK_SIZES.2.is_multiple_of(2),
    "fastcdc needs even sizes"
);

//! Which onward a process runs: its version, and the digest of its executable.
//!
//! The version alone does not say it: two builds of one version differ while onward is developed.
//! What runs on a server runs from a copy of its own, `ROOT/bin/onward-VERSION-DIGEST`, so that an
//! installation that is replaced, removed or half written never changes what runs.

use std::cmp::Ordering;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The version of this onward. `ONWARD_BUILD_VERSION`, set while it is compiled, takes the place of
/// the crate's version: upgrades are tested with binaries that differ in nothing else.
pub const VERSION: &str = match option_env!("ONWARD_BUILD_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};

/// The executable of this process, also when its file was replaced or removed.
const THIS: &str = "/proc/self/exe";
/// How many bytes of the digest name a build: enough to tell builds apart.
const DIGEST_BYTES: usize = 8;
/// How many executables are remembered with their digests.
const KNOWN_MAX: usize = 8;
/// What the kernel adds to the path of an executable that was removed.
const DELETED: &str = " (deleted)";

/// One build of onward.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// Its version; empty when that is not known.
    #[serde(default)]
    pub version: String,
    /// The beginning of the BLAKE3 digest of its executable, in hexadecimal digits.
    #[serde(default)]
    pub digest: String,
}

/// How a build stands to the one that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skew {
    /// It is the same.
    Same,
    /// It is another build of the same version.
    Rebuilt,
    /// It is of a newer version.
    Newer,
    /// It is of an older version.
    Older,
}

impl Build {
    /// The build of this process. The digest is remembered in the directory `bin`, so that it is
    /// computed once for each executable.
    ///
    /// # Errors
    /// When the executable cannot be read.
    pub fn of_this(bin: &Path) -> io::Result<Self> {
        let stamp = Stamp::of(Path::new(THIS))?;
        let file = bin.join("known.json");
        let mut known: Vec<Known> = fs::read(&file)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default();
        let version = VERSION.to_owned();
        if let Some(own) = known.iter().find(|own| own.stamp == stamp) {
            return Ok(Self { version, digest: own.digest.clone() });
        }
        let digest = digest(Path::new(THIS))?;
        known.push(Known { stamp, digest: digest.clone() });
        let surplus = known.len().saturating_sub(KNOWN_MAX);
        known.drain(..surplus);
        // Not to remember costs a few milliseconds the next time.
        let _ = fs::write(&file, serde_json::to_vec(&known)?);
        Ok(Self { version, digest })
    }

    /// The build that a process runs; `None` when it has ended or may not be looked at.
    pub fn of_process(pid: u32) -> Option<Self> {
        let link = PathBuf::from(format!("/proc/{pid}/exe"));
        let path = fs::read_link(&link).ok()?;
        let name = path.file_name()?.to_str()?;
        let named = Self::of_name(name.strip_suffix(DELETED).unwrap_or(name));
        named.or_else(|| {
            let same = Stamp::of(&link).ok()? == Stamp::of(Path::new(THIS)).ok()?;
            let version = if same { VERSION } else { "" }.to_owned();
            Some(Self { version, digest: digest(&link).ok()? })
        })
    }

    /// The name of its copy.
    pub fn name(&self) -> String {
        format!("onward-{}-{}", self.version, self.digest)
    }

    /// The build whose copy has this name.
    pub fn of_name(name: &str) -> Option<Self> {
        let (version, digest) = name.strip_prefix("onward-")?.rsplit_once('-')?;
        let is_digest =
            digest.len() == 2 * DIGEST_BYTES && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        (is_digest && !version.is_empty())
            .then(|| Self { version: version.to_owned(), digest: digest.to_owned() })
    }

    /// How this build stands to another, that runs. One whose version is not known is older.
    pub fn skew(&self, running: &Self) -> Skew {
        if self == running {
            return Skew::Same;
        }
        match order(&self.version, &running.version) {
            Ordering::Less => Skew::Older,
            Ordering::Equal => Skew::Rebuilt,
            Ordering::Greater => Skew::Newer,
        }
    }

    /// Makes the copy of this process's executable that processes of a server run from; returns its
    /// path. One that is there already is used.
    ///
    /// # Errors
    /// What the system says; then there is no part of a copy under the name.
    pub fn keep(&self, bin: &Path) -> io::Result<PathBuf> {
        let path = bin.join(self.name());
        let there = fs::metadata(&path).is_ok_and(|meta| meta.is_file());
        if there {
            return Ok(path);
        }
        let passing = bin.join(format!(".{}.{}", self.name(), std::process::id()));
        let copy = || -> io::Result<()> {
            let mut from = File::open(THIS)?;
            let mut to = File::options()
                .create(true)
                .write(true)
                .truncate(true)
                .mode(0o755)
                .open(&passing)?;
            io::copy(&mut from, &mut to)?;
            to.sync_all()?;
            fs::rename(&passing, &path)
        };
        copy().inspect_err(|_| {
            let _ = fs::remove_file(&passing);
        })?;
        Ok(path)
    }
}

impl std::fmt::Display for Build {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.version.is_empty() {
            f.write_str("another build")
        } else {
            f.write_str(&self.version)
        }
    }
}

/// Makes a build the one that the tree runs, and removes the copies of others. What still runs from
/// them goes on: the system keeps a file until its last process has ended.
///
/// # Errors
/// What the system says.
pub fn settle(bin: &Path, build: &Build) -> io::Result<()> {
    let current = bin.join("current");
    let name = build.name();
    if fs::read_link(&current).map_or(true, |own| own != Path::new(&name)) {
        let passing = bin.join("current.new");
        let _ = fs::remove_file(&passing);
        std::os::unix::fs::symlink(&name, &passing)?;
        fs::rename(&passing, &current)?;
    }
    for entry in fs::read_dir(bin)?.flatten() {
        let other = entry.file_name();
        let is_copy = other.to_str().is_some_and(|other| Build::of_name(other).is_some());
        if is_copy && other != *name {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

/// The build that the tree runs, and its copy, when both are there.
pub fn settled(bin: &Path) -> Option<(Build, PathBuf)> {
    let name = fs::read_link(bin.join("current")).ok()?;
    let build = Build::of_name(name.to_str()?)?;
    let path = bin.join(name);
    path.is_file().then_some((build, path))
}

/// What tells one content of an executable from the next without reading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let meta = fs::metadata(path)?;
        Ok(Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Known {
    stamp: Stamp,
    digest: String,
}

fn digest(path: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    let digest = hasher.finalize();
    Ok(digest.as_bytes()[..DIGEST_BYTES].iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Compares versions as semantic versioning does, as far as releases of onward need it: numbers by
/// their value, and what has a suffix comes before what has none.
fn order(left: &str, right: &str) -> Ordering {
    let parts = |version: &str| {
        let version = version.split('+').next().unwrap_or_default().to_owned();
        let (numbers, suffix) = match version.split_once('-') {
            Some((numbers, suffix)) => (numbers.to_owned(), Some(suffix.to_owned())),
            None => (version, None),
        };
        let numbers: Vec<u64> = numbers.split('.').map(|part| part.parse().unwrap_or(0)).collect();
        (numbers, suffix)
    };
    let ((left, left_suffix), (right, right_suffix)) = (parts(left), parts(right));
    left.cmp(&right).then_with(|| match (left_suffix, right_suffix) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(left), Some(right)) => left.cmp(&right),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(version: &str, digest: &str) -> Build {
        Build { version: version.into(), digest: digest.into() }
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        let own = build("0.10.0", "aa");
        assert_eq!(own.skew(&build("0.9.1", "bb")), Skew::Newer);
        assert_eq!(own.skew(&build("0.10.1", "bb")), Skew::Older);
        assert_eq!(own.skew(&build("0.10.0", "bb")), Skew::Rebuilt);
        assert_eq!(own.skew(&build("0.10.0-rc.1", "bb")), Skew::Newer);
        assert_eq!(own.skew(&build("", "bb")), Skew::Newer);
        assert_eq!(own.skew(&own), Skew::Same);
    }

    #[test]
    fn a_name_says_which_build() {
        let own = build("0.2.0-rc.1", "0123456789abcdef");
        assert_eq!(Build::of_name(&own.name()), Some(own));
        for other in ["onward", "onward-0.2.0", "onward-0.2.0-xyz", "other-1-0123456789abcdef"] {
            assert_eq!(Build::of_name(other), None, "{other}");
        }
    }

    #[test]
    fn one_copy_is_kept_and_its_digest_remembered() {
        let bin = tempfile::tempdir().unwrap();
        let own = Build::of_this(bin.path()).unwrap();
        assert_eq!(Build::of_this(bin.path()).unwrap(), own);
        fs::write(bin.path().join("onward-0.0.1-0123456789abcdef"), "old").unwrap();
        let path = own.keep(bin.path()).unwrap();
        assert_eq!(digest(&path).unwrap(), own.digest);
        settle(bin.path(), &own).unwrap();
        assert_eq!(settled(bin.path()), Some((own, path)));
        assert_eq!(fs::read_dir(bin.path()).unwrap().count(), 3, "known.json, current, the copy");
    }
}

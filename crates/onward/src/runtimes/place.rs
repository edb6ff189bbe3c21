//! The place where fetched runtimes are kept: each is made beside it and renamed there, so that it is
//! complete from the moment that it is there, also after a loss of power.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use flate2::read::GzDecoder;

/// The most that a package may hold when it is unpacked, in bytes: Node has 130 MB.
const UNPACKED_BYTES_MAX: u64 = 1 << 30;
/// Runtimes in the making begin with this. Each is locked by its maker.
const UNFINISHED: &str = ".unfinished-";
/// Locked while somebody begins one, or removes those whose makers died.
const BEGIN_LOCK: &str = ".begin";
/// More makers at the same time are refused: somebody starts them in a loop.
const MAKERS_MAX: u32 = 64;

/// Makes a directory with `fill` and renames it to `place`.
///
/// # Errors
/// What `fill` or the system says; then nothing of it stays.
pub(super) fn make<E>(
    place: &Path,
    failed: impl Fn(&Path, io::Error) -> E,
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let parent = place.parent().unwrap_or(place);
    let (unfinished, lock) = begin(parent).map_err(|error| failed(parent, error))?;
    let made = fill(&unfinished).and_then(|()| {
        sync_all_below(&unfinished).map_err(|error| failed(place, error))?;
        match fs::rename(&unfinished, place) {
            // Somebody else was faster, with the same content.
            Err(_) if place.is_dir() => Ok(()),
            other => other.map_err(|error| failed(place, error)),
        }
    });
    if made.is_ok() {
        // Not durable only means that it is fetched again after a loss of power.
        let _ = File::open(parent).and_then(|parent| parent.sync_all());
    }
    let _ = fs::remove_dir_all(&unfinished);
    drop(lock);
    made
}

/// A directory to fill, and the lock that tells the others that somebody fills it.
fn begin(parent: &Path) -> io::Result<(PathBuf, File)> {
    fs::create_dir_all(parent)?;
    let lock = File::create(parent.join(BEGIN_LOCK))?;
    lock.lock()?;
    remove_abandoned(parent)?;
    for number in 0..MAKERS_MAX {
        let unfinished = parent.join(format!("{UNFINISHED}{number}"));
        match fs::create_dir(&unfinished) {
            Ok(()) => {
                let own = File::open(&unfinished)?;
                own.lock()?;
                return Ok((unfinished, own));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("too many runtimes are being made at the same time"))
}

/// Removes what makers left that were killed.
fn remove_abandoned(parent: &Path) -> io::Result<()> {
    for entry in fs::read_dir(parent)?.flatten() {
        let is_unfinished = entry.file_name().to_string_lossy().starts_with(UNFINISHED);
        let lock = || File::open(entry.path()).ok().filter(|own| own.try_lock().is_ok());
        if is_unfinished && lock().is_some() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Makes everything below a directory durable.
fn sync_all_below(directory: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        rustix::fs::syncfs(File::open(directory)?).map_err(io::Error::from)
    }
    #[cfg(not(target_os = "linux"))]
    {
        for entry in fs::read_dir(directory)?.flatten() {
            let kind = entry.file_type()?;
            if kind.is_dir() {
                sync_all_below(&entry.path())?;
            } else if kind.is_file() {
                File::open(entry.path())?.sync_all()?;
            }
        }
        File::open(directory)?.sync_all()
    }
}

/// Unpacks the regular files of a package that are wanted; nothing leaves the directory.
pub(super) fn unpack(
    bytes: &[u8],
    directory: &Path,
    wanted: &dyn Fn(&Path) -> bool,
) -> io::Result<()> {
    let limited = GzDecoder::new(bytes).take(UNPACKED_BYTES_MAX);
    let mut archive = tar::Archive::new(limited);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        // The first directory of a package has any name.
        let path: PathBuf = path.components().skip(1).collect();
        let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
        if !entry.header().entry_type().is_file() || !inside || !wanted(&path) {
            continue;
        }
        let to = directory.join(&path);
        fs::create_dir_all(to.parent().unwrap_or(directory))?;
        let mut file = File::create(&to)?;
        io::copy(&mut entry, &mut file)?;
        let executable = entry.header().mode()? & 0o100 != 0;
        fs::set_permissions(
            &to,
            fs::Permissions::from_mode(if executable { 0o755 } else { 0o644 }),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(_: &Path, error: io::Error) -> io::Error {
        error
    }

    #[test]
    fn what_a_killed_maker_left_is_removed_and_what_is_being_made_is_not() {
        let store = tempfile::tempdir().unwrap();
        let dead = store.path().join(".unfinished-7");
        fs::create_dir_all(dead.join("bin")).unwrap();
        let (living, lock) = begin(store.path()).unwrap();
        assert!(!dead.exists());
        let place = store.path().join("node");
        let fill = |directory: &Path| {
            assert_ne!(directory, living);
            fs::write(directory.join("a"), "a")
        };
        make(&place, kept, fill).unwrap();
        assert!(living.exists(), "its maker lives");
        assert_eq!(fs::read_to_string(place.join("a")).unwrap(), "a");
        drop(lock);
        make(&store.path().join("other"), kept, |_| Ok(())).unwrap();
        assert!(!living.exists(), "the control: now its maker is gone");
    }

    #[test]
    fn what_fails_leaves_nothing() {
        let store = tempfile::tempdir().unwrap();
        let place = store.path().join("node");
        let fill = |directory: &Path| {
            fs::write(directory.join("a"), "a")?;
            Err(io::Error::other("full"))
        };
        assert_eq!(make(&place, kept, fill).unwrap_err().to_string(), "full");
        let left: Vec<_> = fs::read_dir(store.path()).unwrap().flatten().collect();
        assert_eq!(left.len(), 1, "only the lock: {left:?}");
    }
}

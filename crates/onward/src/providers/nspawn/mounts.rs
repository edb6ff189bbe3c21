//! Mounts: what is mounted, the disk of a server, and all of it gone again.

use std::fs;
use std::path::{Path, PathBuf};

use super::{LabError, program};

/// The kernel's list.
const LIST: &str = "/proc/self/mountinfo";

/// One mount.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// Where.
    pub at: PathBuf,
    /// The type of the file system.
    pub kind: String,
    /// Its own options, as `rw,name=systemd`.
    pub options: String,
}

/// Everything that is mounted, in the order in which it was.
pub(super) fn all() -> Result<Vec<Mount>, LabError> {
    let text = fs::read_to_string(LIST).map_err(LabError::file(Path::new(LIST)))?;
    Ok(text.lines().filter_map(parse).collect())
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn parse(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let at = PathBuf::from(unescaped(left.split(' ').nth(4)?));
    let mut right = right.split(' ');
    let kind = right.next()?.to_owned();
    let options = right.nth(1).unwrap_or_default().to_owned();
    Some(Mount { at, kind, options })
}

/// The kernel writes space, tab, line break and backslash as three octal digits.
fn unescaped(text: &str) -> String {
    ["\\040", "\\011", "\\012", "\\134"]
        .iter()
        .zip([" ", "\t", "\n", "\\"])
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// Whether something is mounted there.
pub(super) fn is_mounted(at: &Path) -> Result<bool, LabError> {
    Ok(all()?.iter().any(|mount| mount.at == at))
}

/// Takes away every mount at or below a directory, the last first.
pub(super) fn unmount_below(directory: &Path) -> Result<(), LabError> {
    let mounts = all()?;
    for mount in mounts.iter().rev().filter(|mount| mount.at.starts_with(directory)) {
        let at = mount.at.to_string_lossy();
        program::run(&format!("unmount {at}"), "umount", &[&at])?;
    }
    Ok(())
}

/// Mounts an overlay at `at`, unless it is there.
pub(super) fn overlay(lower: &Path, upper: &Path, work: &Path, at: &Path) -> Result<(), LabError> {
    if is_mounted(at)? {
        return Ok(());
    }
    for directory in [upper, work, at] {
        fs::create_dir_all(directory).map_err(LabError::file(directory))?;
    }
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.display(),
        upper.display(),
        work.display()
    );
    let arguments = ["-t", "overlay", "overlay", "-o", &options, &at.to_string_lossy()];
    program::run(&format!("mount {}", at.display()), "mount", &arguments).map(drop)
}

/// Mounts a file with a file system of `mib` MiB at `at`, made when it is not there: a disk that
/// can be full.
pub(super) fn disk(image: &Path, mib: u32, at: &Path) -> Result<(), LabError> {
    if is_mounted(at)? {
        return Ok(());
    }
    fs::create_dir_all(at).map_err(LabError::file(at))?;
    if !image.exists() {
        let new = image.with_extension("new");
        let size = u64::from(mib) << 20;
        let made = fs::File::create(&new).and_then(|file| file.set_len(size));
        made.map_err(LabError::file(&new))?;
        let path = new.to_string_lossy();
        // No blocks are kept for root: the servers' programs run as root, and shall find it full.
        program::run("a disk", "mkfs.ext4", &["-q", "-F", "-m", "0", &path])?;
        fs::rename(&new, image).map_err(LabError::file(image))?;
    }
    let arguments = ["-o", "loop", &image.to_string_lossy(), &at.to_string_lossy()];
    program::run(&format!("mount {}", at.display()), "mount", &arguments).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel_are_read() {
        let line = "36 35 0:31 / /srv/a\\040b rw,noatime master:1 - cgroup cgroup rw,name=systemd";
        let mount = parse(line).expect("a mount");
        assert_eq!(mount.at, Path::new("/srv/a b"));
        assert_eq!((mount.kind.as_str(), mount.options.as_str()), ("cgroup", "rw,name=systemd"));
        assert_eq!(parse("nonsense"), None);
    }
}

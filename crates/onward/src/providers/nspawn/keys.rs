//! Keys of SSH: of the one who logs in, and of each server before it boots, so that nobody ever has
//! to trust what a server says of itself at first sight.

use std::fs::{self, File};
use std::path::Path;

use super::{LabError, program};

/// Makes a pair of keys, `private` and `private.pub`, unless it is there.
pub(super) fn make(private: &Path) -> Result<(), LabError> {
    if private.exists() {
        return Ok(());
    }
    // Made beside and renamed, the public part first: when the private part is there, both are.
    let new = private.with_extension("new");
    for leftover in [new.clone(), new.with_extension("new.pub")] {
        // It may not be there at all.
        let _ = fs::remove_file(leftover);
    }
    let path = new.to_string_lossy();
    let arguments = ["-q", "-t", "ed25519", "-N", "", "-C", "onward", "-f", &path];
    program::run("a pair of keys", "ssh-keygen", &arguments)?;
    let public = new.with_extension("new.pub");
    for (from, to) in [(&public, &private.with_extension("pub")), (&new, &private.to_owned())] {
        let moved = File::open(from).and_then(|file| file.sync_all());
        moved.and_then(|()| fs::rename(from, to)).map_err(LabError::file(to))?;
    }
    Ok(())
}

/// The public part, as `ssh-ed25519 AAAA…`, without a comment.
pub(super) fn public(private: &Path) -> Result<String, LabError> {
    let path = private.with_extension("pub");
    let text = fs::read_to_string(&path).map_err(LabError::file(&path))?;
    Ok(text.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_pair_is_made_once_and_a_half_made_one_is_made_again() {
        if !program::exists("ssh-keygen") {
            println!("LEFT OUT: what needs `ssh-keygen`, which is missing");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let key = directory.path().join("key");
        fs::write(directory.path().join("key.new"), "half").unwrap();
        make(&key).unwrap();
        let first = public(&key).unwrap();
        assert!(first.starts_with("ssh-ed25519 AAAA") && !first.contains("onward"), "{first}");
        assert_eq!(fs::metadata(&key).unwrap().mode() & 0o777, 0o600);
        make(&key).unwrap();
        assert_eq!(public(&key).unwrap(), first);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "nothing is left beside");
    }
}

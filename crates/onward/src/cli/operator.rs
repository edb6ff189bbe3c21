//! The key of the person who types: `~/.config/onward/key`, or `ONWARD_KEY` for machines.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use onward_secret::Identity;

use super::key_problem::KeyProblem;
use crate::runner;

/// The variable that holds a key instead of the file. It is not handed on to what onward starts.
pub const VARIABLE: &str = "ONWARD_KEY";
/// The longest file that is read as a key, in bytes: a key with comments around it.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// The key of the person, when there is one.
///
/// # Errors
/// When there is something in its place that is no key, or that others can read.
pub fn read() -> Result<Option<Identity>, KeyProblem> {
    if let Some(text) = std::env::var_os(VARIABLE).filter(|text| !text.is_empty()) {
        let text = text.to_str().ok_or(KeyProblem::VariableIsNoKey)?;
        let identity = Identity::read(text).map_err(|_| KeyProblem::VariableIsNoKey)?;
        return Ok(Some(identity));
    }
    match path() {
        Some(path) => read_file(&path),
        None => Ok(None),
    }
}

/// The key of the person, made when there is none; and the file when it was made now.
///
/// # Errors
/// As [`read`], and when it cannot be written.
pub fn read_or_make() -> Result<(Identity, Option<PathBuf>), KeyProblem> {
    if let Some(identity) = read()? {
        return Ok((identity, None));
    }
    let path = path().ok_or(KeyProblem::NoHome)?;
    let identity = Identity::generate();
    let written = write(&path, &identity);
    written.map_err(|source| KeyProblem::KeyFile { path: path.clone(), source })?;
    // Two commands may have made one at once: the first counts.
    let kept = read_file(&path)?.ok_or(KeyProblem::NoHome)?;
    Ok((kept, Some(path)))
}

/// Where the key is: below `$XDG_CONFIG_HOME`, else `~/.config`.
pub fn path() -> Option<PathBuf> {
    let absolute = |name| {
        let path = std::env::var_os(name).map(PathBuf::from);
        path.filter(|path| path.is_absolute())
    };
    let config = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?;
    Some(config.join("onward").join("key"))
}

fn read_file(path: &Path) -> Result<Option<Identity>, KeyProblem> {
    let failed = |source| KeyProblem::KeyFile { path: path.to_owned(), source };
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let own = rustix::process::geteuid().as_raw();
    if meta.uid() != own || meta.mode() & 0o077 != 0 {
        let (path, mode) = (path.to_owned(), meta.mode() & 0o7777);
        return Err(KeyProblem::OpenKeyFile { path, mode, foreign: meta.uid() != own });
    }
    if !meta.is_file() || meta.len() > FILE_BYTES_MAX {
        return Err(KeyProblem::NoKeyInFile(path.to_owned()));
    }
    let text = zeroize::Zeroizing::new(fs::read_to_string(path).map_err(failed)?);
    let identity = Identity::read(&text);
    identity.map(Some).map_err(|_| KeyProblem::NoKeyInFile(path.to_owned()))
}

/// Writes the file whole, and only when there is none.
fn write(path: &Path, identity: &Identity) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    let passing = path.with_extension(runner::fresh());
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&passing)?;
    let write = |file: &mut File| -> io::Result<()> {
        writeln!(file, "# The key of onward's operator. Whoever has it can read the secrets that")?;
        writeln!(file, "# are shared with it. Public key: {}", identity.public())?;
        file.write_all(identity.text().expose())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        match fs::hard_link(&passing, path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        File::open(parent)?.sync_all()
    };
    let written = write(&mut file);
    let _ = fs::remove_file(&passing);
    written
}

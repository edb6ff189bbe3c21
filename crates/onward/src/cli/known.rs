//! What was known last of an environment whose manager keeps the state: for reading, while the
//! manager is away. Nothing is ever decided or written from it.
//!
//! One file for each environment in the person's own cache, of two parts: a line with the moment at
//! which it was read, then the document. Secrets in it are sealed as in the state.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use onward_core::document::Document;
use serde::{Deserialize, Serialize};

use super::context::Context;
use crate::providers::ssh::SshServer;

/// A document that was read earlier.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// When it was read.
    pub at: Timestamp,
    /// It.
    pub document: Document,
}

/// The first line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    read: Timestamp,
}

/// Keeps what was read just now. What cannot be kept is missing later, and nothing else.
pub fn keep(context: &Context, document: &Document) {
    let Some(file) = file(context) else { return };
    let _ = write(&file, document, Timestamp::now());
}

/// Forgets it: the environment is gone.
pub fn forget(context: &Context) {
    if let Some(file) = file(context) {
        let _ = fs::remove_file(file);
    }
}

/// What was read last, from this very manager.
pub fn last(context: &Context) -> Option<Known> {
    let known = any(context)?;
    is_of(&known.document, &context.ways()?.manager()).then_some(known)
}

/// What was read last of an environment of this name, which may be another one.
pub fn any(context: &Context) -> Option<Known> {
    let known = read(&fs::read(file(context)?).ok()?)?;
    let is_it = known.document.app == *context.app()
        && known.document.environment == *context.environment();
    is_it.then_some(known)
}

/// Whether the document has the manager with the host key that it is pinned to. Two projects may
/// have the same names.
fn is_of(document: &Document, manager: &SshServer) -> bool {
    let reach = document.server(manager.name()).and_then(|own| own.reach.as_ref());
    reach.is_some_and(|own| manager.pin().is_some_and(|pin| pin == own.host_key))
}

/// Its file; none where the state is kept elsewhere, or the person has no place for it.
fn file(context: &Context) -> Option<PathBuf> {
    if context.ways().is_none() || context.resolved.store.is_some() || context.is_waiting() {
        return None;
    }
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|own| own.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    let name = format!("{}.{}", context.app(), context.environment());
    Some(cache.join("onward").join("state").join(name))
}

fn write(path: &Path, document: &Document, at: Timestamp) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    let passing = path.with_extension(format!("new-{}", std::process::id()));
    let mut text = serde_json::to_vec(&Head { read: at })?;
    text.push(b'\n');
    text.extend(document.encode());
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let written = options.open(&passing).and_then(|mut file| file.write_all(&text));
    let kept = written.and_then(|()| fs::rename(&passing, path));
    if kept.is_err() {
        let _ = fs::remove_file(&passing);
    }
    kept
}

fn read(bytes: &[u8]) -> Option<Known> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let Head { read } = serde_json::from_slice(&bytes[..end]).ok()?;
    Some(Known { at: read, document: Document::decode(&bytes[end + 1..]).ok()? })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use onward_core::model::WriteId;

    use super::*;

    #[test]
    fn what_is_kept_is_read_again_and_what_is_damaged_is_not() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("onward/state/shop.lab");
        let at: Timestamp = "2026-01-01T10:00:00Z".parse().unwrap();
        let (app, environment) = ("shop".parse().unwrap(), "lab".parse().unwrap());
        let document = Document::first(app, environment, WriteId::new("w"), at);
        write(&path, &document, at).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!(read(&bytes), Some(Known { at, document }));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let siblings = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(siblings, 1);
        // The last byte is the end of a line.
        for length in 0..bytes.len() - 1 {
            assert_eq!(read(&bytes[..length]), None, "{length}");
        }
    }
}

//! The files of releases: brought, compared, linked to what they share, removed. All of this blocks.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use onward_core::document::Failure;
use onward_core::model::{Digest, ReleaseNumber};
use onward_core::order::ReleaseOrder;
use onward_store::bundle::{self, Entry, Manifest, StageMode, Store, verify_tree};

use super::rendering::Rendering;
use crate::layout::AppTree;
use crate::systemd::Account;

/// How directories of a release are.
const OPEN: u32 = 0o755;
/// Files that only keep an otherwise empty directory in Git.
const KEEPERS: [&str; 2] = [".keep", ".gitkeep"];

/// What is needed to bring or compare the files of a release.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) release: ReleaseNumber,
    pub(super) bundle: Digest,
    pub(super) shared_dirs: Vec<String>,
    pub(super) shared_files: Vec<String>,
    /// What is rendered into the directory.
    pub(super) rendered: Rendering,
    /// Whether something runs from the files, which then stay where they are.
    pub(super) in_use: bool,
    /// The user that runs from them, where that is another one: it may read them, and write only what
    /// it shares.
    pub(super) account: Option<Account>,
}

impl Wanted {
    /// Files that nothing can write to may be those of other releases as well. They are compared before
    /// anything runs from them; what differs then is mended when they are staged anew.
    fn mode(&self, anew: bool) -> StageMode {
        match self.account {
            Some(_) if anew => StageMode::Link,
            Some(_) => StageMode::LinkUnread,
            None => StageMode::Copy,
        }
    }

    fn own_part(&self, manifest: &Manifest) -> Result<Manifest, Failure> {
        let shared = self.shared_dirs.iter().chain(&self.shared_files);
        own_part(manifest, self.release, &shared.chain(self.rendered.paths()))
    }
}

/// Why files cannot be run from.
#[derive(Debug)]
pub(super) enum Unfit {
    /// They are not what the bundle says.
    Changed(String),
    /// That could not be found out, or they could not be made ready.
    Failed(Failure),
}

/// Brings the files of a release. Files that are there and were changed are replaced, unless
/// something runs from them.
pub(super) fn stage(tree: &AppTree, bundles: &Path, wanted: &Wanted) -> Result<(), Failure> {
    let directory = tree.release(wanted.release);
    let store = Store::open(bundles).map_err(|error| failure(wanted, &error))?;
    let is_there = fs::symlink_metadata(&directory).is_ok();
    if is_there {
        let manifest = store.manifest(wanted.bundle).map_err(|error| failure(wanted, &error))?;
        match verify_tree(&wanted.own_part(&manifest)?, &directory) {
            Ok(()) => return Ok(()),
            Err(mismatch) if wanted.in_use => {
                let reason = format!(
                    "the files of release {} were changed since they were staged ({mismatch}); \
                     what runs goes on, and nothing new is started from them",
                    wanted.release
                );
                return Err(Failure { reason, ..Failure::default() });
            }
            Err(_) => discard(&directory).map_err(|error| io_failure(&directory, &error))?,
        }
    }
    store
        .stage(wanted.bundle, &directory, wanted.mode(is_there), None)
        .map_err(|error| failure(wanted, &error))?;
    Ok(())
}

/// How the files of a release differ from its bundle; nothing when they do not, or when that cannot be
/// found out.
pub(super) fn changed(
    tree: &AppTree,
    bundles: &Path,
    release: ReleaseNumber,
    order: &ReleaseOrder,
) -> Option<String> {
    let manifest = Store::open(bundles).ok()?.manifest(order.bundle.digest).ok()?;
    let config = &order.config;
    let left_out = config.shared_dirs.iter().chain(&config.shared_files).chain(config.files.keys());
    let own = own_part(&manifest, release, &left_out).ok()?;
    let mismatch = verify_tree(&own, &tree.release(release)).err()?;
    Some(mismatch.to_string())
}

/// Compares the files of a release with its bundle, and links the directories and files that it
/// shares.
pub(super) fn verify(tree: &AppTree, bundles: &Path, wanted: &Wanted) -> Result<(), Unfit> {
    let directory = tree.release(wanted.release);
    let manifest = Store::open(bundles).and_then(|store| store.manifest(wanted.bundle));
    let manifest = manifest.map_err(|error| Unfit::Failed(failure(wanted, &error)))?;
    let own = wanted.own_part(&manifest).map_err(Unfit::Failed)?;
    verify_tree(&own, &directory).map_err(|mismatch| Unfit::Changed(mismatch.to_string()))?;
    // Every process is told of it, also where nothing is shared by name.
    let shared = tree.shared();
    fs::create_dir_all(&shared).map_err(|error| Unfit::Failed(io_failure(&shared, &error)))?;
    if let Some(account) = &wanted.account {
        hand_over(tree, account, wanted).map_err(Unfit::Failed)?;
    }
    for shared in &wanted.shared_dirs {
        link_shared(tree, &directory, shared).map_err(Unfit::Failed)?;
    }
    for shared in &wanted.shared_files {
        link_shared_file(tree, &directory, shared).map_err(Unfit::Failed)?;
    }
    let account = wanted.account.as_ref();
    wanted.rendered.write(&directory, account).map_err(Unfit::Failed)
}

/// Makes what another user shares: its directories, and the first content of its files. Then nothing
/// of that is left to be made by this one.
fn hand_over(tree: &AppTree, account: &Account, wanted: &Wanted) -> Result<(), Failure> {
    let failed = |reason| Failure { reason, ..Failure::default() };
    account.ensure().map_err(failed)?;
    let shared = tree.shared();
    let mut directories: Vec<PathBuf> =
        wanted.shared_dirs.iter().map(|path| shared.join(path)).collect();
    let parent_of = |path: &String| shared.join(path).parent().map(Path::to_owned);
    directories.extend(wanted.shared_files.iter().filter_map(parent_of));
    account.directories(&directories).map_err(failed)?;
    for path in &wanted.shared_files {
        let (first, target) = (tree.release(wanted.release).join(path), shared.join(path));
        let is_first = fs::symlink_metadata(&first).is_ok_and(|meta| meta.is_file());
        if is_first && fs::symlink_metadata(&target).is_err() {
            account.copy(&first, &target).map_err(failed)?;
        }
    }
    Ok(())
}

/// The manifest without the directories and files that are shared, which are links once the release is made
/// ready, and without those that are rendered.
fn own_part<'a>(
    manifest: &Manifest,
    release: ReleaseNumber,
    left_out: &(impl Iterator<Item = &'a String> + Clone),
) -> Result<Manifest, Failure> {
    let is_own = |entry: &&Entry| {
        let path = entry.path.as_str();
        let is_below = |shared: &String| {
            path.strip_prefix(shared.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        !left_out.clone().any(is_below)
    };
    let entries = manifest.entries().iter().filter(is_own).cloned().collect();
    Manifest::new(entries).map_err(|error| Failure {
        reason: format!("the files of release {release} cannot be compared: {error}"),
        ..Failure::default()
    })
}

/// Puts a link to the shared directory where the app expects it.
fn link_shared(tree: &AppTree, directory: &Path, shared: &str) -> Result<(), Failure> {
    let target = tree.shared().join(shared);
    fs::create_dir_all(&target).map_err(|error| io_failure(&target, &error))?;
    let link = directory.join(shared);
    let relative = way_to_shared(shared);
    match fs::symlink_metadata(&link) {
        Ok(meta) if meta.is_symlink() && fs::read_link(&link).is_ok_and(|own| own == relative) => {
            return Ok(());
        }
        Ok(meta) if meta.is_dir() => remove_empty(&link).map_err(|error| match error.kind() {
            io::ErrorKind::DirectoryNotEmpty => Failure {
                reason: format!(
                    "`{shared}` is shared between releases, and the bundle has files in it, which \
                     would be hidden: leave them out of the bundle or the directory out of `shared`"
                ),
                ..Failure::default()
            },
            _ => io_failure(&link, &error),
        })?,
        Ok(_) => {
            let reason = format!("`{shared}` shall be a shared directory, and is a file");
            return Err(Failure { reason, ..Failure::default() });
        }
        Err(_) => {}
    }
    make_link(&relative, directory, shared)
}

/// Puts a link to the shared file where the app expects it. A file of the bundle at that place is
/// its first content. As long as there is no content, the link leads to a file that the app makes
/// by opening it for writing.
fn link_shared_file(tree: &AppTree, directory: &Path, shared: &str) -> Result<(), Failure> {
    let target = tree.shared().join(shared);
    make_parent(&target)?;
    let link = directory.join(shared);
    let relative = way_to_shared(shared);
    match fs::symlink_metadata(&link) {
        Ok(meta) if meta.is_symlink() && fs::read_link(&link).is_ok_and(|own| own == relative) => {
            return Ok(());
        }
        Ok(meta) if meta.is_file() => {
            // The link takes the place of the file only once its content is safe.
            match fs::hard_link(&link, &target) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(io_failure(&target, &error));
                }
                _ => {}
            }
            fs::remove_file(&link).map_err(|error| io_failure(&link, &error))?;
        }
        Ok(_) => {
            let reason = format!("`{shared}` shall be a shared file, and is none in the bundle");
            return Err(Failure { reason, ..Failure::default() });
        }
        Err(_) => {}
    }
    make_link(&relative, directory, shared)
}

/// From the place of a shared path in a release to where it really is.
fn way_to_shared(shared: &str) -> PathBuf {
    let depth = Path::new(shared).components().count();
    PathBuf::from("../".repeat(depth + 1)).join("shared").join(shared)
}

fn make_link(target: &Path, directory: &Path, shared: &str) -> Result<(), Failure> {
    let link = directory.join(shared);
    // It may lie behind a link of the bundle, which leads to nowhere else.
    if !link.parent().is_some_and(Path::is_dir) {
        own_parent(directory, shared)?;
    }
    symlink(target, &link).map_err(|error| io_failure(&link, &error))
}

/// The directory of a path inside a release: made when it is not there, refused when the way to it is
/// a link, which could lead out. Whoever runs the release may enter it, whatever the agent's own files
/// are like.
pub(super) fn own_parent(directory: &Path, path: &str) -> Result<PathBuf, Failure> {
    let mut parent = directory.to_owned();
    for part in Path::new(path).parent().into_iter().flat_map(Path::components) {
        parent.push(part);
        let open = || fs::set_permissions(&parent, Permissions::from_mode(OPEN));
        let made = match fs::symlink_metadata(&parent) {
            Ok(meta) if meta.is_dir() && meta.permissions().mode() & 0o7777 == OPEN => Ok(()),
            // An agent that died had no time for it.
            Ok(meta) if meta.is_dir() => open(),
            Ok(_) => {
                let part = parent.strip_prefix(directory).unwrap_or(&parent).display();
                let reason = format!("{path} cannot be made: {part} is no directory in the bundle");
                return Err(Failure { reason, ..Failure::default() });
            }
            Err(_) => fs::create_dir(&parent).and_then(|()| open()),
        };
        made.map_err(|error| io_failure(&parent, &error))?;
    }
    Ok(parent)
}

fn make_parent(path: &Path) -> Result<(), Failure> {
    let Some(parent) = path.parent() else { return Ok(()) };
    fs::create_dir_all(parent).map_err(|error| io_failure(parent, &error))
}

/// Removes a directory that holds nothing but what keeps it in Git.
fn remove_empty(directory: &Path) -> io::Result<()> {
    let names: Vec<_> =
        fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?;
    if !names.iter().all(|name| KEEPERS.iter().any(|keeper| name == keeper)) {
        return Err(io::ErrorKind::DirectoryNotEmpty.into());
    }
    names.iter().try_for_each(|name| fs::remove_file(directory.join(name)))?;
    fs::remove_dir(directory)
}

/// Removes the files of a release.
pub(super) fn remove(tree: &AppTree, release: ReleaseNumber) -> Result<(), Failure> {
    let directory = tree.release(release);
    discard(&directory).map_err(|error| io_failure(&directory, &error))
}

/// What the name of a directory begins with that is being removed.
const DISCARDED: &str = ".removed-";

/// Removes a directory. It loses its name first, so that a part of it is never taken for the whole.
fn discard(directory: &Path) -> io::Result<()> {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let passing = directory.with_file_name(format!("{DISCARDED}{name}-{}", std::process::id()));
    match fs::rename(directory, &passing) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    }
    fs::remove_dir_all(passing)
}

/// The releases whose files are there. Removes what an earlier life began to remove.
pub(super) fn present(tree: &AppTree) -> Vec<ReleaseNumber> {
    let entries = fs::read_dir(tree.releases()).into_iter().flatten().flatten();
    let mut releases = Vec::new();
    for entry in entries {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.starts_with(DISCARDED) {
            let _ = fs::remove_dir_all(entry.path());
        } else if let Ok(number) = name.parse() {
            releases.push(ReleaseNumber(number));
        }
    }
    releases
}

/// Lets `current` lead to the release that serves; removes it when none does.
pub(super) fn set_current(tree: &AppTree, release: Option<ReleaseNumber>) -> io::Result<()> {
    let current = tree.current();
    let Some(release) = release else {
        return match fs::remove_file(&current) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    };
    let target = Path::new("releases").join(release.to_string());
    if fs::read_link(&current).is_ok_and(|own| own == target) {
        return Ok(());
    }
    let passing = current.with_extension("new");
    let _ = fs::remove_file(&passing);
    symlink(&target, &passing)?;
    fs::rename(&passing, &current)
}

fn failure(wanted: &Wanted, error: &bundle::Error) -> Failure {
    let mut reason = format!("the files of release {} cannot be used: {error}", wanted.release);
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        reason.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    Failure { reason, ..Failure::default() }
}

pub(super) fn io_failure(path: &Path, error: &io::Error) -> Failure {
    Failure { reason: format!("{}: {error}", path.display()), ..Failure::default() }
}

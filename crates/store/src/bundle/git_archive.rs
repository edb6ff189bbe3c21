//! Reading a commit.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::archive::{Collector, Guard};
use super::error::{At, Error, Result};
use super::git;
use super::ignore_rules::{IGNORE_FILE, NEVER};
use super::intake::Intake;
use super::label::Revision;
use super::manifest::Entry;
use super::path::BundlePath;
use super::progress::Meter;
use super::tar_read;

/// A commit to make a bundle of, without touching the working tree.
///
/// It holds what `git archive` gives for the directory: also `export-ignore`, line endings and filters of
/// `.gitattributes`. `.onwardignore` files of the commit hold as in a working tree; build results are not in a commit.
/// Submodules are empty directories.
#[derive(Debug, Clone)]
pub struct GitSource {
    /// The project directory; may lie below the repository's top.
    pub root: PathBuf,
    /// A branch, tag, commit or anything else that Git understands as one.
    pub reference: String,
}

impl GitSource {
    /// The commit that it means, for the label of its bundle.
    ///
    /// # Errors
    /// [`Error::Git`] when the reference means none.
    pub fn revision(&self) -> Result<Revision> {
        let root = std::fs::canonicalize(&self.root).at("read", &self.root)?;
        let full = full_commit(&root, &self.reference)?;
        let commit = git::short_commit(&root, &full)?.unwrap_or(full);
        Ok(Revision { commit, dirty: false })
    }
}

/// Reads the commit into the store.
pub(crate) fn read(
    source: &GitSource,
    intake: &Intake<'_>,
    meter: &Meter<'_>,
) -> Result<Vec<Entry>> {
    let root = std::fs::canonicalize(&source.root).at("read", &source.root)?;
    let commit = full_commit(&root, &source.reference)?;
    let rules = ignore_rules(&root, &commit)?;
    let leave = |path: &BundlePath| is_left(&rules, path);
    let mut child = git::command(&root, "archive")
        .args(["--format=tar", "--end-of-options", &commit])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .at("run `git` in", &root)?;
    let stdout = child.stdout.take().expect("stdout was asked for");
    let mut collector = Collector::new(intake, meter).leaving(&leave);
    let result =
        tar_read::read(&mut Guard::plain(stdout), &mut collector).and_then(|()| collector.finish());
    let ended = end(child, &root, result.is_err());
    match (result, ended) {
        // A command that failed explains a stream that ends early.
        (_, Err(error @ Error::Git { .. })) => Err(error),
        (Err(trouble), _) => Err(trouble.into_error(&PathBuf::from(&source.reference))),
        (Ok(_), Err(error)) => Err(error),
        (Ok(entries), Ok(())) => Ok(entries),
    }
}

/// The commit's whole number. `name^{commit}` also resolves tags, and makes an option of nothing.
fn full_commit(root: &Path, reference: &str) -> Result<String> {
    let name = format!("{reference}^{{commit}}");
    // Outside a repository this says so, before it says that there is no such commit.
    git::run(root, "rev-parse", &["--git-dir"])?;
    let output = git::run(root, "rev-parse", &["--verify", "--end-of-options", &name]);
    let output = output.map_err(|_| Error::NoSuchCommit {
        root: root.to_owned(),
        reference: reference.to_owned(),
    })?;
    Ok(String::from_utf8_lossy(&output).trim().to_owned())
}

/// Waits for the command; what it printed is the error when it failed. One whose output nobody wants is ended.
fn end(mut child: Child, root: &Path, abandon: bool) -> Result<()> {
    let mut stderr = Vec::new();
    if let Some(pipe) = child.stderr.take() {
        // Its output is closed, so it ends by itself, and with it this pipe.
        pipe.take(64 << 10).read_to_end(&mut stderr).at("run `git` in", root)?;
    }
    let status = child.wait().at("run `git` in", root)?;
    if status.success() || (abandon && stderr.is_empty()) {
        return Ok(());
    }
    Err(git::failure(root, "archive", &stderr))
}

/// The ignore files of the commit, outer ones first.
fn ignore_rules(root: &Path, commit: &str) -> Result<Vec<Gitignore>> {
    let listed = git::run(root, "ls-tree", &["-r", "-z", "--name-only", commit])?;
    let mut files: Vec<&str> = listed
        .split(|byte| *byte == 0)
        .filter_map(|name| std::str::from_utf8(name).ok())
        .filter(|name| name.rsplit('/').next() == Some(IGNORE_FILE))
        .collect();
    files.sort_by_key(|name| name.matches('/').count());
    let mut rules = Vec::new();
    for file in files {
        let object = format!("{commit}:./{file}");
        let text = git::run(root, "cat-file", &["blob", &object])?;
        // The root only says what the patterns are relative to; nothing is read there.
        let mut builder =
            GitignoreBuilder::new(Path::new("/").join(super::path::parent(file).unwrap_or("")));
        for line in String::from_utf8_lossy(&text).lines() {
            // A malformed line is skipped, as in a working tree.
            let _ = builder.add_line(None, line);
        }
        rules.extend(builder.build().ok());
    }
    Ok(rules)
}

fn is_left(rules: &[Gitignore], path: &BundlePath) -> bool {
    if path.as_str().split('/').any(|name| NEVER.contains(&name)) {
        return true;
    }
    let absolute = Path::new("/").join(path);
    rules
        .iter()
        .rev()
        .filter(|rule| absolute.starts_with(rule.path()))
        .map(|rule| rule.matched_path_or_any_parents(&absolute, false))
        .find(|found| !found.is_none())
        .is_some_and(|found| found.is_ignore())
}

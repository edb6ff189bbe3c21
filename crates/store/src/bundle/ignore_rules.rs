//! Which files of a working tree belong to its bundle.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::error::Result;
use super::git;
use super::path::BundlePath;

/// The file with rules for bundles alone; they win over Git's and over includes.
pub(crate) const IGNORE_FILE: &str = ".onwardignore";
/// Never part of a bundle, in any directory: the history, and what onward keeps itself.
pub(crate) const NEVER: [&str; 2] = [".git", ".onward"];

/// What becomes of an entry of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Part of the bundle; below it the rules go on.
    Take,
    /// Part of the bundle with everything below that no [`IGNORE_FILE`] excludes.
    TakeAll,
    /// Not part of it, but something below may be.
    LookBelow,
    /// Not part of it.
    Leave,
}

/// The rules of one tree.
pub(crate) struct Rules {
    root: PathBuf,
    includes: HashSet<BundlePath>,
    /// Every directory on the way to an include.
    towards: HashSet<String>,
    repository: Option<PathBuf>,
    tracked: OnceLock<Tracked>,
}

/// Files that Git tracks although its rules ignore them, and the directories on the way to them.
#[derive(Default)]
struct Tracked {
    files: HashSet<String>,
    towards: HashSet<String>,
}

/// The ignore files that hold in a directory: those of its parents and its own.
#[derive(Clone, Default)]
pub(crate) struct Scope {
    git: Vec<std::sync::Arc<Gitignore>>,
    onward: Vec<std::sync::Arc<Gitignore>>,
}

impl Rules {
    /// The rules of the tree at `root`, which must be absolute, with paths to take although Git ignores them.
    pub(crate) fn new(root: &Path, includes: &[BundlePath]) -> Self {
        let towards = includes.iter().flat_map(|include| parents(include.as_str())).collect();
        Self {
            root: root.to_owned(),
            includes: includes.iter().cloned().collect(),
            towards,
            repository: git::find_repository(root),
            tracked: OnceLock::new(),
        }
    }

    /// What holds above the tree's root: the repository's exclude file and the ignore files between it and the root.
    pub(crate) fn outer_scope(&self) -> Scope {
        let mut scope = Scope::default();
        let Some(top) = &self.repository else { return scope };
        if let Some(exclude) = git::exclude_file(top) {
            scope.git.extend(load(top, &exclude));
        }
        let mut above: Vec<&Path> =
            self.root.ancestors().skip(1).take_while(|path| path.starts_with(top)).collect();
        above.reverse();
        for directory in above {
            scope.git.extend(load(directory, &directory.join(".gitignore")));
        }
        scope
    }

    /// What holds in `directory`, below what holds around it. `names` tells which files are there.
    pub(crate) fn scope(
        &self,
        around: &Scope,
        directory: &Path,
        names: &dyn Fn(&str) -> bool,
    ) -> Scope {
        let mut scope = around.clone();
        if names(".gitignore") {
            scope.git.extend(load(directory, &directory.join(".gitignore")));
        }
        if names(IGNORE_FILE) {
            scope.onward.extend(load(directory, &directory.join(IGNORE_FILE)));
        }
        scope
    }

    /// Decides about one entry. `inside` is the verdict on its directory.
    ///
    /// # Errors
    /// When Git must be asked and cannot answer.
    pub(crate) fn judge(
        &self,
        scope: &Scope,
        inside: Verdict,
        name: &OsStr,
        path: &Path,
        relative: &str,
        is_dir: bool,
    ) -> Result<Verdict> {
        if NEVER.iter().any(|never| name == *never) {
            return Ok(Verdict::Leave);
        }
        match last_match(&scope.onward, path, is_dir) {
            Some(true) => return Ok(Verdict::Leave),
            // "!dist" brings back what Git ignores, with everything below.
            Some(false) => return Ok(Verdict::TakeAll),
            None => {}
        }
        if inside == Verdict::TakeAll || self.includes.contains(relative) {
            return Ok(Verdict::TakeAll);
        }
        let ignored =
            inside == Verdict::LookBelow || last_match(&scope.git, path, is_dir) == Some(true);
        if !ignored {
            return Ok(Verdict::Take);
        }
        if is_dir {
            let leads =
                self.towards.contains(relative) || self.tracked()?.towards.contains(relative);
            return Ok(if leads { Verdict::LookBelow } else { Verdict::Leave });
        }
        let tracked = self.tracked()?.files.contains(relative);
        Ok(if tracked { Verdict::Take } else { Verdict::Leave })
    }

    fn tracked(&self) -> Result<&Tracked> {
        if let Some(tracked) = self.tracked.get() {
            return Ok(tracked);
        }
        let files = match &self.repository {
            Some(_) => git::tracked_but_ignored(&self.root)?,
            None => Vec::new(),
        };
        let towards = files.iter().flat_map(|file| parents(file)).collect();
        Ok(self.tracked.get_or_init(|| Tracked { files: files.into_iter().collect(), towards }))
    }
}

/// Whether the innermost rule that speaks of the path ignores it.
fn last_match(files: &[std::sync::Arc<Gitignore>], path: &Path, is_dir: bool) -> Option<bool> {
    files.iter().rev().find_map(|file| match file.matched(path, is_dir) {
        Match::None => None,
        Match::Ignore(_) => Some(true),
        Match::Whitelist(_) => Some(false),
    })
}

/// The rules of one file; none when it cannot be read, as for Git. A malformed line is skipped, as by Git.
fn load(root: &Path, file: &Path) -> Option<std::sync::Arc<Gitignore>> {
    let mut builder = GitignoreBuilder::new(root);
    let _malformed = builder.add(file);
    let rules = builder.build().ok()?;
    (!rules.is_empty()).then(|| std::sync::Arc::new(rules))
}

fn parents(path: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut next = super::path::parent(path);
    while let Some(directory) = next {
        found.push(directory.to_owned());
        next = super::path::parent(directory);
    }
    found
}

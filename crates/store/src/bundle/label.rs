//! Labels: what people call bundles. One label never means two contents.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

use onward_core::model::Digest;

use super::disk::{self, Scratch};
use super::error::{At, Error, Result};
use super::git;
use super::limits::MAX_LABEL;
use super::store::Store;

/// Shortest beginning of a digest that names a bundle.
const MIN_PREFIX: usize = 4;

impl Store {
    /// Lets `label` mean `bundle`, for ever. Saying it again changes nothing.
    ///
    /// # Errors
    /// [`Error::LabelTaken`] when it means another bundle, also one that is no longer stored; [`Error::BadLabel`].
    pub fn label(&self, label: &str, bundle: Digest) -> Result<()> {
        check(label)?;
        let path = self.labels().join(label);
        if let Some(owner) = self.label_owner(label)? {
            return same(label, owner, bundle);
        }
        let _lock = self.lock_shared()?;
        let scratch = Scratch::new(&self.tmp())?;
        let unfinished = scratch.path().join("label");
        disk::write_new(&unfinished, format!("{bundle}\n").as_bytes(), None)?;
        // A link is made only when the name is free: of two processes one wins.
        match fs::hard_link(&unfinished, &path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let owner = self.label_owner(label)?.unwrap_or(bundle);
                same(label, owner, bundle)
            }
            other => {
                other.at("create", &path)?;
                disk::sync_dir(&self.labels())
            }
        }
    }

    /// What a label means, if anything.
    ///
    /// # Errors
    /// [`Error::BadLabel`]; [`Error::Damaged`] when its file is not what was written.
    pub fn label_owner(&self, label: &str) -> Result<Option<Digest>> {
        check(label)?;
        let path = self.labels().join(label);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.at("read", &path)?,
        };
        let digest = text.trim_end().parse();
        digest.map(Some).map_err(|error: onward_core::model::InvalidDigest| Error::Damaged {
            path,
            why: error.to_string(),
        })
    }

    /// The bundle that a person means by a label, a digest or the beginning of a digest.
    ///
    /// # Errors
    /// [`Error::NoSuchName`], [`Error::AmbiguousName`].
    pub fn find(&self, name: &str) -> Result<Digest> {
        if check(name).is_ok()
            && let Some(owner) = self.label_owner(name)?
        {
            return Ok(owner);
        }
        let hexadecimal = name.bytes().all(|byte| byte.is_ascii_hexdigit());
        if name.len() >= MIN_PREFIX && hexadecimal {
            let bundles = self.bundles()?;
            let mut fit = bundles.iter().filter(|(digest, _)| digest.to_string().starts_with(name));
            match (fit.next(), fit.next()) {
                (Some((digest, _)), None) => return Ok(*digest),
                (Some(_), Some(_)) => return Err(Error::AmbiguousName(name.to_owned())),
                (None, _) => {}
            }
        }
        Err(Error::NoSuchName(name.to_owned()))
    }

    /// Labels a bundle and returns its label: the one `given`; else, for a tree or a ref of a Git repository at `root`,
    /// `COMMIT`, with `+dirty.DIGEST` when the tree differs from the commit and `+DIGEST` when the commit means another
    /// content already (a build may give another result each time); else the short digest.
    ///
    /// # Errors
    /// [`Error::LabelTaken`] only for a label that was given; [`Error::Git`].
    pub fn name(
        &self,
        given: Option<&str>,
        revision: Option<&Revision>,
        bundle: Digest,
    ) -> Result<String> {
        if let Some(given) = given {
            self.label(given, bundle)?;
            return Ok(given.to_owned());
        }
        let short = bundle.short();
        let label = match revision {
            None => short.clone(),
            Some(Revision { commit, dirty: true }) => format!("{commit}+dirty.{short}"),
            Some(Revision { commit, dirty: false }) => commit.clone(),
        };
        match self.label(&label, bundle) {
            Err(Error::LabelTaken { .. }) => {
                let fallback = if revision.is_some_and(|revision| !revision.dirty) {
                    format!("{label}+{short}")
                } else {
                    bundle.to_string()
                };
                self.label(&fallback, bundle)?;
                Ok(fallback)
            }
            other => other.map(|()| label),
        }
    }

    /// Labels by bundle, each list sorted.
    pub(crate) fn labels_by_bundle(&self) -> Result<HashMap<Digest, Vec<String>>> {
        let directory = self.labels();
        let mut found: HashMap<Digest, Vec<String>> = HashMap::new();
        for entry in fs::read_dir(&directory).at("read", &directory)? {
            let name = entry.at("read", &directory)?.file_name();
            let Some(label) = name.to_str().filter(|name| check(name).is_ok()) else { continue };
            if let Some(owner) = self.label_owner(label)? {
                found.entry(owner).or_default().push(label.to_owned());
            }
        }
        found.values_mut().for_each(|labels| labels.sort());
        Ok(found)
    }
}

fn same(label: &str, owner: Digest, bundle: Digest) -> Result<()> {
    if owner == bundle {
        return Ok(());
    }
    Err(Error::LabelTaken { label: label.to_owned(), owner })
}

fn check(label: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '+' | '-');
    let first = label.starts_with(|c: char| c.is_ascii_alphanumeric());
    if first && label.len() <= MAX_LABEL && label.chars().all(allowed) {
        return Ok(());
    }
    Err(Error::BadLabel(label.to_owned()))
}

/// Which commit a bundle was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// The commit, abbreviated as Git does.
    pub commit: String,
    /// Whether the tree had changes that are not in the commit.
    pub dirty: bool,
}

impl Revision {
    /// Asks Git about the working tree at `root`, of which only what lies below `root` counts. `None` when it is in no
    /// repository, when there is no commit yet, or when Git is not installed.
    ///
    /// # Errors
    /// [`Error::Git`], [`Error::Io`].
    pub fn of_tree(root: &Path) -> Result<Option<Self>> {
        let Ok(root) = fs::canonicalize(root) else { return Ok(None) };
        if git::find_repository(&root).is_none() {
            return Ok(None);
        }
        let Some(commit) = git::short_commit(&root, "HEAD")? else { return Ok(None) };
        let args = ["--porcelain", "-z", "--untracked-files=normal", "--", "."];
        let dirty = !git::run(&root, "status", &args)?.is_empty();
        Ok(Some(Self { commit, dirty }))
    }
}

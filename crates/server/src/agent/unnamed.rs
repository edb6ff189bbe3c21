//! Who answers to names that nobody has, below each path. Of several apps without a `domain` it is the
//! one that was there first, until it is gone: a deploy of another app takes nobody's visitors away.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::durable::{self, Survives};
use super::note::note;

/// Who answers to names that nobody has.
#[derive(Debug)]
pub(super) struct Unnamed {
    file: PathBuf,
    /// The names of routes, by path.
    holders: BTreeMap<String, String>,
}

impl Unnamed {
    /// What an earlier agent wrote down.
    pub(super) fn load(file: PathBuf) -> Self {
        let holders = durable::read(&file).unwrap_or_else(|error| {
            note(format_args!("{error}; who comes first among apps without a name is begun anew"));
            None
        });
        Self { file, holders: holders.unwrap_or_default() }
    }

    /// The route that answers below a path.
    pub(super) fn holder(&self, path: &str) -> Option<&str> {
        self.holders.get(path).map(String::as_str)
    }

    /// Lets go of who does not want it any more, and gives what is free to the first who does.
    /// `wanted` has each path with a route that wants it.
    pub(super) fn settle(&mut self, wanted: &[(String, String)]) {
        let mut holders = self.holders.clone();
        holders.retain(|path, holder| wanted.iter().any(|own| own.0 == *path && own.1 == *holder));
        for (path, route) in wanted {
            holders.entry(path.clone()).or_insert_with(|| route.clone());
        }
        if holders == self.holders {
            return;
        }
        self.holders = holders;
        if let Err(error) = durable::write(&self.file, &self.holders, Survives::PowerLoss) {
            // It is in force, and may be another one after a restart.
            note(format_args!("who answers to names that nobody has is not written down: {error}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter().map(|(path, route)| ((*path).to_owned(), (*route).to_owned())).collect()
    }

    #[test]
    fn the_first_keeps_it_until_it_is_gone_and_across_restarts() {
        let directory = tempfile::tempdir().unwrap();
        let load = || Unnamed::load(directory.path().join("unnamed.json"));
        let mut own = load();
        own.settle(&wanted(&[("", "shop/lab")]));
        own.settle(&wanted(&[("", "blog/lab"), ("/a", "blog/lab"), ("", "shop/lab")]));
        assert_eq!((own.holder(""), own.holder("/a")), (Some("shop/lab"), Some("blog/lab")));
        let mut own = load();
        own.settle(&wanted(&[("", "blog/lab"), ("", "shop/lab")]));
        assert_eq!((own.holder(""), own.holder("/a")), (Some("shop/lab"), None));
        own.settle(&wanted(&[("", "blog/lab")]));
        assert_eq!(own.holder(""), Some("blog/lab"));
    }
}

//! Links between the pages lead somewhere.

use std::path::{Path, PathBuf};

use crate::steps::root;

/// Where pages are, below the root.
const PLACES: [&str; 4] = [".", "docs/guide", "docs/reference", "docs/decisions"];

/// Fails with the links that lead nowhere.
pub fn check() -> Result<(), String> {
    let mut dead = Vec::new();
    for place in PLACES {
        let directory = root().join(place);
        let broken = |error| format!("{}: {error}", directory.display());
        for entry in std::fs::read_dir(&directory).map_err(broken)? {
            let path = entry.map_err(broken)?.path();
            if path.extension().is_some_and(|ending| ending == "md") {
                let text = std::fs::read_to_string(&path).map_err(broken)?;
                dead.extend(targets(&text).filter(|link| !leads(&path, link)).map(|link| {
                    format!("{}: {link}", path.file_name().unwrap_or_default().display())
                }));
            }
        }
    }
    if dead.is_empty() { Ok(()) } else { Err(format!("links lead nowhere: {}", dead.join(", "))) }
}

/// The targets of `[text](target)`, without those on other sites.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    let after = text.split("](").skip(1);
    let targets = after.filter_map(|rest| Some(rest.split_once(')')?.0));
    targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
}

fn leads(page: &Path, link: &str) -> bool {
    let (file, heading) = link.split_once('#').unwrap_or((link, ""));
    let target: PathBuf =
        if file.is_empty() { page.to_owned() } else { page.parent().unwrap_or(page).join(file) };
    if heading.is_empty() || target.is_dir() {
        return target.exists();
    }
    let text = std::fs::read_to_string(&target).unwrap_or_default();
    text.lines().filter_map(|line| line.strip_prefix('#')).any(|line| anchor(line) == heading)
}

/// The name that a heading gets: words in lower case with `-` between them.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-' || *c == '_');
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_link_is_noticed() {
        let page = root().join("README.md");
        assert!(leads(&page, "ARCHITECTURE.md") && leads(&page, "docs/decisions/"));
        assert!(leads(&page, "SECURITY.md#what-is-not-promised"));
        assert!(!leads(&page, "docs/guide/nowhere.md"));
        assert!(!leads(&page, "SECURITY.md#no-such-heading"));
        let all: Vec<_> = targets("a [b](c.md) and [d](https://e) and [f](g.md#h)").collect();
        assert_eq!(all, ["c.md", "g.md#h"]);
    }
}

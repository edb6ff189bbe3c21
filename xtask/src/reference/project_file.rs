//! `docs/reference/project-file.md` is written by hand. Here it is compared with what the reader of
//! the project file asks for: every key has its words, and every key in a table is read.

use std::collections::BTreeSet;
use std::path::Path;

use crate::steps::root;

const PAGE: &str = "docs/reference/project-file.md";
const READER: &str = "crates/onward/src/project";
/// What the reader knows only to say that this version does not build it.
const UNBUILT: &str = "unbuilt.rs";

/// Fails with the keys that are missing on either side.
pub fn check() -> Result<(), String> {
    let page = read(&root().join(PAGE))?;
    let (mut asked, mut all) = (BTreeSet::new(), String::new());
    let broken = |error| format!("{READER}: {error}");
    for entry in std::fs::read_dir(root().join(READER)).map_err(broken)? {
        let path = entry.map_err(broken)?.path();
        if path.extension().is_none_or(|ending| ending != "rs") {
            continue;
        }
        let source = read(&path)?;
        if path.file_name().is_none_or(|name| name != UNBUILT) {
            asked.extend(keys(&source));
        }
        all.push_str(&source);
    }
    let unsaid: Vec<_> = asked.iter().filter(|key| !is_said(&page, key)).collect();
    let is_read = |key: &String| all.contains(&format!("\"{key}\""));
    let unread: Vec<_> = keys_of_tables(&page).into_iter().filter(|key| !is_read(key)).collect();
    if unsaid.is_empty() && unread.is_empty() {
        return Ok(());
    }
    Err(format!("{PAGE} does not say {unsaid:?}, and says of {unread:?} which nothing reads"))
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// The keys that a source asks for.
fn keys(source: &str) -> Vec<String> {
    let after = source.split(".get(\"").skip(1);
    after.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect()
}

fn is_said(page: &str, key: &str) -> bool {
    let forms = [format!("`{key}`"), format!("{key} ="), format!("[{key}"), format!(".{key}]")];
    forms.iter().any(|form| page.contains(form.as_str()))
}

/// The first cells of tables that are a key in code and nothing else.
fn keys_of_tables(page: &str) -> BTreeSet<String> {
    let cells = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let keys = cells
        .map(|(key, _)| key)
        .filter(|key| key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
    keys.map(str::to_owned).collect()
}

//! Which environment has the tree `.onward` itself, and not one below it.
//!
//! Once it is settled it stays so: a tree has a port and shared directories, and must not be
//! another environment's tomorrow.

use std::fs;
use std::io;
use std::path::Path;

use onward_core::model::{AppName, EnvironmentName};

/// The file that says so.
const FILE: &str = "home";

/// The environment whose server `local` has the tree: the one that is written down; else the one
/// that is there already, from a version that wrote nothing down; else the default one.
pub(super) fn environment(
    root: &Path,
    app: &AppName,
    default: &EnvironmentName,
) -> EnvironmentName {
    let written = fs::read_to_string(root.join(FILE)).ok();
    if let Some(home) = written.and_then(|text| text.trim().parse().ok()) {
        return home;
    }
    let entries = fs::read_dir(root.join("apps").join(app.as_str())).into_iter().flatten();
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut there: Vec<EnvironmentName> = names.filter_map(|name| name.parse().ok()).collect();
    there.sort();
    if there.contains(default) {
        return default.clone();
    }
    there.into_iter().next().unwrap_or_else(|| default.clone())
}

/// Writes it down, unless it is.
pub(super) fn settle(root: &Path, app: &AppName, default: &EnvironmentName) -> io::Result<()> {
    let file = root.join(FILE);
    if file.exists() {
        return Ok(());
    }
    // Two commands at once write the same.
    let new = root.join(format!("home.{}", std::process::id()));
    fs::write(&new, format!("{}\n", environment(root, app, default)))?;
    fs::rename(new, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_wins_over_the_default_and_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path();
        let app = "shop".parse().expect("a name");
        let name = |text: &str| -> EnvironmentName { text.parse().expect("a name") };
        let home = |default: &str| environment(root, &app, &name(default));
        assert_eq!(home("local"), name("local"));
        fs::create_dir_all(root.join("apps/shop/qa")).expect("made");
        assert_eq!(home("local"), name("qa"), "a tree of an earlier version");
        settle(root, &app, &name("local")).expect("written");
        fs::create_dir_all(root.join("apps/shop/local")).expect("made");
        assert_eq!(home("local"), name("qa"), "it stays");
    }
}

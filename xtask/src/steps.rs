//! Steps: commands with a title, run one after the other.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// The root of the workspace.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// The directory that Cargo builds into.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A `cargo` command in the root of the workspace.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    command
}

/// Runs a command with its output shown; tells its title and how long it took.
pub fn step(title: &str, command: &mut Command) -> Result<(), String> {
    println!("── {title}");
    let began = Instant::now();
    let status = command.status().map_err(|error| format!("{title}: {error}"))?;
    if !status.success() {
        return Err(format!("{title}: {status}"));
    }
    println!("── {title}: {:.1} s\n", began.elapsed().as_secs_f64());
    Ok(())
}

/// Whether a program can be found.
pub fn has(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|directory| directory.join(program).is_file())
}

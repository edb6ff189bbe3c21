//! Applications for tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The directory of the workspace's examples.
pub fn directory(name: &str) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.join("../../examples").join(name)
}

/// Copies a directory, without what was built in it.
///
/// # Panics
/// When that fails.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("create the copy");
    for entry in fs::read_dir(from).expect("read the example") {
        let entry = entry.expect("read the example");
        let name = entry.file_name();
        if name == "target" || name == ".onward" {
            continue;
        }
        let target = to.join(&name);
        if entry.file_type().expect("look at the example").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).expect("copy the example");
        }
    }
}

/// The compiled `hello`, built once for each run of the tests.
///
/// # Panics
/// When it does not build.
pub fn hello() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| built("hello"))
}

/// The compiled `visits`, built once for each run of the tests.
///
/// # Panics
/// When it does not build.
pub fn visits() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| built("visits"))
}

fn built(name: &str) -> PathBuf {
    let target = crate::project::target().join(format!("example-{name}"));
    let status = Command::new("cargo")
        .args(["build", "--release", "--quiet", "--locked", "--manifest-path"])
        .arg(directory(name).join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .status()
        .expect("cargo runs");
    assert!(status.success(), "{name} builds");
    target.join("release").join(name)
}

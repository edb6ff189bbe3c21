//! `cargo xtask release`: the archives that people install without Rust.
//!
//! The binary is linked statically, so that it runs on any x86-64 Linux, however old its C
//! library. The archive is reproducible: sorted, without owners, dated by the last commit.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::steps::{cargo, root, step, target};

const TRIPLE: &str = "x86_64-unknown-linux-gnu";
const PLATFORM: &str = "x86_64-linux";
const PAPERS: [&str; 5] =
    ["README.md", "CHANGELOG.md", "SECURITY.md", "LICENSE-APACHE", "LICENSE-MIT"];
const SHELLS: [(&str, &str); 3] = [
    ("bash", "share/bash-completion/completions/onward"),
    ("zsh", "share/zsh/site-functions/_onward"),
    ("fish", "share/fish/vendor_completions.d/onward.fish"),
];

/// Builds, packs and tries the archives; they are then in `target/release-archives`.
pub fn run(arguments: &[String]) -> ExitCode {
    if !arguments.is_empty() {
        eprintln!("usage: cargo xtask release");
        return ExitCode::from(2);
    }
    match archives() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("FAILED: {error}");
            ExitCode::FAILURE
        }
    }
}

fn archives() -> Result<(), String> {
    let out = target().join("release-archives");
    fs::create_dir_all(&out).map_err(|error| format!("{}: {error}", out.display()))?;
    let mut names = Vec::new();
    for (suffix, features) in [("", &[][..]), ("-cloud", &["--features", "cloud"][..])] {
        let binary = build(suffix, features)?;
        must_be_static(&binary)?;
        let name = format!("onward{suffix}-{}-{PLATFORM}", env!("CARGO_PKG_VERSION"));
        let tree = tree(&out, &name, &binary)?;
        names.push(pack(&out, &name)?);
        must_run_alone(&tree.join("bin/onward"))?;
    }
    checksums(&out, &names)
}

fn build(suffix: &str, features: &[&str]) -> Result<PathBuf, String> {
    let directory = target().join(format!("static{suffix}"));
    let mut command = cargo(&["build", "--release", "--locked", "--package", "onward"]);
    command.args(["--target", TRIPLE]).args(features);
    command.env("RUSTFLAGS", "-C target-feature=+crt-static").env("CARGO_TARGET_DIR", &directory);
    step(&format!("the static binary onward{suffix}"), &mut command)?;
    Ok(directory.join(TRIPLE).join("release/onward"))
}

/// A program that needs a loader says so in its head.
fn must_be_static(binary: &Path) -> Result<(), String> {
    let bytes = fs::read(binary).map_err(|error| format!("{}: {error}", binary.display()))?;
    let loader = b"/lib64/ld-linux-x86-64.so.2\0";
    let head = &bytes[..bytes.len().min(4096)];
    if head.windows(loader.len()).any(|window| window == loader) {
        return Err(format!("{} is linked dynamically", binary.display()));
    }
    Ok(())
}

fn tree(out: &Path, name: &str, binary: &Path) -> Result<PathBuf, String> {
    let tree = out.join(name);
    let broken = |error: std::io::Error| format!("{}: {error}", tree.display());
    if tree.exists() {
        fs::remove_dir_all(&tree).map_err(broken)?;
    }
    fs::create_dir_all(tree.join("bin")).map_err(broken)?;
    fs::copy(binary, tree.join("bin/onward")).map_err(broken)?;
    for paper in PAPERS {
        fs::copy(root().join(paper), tree.join(paper)).map_err(broken)?;
    }
    let mut man = Command::new(binary);
    must(man.arg("man").arg(tree.join("share/man/man1")).arg("--quiet"))?;
    for (shell, place) in SHELLS {
        let script = must(Command::new(binary).args(["completions", shell]))?;
        let place = tree.join(place);
        fs::create_dir_all(place.parent().unwrap_or(&tree)).map_err(broken)?;
        fs::write(place, script).map_err(broken)?;
    }
    Ok(tree)
}

fn pack(out: &Path, name: &str) -> Result<String, String> {
    let date = must(Command::new("git").args(["log", "-1", "--format=@%ct"]).current_dir(root()))?;
    let date = String::from_utf8_lossy(&date).trim().to_owned();
    let archive = format!("{name}.tar.gz");
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--format=ustar"]);
    tar.arg(format!("--mtime={date}")).args(["--use-compress-program", "gzip -n9"]);
    tar.args(["--create", "--file", &archive, name]).current_dir(out);
    must(&mut tar)?;
    Ok(archive)
}

/// Where root may change the root directory, the binary is tried with nothing beside it: no
/// library, no shell, no `/etc`.
fn must_run_alone(binary: &Path) -> Result<(), String> {
    let directory = binary.parent().unwrap_or(binary);
    let tried = Command::new("chroot").arg(directory).args(["/onward", "--version"]).output();
    match tried {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) if output.status.code() == Some(125) => {
            println!("LEFT OUT: starting the binary in an empty root directory, which needs root");
            Ok(())
        }
        Ok(output) => Err(format!(
            "{} does not start alone: {}",
            binary.display(),
            String::from_utf8_lossy(&output.stderr)
        )),
        Err(error) => Err(format!("chroot: {error}")),
    }
}

fn checksums(out: &Path, names: &[String]) -> Result<(), String> {
    let sums = must(Command::new("sha256sum").args(names).current_dir(out))?;
    let file = out.join("SHA256SUMS");
    fs::write(&file, &sums).map_err(|error| format!("{}: {error}", file.display()))?;
    print!("{}", String::from_utf8_lossy(&sums));
    println!("in {}", out.display());
    Ok(())
}

fn must(command: &mut Command) -> Result<Vec<u8>, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(format!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)))
}

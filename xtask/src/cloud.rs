//! What needs the feature `cloud`: stores in a bucket, tried against a bucket of our own, against
//! moto and against Azurite.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::steps::{cargo, has, root, step, target};

/// The emulator of Azure. Its own dependencies are as npm finds them.
const AZURITE: &str = "azurite@3.35.0";

/// `cargo xtask cloud`.
pub fn run() -> ExitCode {
    match check() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("FAILED: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Builds with the feature and runs what it adds.
pub fn check() -> Result<(), String> {
    let lints = ["clippy", "-p", "onward-store", "-p", "onward", "--features", "onward/cloud"];
    let strict = ["--all-targets", "--locked", "--", "-D", "warnings"];
    step("lints with cloud stores", &mut cargo(&[&lints[..], &strict].concat()))?;
    let build = ["build", "-p", "onward", "--features", "onward/cloud", "--locked"];
    step("the binary with cloud stores", &mut cargo(&build))?;
    let mut stores = tests("onward-store");
    for (variable, program) in [("ONWARD_MOTO", moto()), ("ONWARD_AZURITE", azurite())] {
        match program {
            Ok(program) => {
                stores.env(variable, program);
            }
            Err(why) => println!("LEFT OUT: what needs {variable}: {why}"),
        }
    }
    step("cloud stores", &mut stores)?;
    let mut line = tests("onward-cli-tests");
    line.env("ONWARD_BIN", target().join("debug/onward"));
    step("the line with its state in a bucket", &mut line)
}

/// The tests that are only there with the feature.
fn tests(package: &str) -> Command {
    let feature = format!("{package}/cloud");
    let runner: &[&str] = if has("cargo-nextest") { &["nextest", "run"] } else { &["test"] };
    let rest = ["-p", package, "--features", &feature, "--test", "cloud", "--locked"];
    cargo(&[runner, &rest].concat())
}

fn tools() -> PathBuf {
    target().join("cloud-tools")
}

/// The server of moto, in a virtual environment of the versions that are pinned.
fn moto() -> Result<PathBuf, String> {
    let venv = tools().join("moto");
    let server = venv.join("bin/moto_server");
    let pinned = root().join("testkit/moto-requirements.txt");
    let stamp = venv.join("installed.txt");
    let is_current = std::fs::read(&stamp).ok() == std::fs::read(&pinned).ok();
    if server.is_file() && is_current {
        return Ok(server);
    }
    if !has("python3") {
        return Err("python3 is missing".to_owned());
    }
    step("moto: a virtual environment", Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    let mut install = Command::new(venv.join("bin/pip"));
    install.args(["install", "--quiet", "--disable-pip-version-check", "-r"]).arg(&pinned);
    step("moto: install", &mut install)?;
    std::fs::copy(&pinned, &stamp).map_err(|error| error.to_string())?;
    Ok(server)
}

/// The server of Azurite.
fn azurite() -> Result<PathBuf, String> {
    let directory = tools().join("azurite");
    let server = directory.join("node_modules/.bin/azurite-blob");
    if server.is_file() {
        return Ok(server);
    }
    for program in ["node", "npm"] {
        if !has(program) {
            return Err(format!("{program} is missing"));
        }
    }
    std::fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
    step("Azurite: install", npm(&directory).arg(AZURITE))?;
    Ok(server)
}

fn npm(directory: &Path) -> Command {
    let mut command = Command::new("npm");
    command.args(["install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"]);
    command.arg(directory);
    command
}

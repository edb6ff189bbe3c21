//! Releases to real servers, with Ansible, pyinfra and a bare loop beside them.
//!
//! What measures is a program of its own, `bench-fleet` of `tests/fleet`, because it needs the
//! servers of the product and this program shall not be built with all of that.

use std::path::PathBuf;
use std::process::Command;

use super::{Mode, Outcome, place};
use crate::steps::{cargo, target};

/// The other tools, from the Python registry.
const TOOLS: [&str; 2] = ["ansible-core==2.19.*", "pyinfra==3.*"];

/// Runs it; whether every bound was kept.
pub fn run(mode: &Mode) -> Outcome<bool> {
    let binary = place::release_binary()?;
    // As fast as a release, without its long way to one piece.
    let build = ["build", "--quiet", "--profile", "sim", "--package", "onward-fleet-tests"];
    let built = cargo(&build).args(["--bin", "bench-fleet"]).status()?;
    if !built.success() {
        return Err("bench-fleet was not built".into());
    }
    let mut command = Command::new(target().join("sim/bench-fleet"));
    command
        .env("ONWARD_BIN", binary)
        .env("ONWARD_HELLO", place::hello()?)
        .env("ONWARD_TOOLS", tools()?);
    if mode.quick {
        command.arg("--quick");
    }
    match command.status()?.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => Err("bench-fleet could not measure".into()),
    }
}

/// The programs of the other tools, installed once.
fn tools() -> Outcome<PathBuf> {
    let directory = target().join("bench-tools");
    let bin = directory.join("bin");
    if bin.join("pyinfra").exists() && bin.join("ansible-playbook").exists() {
        return Ok(bin);
    }
    let run = |command: &mut Command| -> Outcome<()> {
        if command.status()?.success() { Ok(()) } else { Err(format!("{command:?} failed").into()) }
    };
    run(Command::new("python3").args(["-m", "venv"]).arg(&directory))?;
    run(Command::new(bin.join("pip")).args(["install", "--quiet"]).args(TOOLS))?;
    Ok(bin)
}

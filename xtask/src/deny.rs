//! Licences, sources and bans of the dependencies: `cargo deny`, installed where it is missing.

use std::process::Command;

use crate::steps::{cargo, has, root, step, target};

/// The version that the rules of `deny.toml` were written for.
const VERSION: &str = "0.20.2";

/// Checks what needs no network: the advisories are checked where their database is at hand.
pub fn check() -> Result<(), String> {
    let tools = target().join("tools");
    let mut program = "cargo-deny".into();
    if !has("cargo-deny") {
        program = tools.join("bin/cargo-deny");
        if !program.is_file() {
            let mut install = cargo(&["install", "cargo-deny", "--version", VERSION, "--locked"]);
            install.args(["--quiet", "--debug", "--root"]).arg(&tools);
            if let Err(error) = step("install cargo-deny", &mut install) {
                println!("LEFT OUT: the check of the dependencies: {error}");
                return Ok(());
            }
        }
    }
    let mut deny = Command::new(program);
    deny.args(["--offline", "--log-level", "error", "check", "bans", "licenses", "sources"]);
    step("licences, sources and bans of the dependencies", deny.current_dir(root()))?;
    println!("LEFT OUT: advisories, whose database is fetched: `cargo deny check advisories`\n");
    Ok(())
}

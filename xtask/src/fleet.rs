//! `cargo xtask fleet`: the tests on real servers in their long form.
//!
//! The short form is part of `cargo xtask test`. Both need root on Linux; a test that is left out
//! says why.

use std::process::ExitCode;

use crate::install;
use crate::steps::{cargo, has, step};

/// Runs the tests whose names hold one of the words, or all.
pub fn run(filters: &[String]) -> ExitCode {
    install::missing_programs();
    let mut tests = if has("cargo-nextest") {
        cargo(&["nextest", "run", "--profile", "fleet", "--no-tests", "fail"])
    } else {
        cargo(&["test"])
    };
    tests.args(["--package", "onward-fleet-tests", "--locked"]);
    if !has("cargo-nextest") {
        tests.arg("--");
    }
    tests.args(filters).env("ONWARD_FLEET", "long");
    match step("real servers", &mut tests) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("FAILED: {error}");
            ExitCode::FAILURE
        }
    }
}

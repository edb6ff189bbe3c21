//! Programs killed at every system call that changes something on disk, with `strace`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Everything by which a program changes the disk or makes a change durable.
pub const CALLS: [&str; 24] = [
    "write",
    "openat",
    "close",
    "mkdir",
    "mkdirat",
    "rename",
    "renameat",
    "renameat2",
    "fsync",
    "fdatasync",
    "syncfs",
    "ftruncate",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "chmod",
    "fchmod",
    "fchmodat",
    "utimensat",
    "unlink",
    "unlinkat",
    "rmdir",
    "flock",
];

/// More calls of one kind than any of these programs makes.
const CALLS_MAX: usize = 400;

/// An example that Cargo built beside the test that asks.
///
/// # Panics
/// When it was not built.
pub fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    let built = test.ancestors().nth(2).expect("tests are below deps").join("examples").join(name);
    assert!(built.exists(), "{} is built with the tests", built.display());
    built
}

fn strace(options: &[&str], program: &Path, arguments: &[&str]) -> std::io::Result<Output> {
    Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null"])
        .args(options)
        .arg(program)
        .args(arguments)
        .output()
}

/// Whether programs can be traced here; says so when they cannot.
pub fn can_trace() -> bool {
    let inject = ["-e", "trace=execve,exit_group", "-e", "inject=exit_group:signal=KILL:when=1"];
    let killed = strace(&inject, Path::new("true"), &[]);
    let can = killed.is_ok_and(|output| !output.status.success());
    if !can {
        eprintln!("LEFT OUT: strace is not installed or not permitted here");
    }
    can
}

/// Kills the program at the n-th call of each kind, for every n, until it ends by itself. `prepare`
/// is called before, `check` after each run, with what was done. Returns the number of kills.
///
/// # Panics
/// When `check` does, or a program makes an absurd number of calls.
pub fn at_every_call(
    program: &Path,
    arguments: &[&str],
    prepare: &dyn Fn(),
    check: &dyn Fn(&str),
) -> usize {
    let mut kills = 0;
    for call in CALLS {
        for when in 1.. {
            assert!(when < CALLS_MAX, "{call} is called more than {CALLS_MAX} times");
            prepare();
            let trace = format!("trace=?{call}");
            let inject = format!("inject=?{call}:signal=KILL:when={when}");
            let output = strace(&["-e", &trace, "-e", &inject], program, arguments);
            let output = output.expect("strace runs");
            check(&format!("killed at {call} {when}"));
            if output.status.success() {
                break;
            }
            kills += 1;
        }
    }
    kills
}

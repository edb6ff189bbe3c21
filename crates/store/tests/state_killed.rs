//! The state file killed at every system call of its writes: never torn.

use std::cell::Cell;
use std::path::Path;
use std::process::Command;

use onward_core::ports::StateStore;
use onward_store::state::DirectoryStore;
use onward_testkit::killed::{at_every_call, can_trace, example};

fn store(root: &Path) -> DirectoryStore {
    let app = "shop".parse().expect("a legal name");
    DirectoryStore::new(root, &app, &"local".parse().expect("a legal name"))
}

fn generation(root: &Path) -> Result<u64, String> {
    let read = store(root).read().map_err(|error| error.to_string())?;
    Ok(read.map_or(0, |stored| stored.document.generation.0))
}

/// Kills the example everywhere; returns the kills, and how many left something unreadable.
fn killed(root: &Path, mode: &[&str]) -> (usize, usize) {
    let text = root.to_str().expect("a temporary directory has a plain name");
    let program = example("write_state");
    let write = || Command::new(&program).arg(root).status().expect("the example runs");
    assert!(write().success());
    let torn = Cell::new(0);
    let before = Cell::new(1);
    let prepare = || {
        if generation(root).is_err() {
            // A control tore the file: begin anew.
            std::fs::remove_dir_all(root.join("shop")).expect("remove the torn state");
            assert!(write().success());
        }
        before.set(generation(root).expect("whole before each run"));
    };
    let check = |what: &str| match generation(root) {
        Ok(now) if now == before.get() || now == before.get() + 1 => {}
        Ok(now) => panic!("{what}: generation {now} after {}", before.get()),
        Err(_) => torn.set(torn.get() + 1),
    };
    let arguments: Vec<&str> = [&[text], mode].concat();
    let kills = at_every_call(&program, &arguments, &prepare, &check);
    (kills, torn.get())
}

#[test]
fn a_state_file_is_never_torn() {
    if !can_trace() {
        return;
    }
    let root = tempfile::tempdir().expect("a temporary directory");
    let (kills, torn) = killed(root.path(), &[]);
    eprintln!("{kills} kills, {torn} torn");
    assert!(kills >= 30, "only {kills} kills");
    assert_eq!(torn, 0);
}

#[test]
fn a_file_that_is_emptied_and_filled_is_torn_which_shows_that_this_would_be_seen() {
    if !can_trace() {
        return;
    }
    let root = tempfile::tempdir().expect("a temporary directory");
    let (kills, torn) = killed(root.path(), &["truncate"]);
    eprintln!("control: {kills} kills, {torn} torn");
    assert!(torn > 0);
}

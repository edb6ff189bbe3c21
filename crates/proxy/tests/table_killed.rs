//! The table file killed at every system call of its writes: never torn.

use std::cell::Cell;
use std::process::Command;

use onward_proxy::load_table;
use onward_testkit::killed::{at_every_call, can_trace, example};

#[test]
fn a_table_file_is_never_torn() {
    if !can_trace() {
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("table.json");
    let program = example("store_table");
    assert!(Command::new(&program).arg(&file).status().expect("the example runs").success());
    let version = || load_table(&file).expect("whole").expect("there").version;
    let before = Cell::new(0);
    let prepare = || before.set(version());
    let check = |what: &str| {
        let now = version();
        let then = before.get();
        assert!(now == then || now == then + 1, "{what}: version {now} after {then}");
    };
    let text = file.to_str().expect("a temporary directory has a plain name");
    let kills = at_every_call(&program, &[text], &prepare, &check);
    eprintln!("{kills} kills, 0 torn");
    assert!(kills >= 15, "only {kills} kills");
}

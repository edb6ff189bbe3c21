//! The root file system is built once, by one of several, and one that was not finished is none.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use onward::providers::nspawn::{self, BASE_VARIABLE};
use onward_fleet_tests::is_long;

/// The time in which a build is under way and not near its end.
const HALF_WAY: Duration = Duration::from_secs(8);

fn lab(base: &Path, place: &Path, words: &[&str]) -> Child {
    fs::create_dir_all(place).expect("a directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
    command.arg(place).args(words).env(BASE_VARIABLE, base);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_killed_build_counts_for_nothing_and_of_several_commands_one_builds() {
    if !is_long() {
        eprintln!("LEFT OUT: builds of three minutes; `cargo xtask fleet` does them");
        return;
    }
    if let Err(reason) = nspawn::check() {
        eprintln!("LEFT OUT: a test on real servers: {reason}");
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let base = directory.path().join("base");
    let place = |name: &str| directory.path().join(name);

    let mut killed = lab(&base, &place("one"), &["up", "one"]);
    std::thread::sleep(HALF_WAY);
    killed.kill().expect("killed");
    let output = killed.wait_with_output().expect("ended");
    assert!(text(&output).contains("RootfsBegun"), "{}", text(&output));
    let names = || {
        let entries = fs::read_dir(base.join("rootfs")).expect("rootfs").flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>()
    };
    assert!(names().iter().all(|name| name.ends_with(".new")), "{:?}", names());

    let both = ["one", "two"].map(|name| (name, lab(&base, &place(name), &["up", name])));
    let said = both.map(|(name, child)| {
        let output = child.wait_with_output().expect("ended");
        assert!(output.status.success(), "{name}: {}", text(&output));
        text(&output)
    });
    let told = |event: &str| said.iter().filter(|text| text.contains(event)).count();
    assert_eq!((told("RootfsBegun"), told("RootfsBuilt"), told("Ready")), (1, 1, 2), "{said:?}");
    assert!(told("RootfsByAnother") >= 1, "{said:?}");
    assert!(names().len() == 1 && !names()[0].ends_with(".new"), "{:?}", names());

    for name in ["one", "two"] {
        let output = lab(&base, &place(name), &["down"]).wait_with_output().expect("ended");
        assert!(output.status.success(), "{}", text(&output));
    }
}

//! The main story, screen by screen, as a person reads it.

use insta::{Settings, assert_snapshot};
use onward_cli_tests::{Outcome, Project, example, has, http};

/// What a person sees, without what differs from run to run.
fn screen(outcome: &Outcome) -> String {
    let code = outcome.code.map_or_else(|| "a signal".to_owned(), |code| code.to_string());
    format!("{}{}[exit code {code}]", outcome.stdout, outcome.stderr)
}

fn filters(project: &Project) -> Settings {
    let mut settings = Settings::clone_current();
    let directory = project.path().display().to_string();
    settings.add_filter(&directory, "PROJECT");
    settings.add_filter(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT");
    settings.add_filter(r"\bport \d+", "port PORT");
    settings.add_filter(r"\bpid \d+", "pid PID");
    settings.add_filter(r"\b[0-9a-f]{8,64}\b", "DIGEST");
    settings.add_filter(r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\dZ?)?", "TIME");
    settings.add_filter(r"until about .* UTC", "until about TIME");
    settings.add_filter(r"\b\d+(\.\d+)? (ms|s|min)\b", "DURATION");
    settings.add_filter(r"\b\d+(\.\d+)? (B|KB|MB)\b", "SIZE");
    // Columns are as wide as what is in them.
    settings.add_filter(r"(\S) {2,}", "$1  ");
    settings.add_filter(r"ready  \d+", "ready  PID");
    settings
}

#[test]
fn the_main_story() {
    let project = Project::empty();
    std::fs::copy(example::hello(), project.path().join("hello")).expect("copy hello");
    project.write("Procfile", "web: ./hello\n");
    filters(&project).bind(|| {
        assert_snapshot!("01_init", screen(&project.run(&["init"])));
        assert_snapshot!("02_check", screen(&project.run(&["check"])));
        assert_snapshot!("03_status_before", screen(&project.run(&["status"])));
        assert_snapshot!("04_up", screen(&project.run(&["up"])));
        project.write("change.txt", "a change\n");
        assert_snapshot!("05_deploy", screen(&project.run(&["deploy"])));
        assert_snapshot!("06_unchanged", screen(&project.run(&["up"])));
        assert_snapshot!("07_rollback", screen(&project.run(&["rollback"])));
        http::get(&project.url(), "/").expect("the address answers");
        assert_snapshot!("08_status", screen(&project.run(&["status"])));
        let file = std::fs::read_to_string(project.path().join("onward.toml")).expect("a file");
        let broken = file.replace("./hello", "echo no database; exit 3");
        project.write("onward.toml", &broken);
        assert_snapshot!("09_failing_deploy", screen(&project.run(&["deploy"])));
        project.write("onward.toml", &file);
        assert_snapshot!("10_history", screen(&project.run(&["history"])));
        assert_snapshot!("11_down", screen(&project.run(&["down", "-y"])));
        assert_snapshot!("12_status_after", screen(&project.run(&["status"])));
    });
}

#[test]
fn in_a_terminal_the_time_of_a_phase_goes_on() {
    if !has("script") {
        eprintln!("LEFT OUT: `script` is not installed");
        return;
    }
    let project = Project::prebuilt_hello("[release]\nwatch = \"3s\"");
    let output = project.in_terminal("up").output().expect("script runs");
    let shown = String::from_utf8_lossy(&output.stdout);
    let drawn = shown.split("watching the new version (").skip(1);
    let times: Vec<&str> = drawn.map(|rest| rest.split(')').next().unwrap_or_default()).collect();
    let seconds = |time: &&&str| time.ends_with(" s");
    let first = times.iter().position(|time| seconds(&time)).expect("seconds are drawn");
    assert!(times[first..].iter().all(|time| seconds(&time)), "it never begins anew: {times:?}");
    assert!(times.iter().any(|time| time.starts_with("2.")), "{times:?}");
}

//! Ctrl-C: what is not decided is aborted, what is decided goes on.

use std::os::unix::process::CommandExt;
use std::process::Child;

use onward_cli_tests::{Outcome, Project, ended, eventually, http};

/// Starts a command as a terminal does: in a process group of its own, to which Ctrl-C goes.
fn start(project: &Project, arguments: &[&str]) -> Child {
    project.command(arguments).process_group(0).spawn().expect("the binary runs")
}

fn phase_is(project: &Project, phase: &str) {
    eventually(phase, || (project.status()["operation"]["phase"] == phase).then_some(()));
}

fn interrupted(child: Child) -> Outcome {
    Project::interrupt_group(child.id());
    ended(child, || {})
}

fn serves(project: &Project, release: u64) {
    assert_eq!(project.status()["release"]["number"], release);
    let body = http::get(&project.url(), "/").expect("the address answers").body;
    assert!(body.contains(&format!("release {release}")), "{body}");
}

#[test]
fn during_the_build_nothing_was_changed() {
    let project = Project::prebuilt_hello("");
    project.run(&["up"]).code_is(0);
    let file = std::fs::read_to_string(project.path().join("onward.toml")).expect("a file");
    let file = format!("{file}[build]\nrun = \"touch building && exec sleep 60\"\n");
    project.write("onward.toml", &file);
    let deploy = start(&project, &["deploy"]);
    eventually("the build runs", || project.path().join("building").exists().then_some(()));
    let deploy = interrupted(deploy).code_is(1);
    assert!(deploy.stderr.contains("interrupted during the build"), "{}", deploy.stderr);
    serves(&project, 1);
    let history = project.run(&["history", "--json"]).code_is(0).json();
    assert_eq!(history["operations"].as_array().map(Vec::len), Some(1), "nothing was recorded");
}

#[test]
fn before_the_decision_it_is_aborted() {
    let project = Project::prebuilt_hello("");
    project.run(&["up"]).code_is(0);
    let file = std::fs::read_to_string(project.path().join("onward.toml")).expect("a file");
    project.write("onward.toml", &file.replace("./hello", "sleep 60"));
    let deploy = start(&project, &["deploy"]);
    phase_is(&project, "start");
    let deploy = interrupted(deploy).code_is(1);
    assert!(deploy.stderr.contains("aborted by ana (Ctrl-C)"), "{}", deploy.stderr);
    let last = deploy.stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("Still serving: release 1 "), "{}", deploy.stderr);
    serves(&project, 1);
    eventually("the new version is gone", || {
        (!project.processes().iter().any(|(_, line)| line.contains("sleep 60"))).then_some(())
    });
}

#[test]
fn after_the_decision_it_goes_on_and_the_next_command_finishes_it() {
    let project = Project::prebuilt_hello("[release]\nwatch = \"2s\"\n");
    project.run(&["up"]).code_is(0);
    project.write("change.txt", "a change\n");
    let deploy = start(&project, &["deploy"]);
    phase_is(&project, "watch");
    let deploy = interrupted(deploy).code_is(4);
    assert!(deploy.stderr.contains("goes forward"), "{}", deploy.stderr);
    serves(&project, 2);
    project.run(&["deploy"]).code_is(0);
    let history = project.run(&["history", "--json"]).code_is(0).json();
    assert_eq!(history["operations"][0]["outcome"], "done", "{history}");
    assert_eq!(history["operations"][0]["release"], 2);
    assert_eq!(project.status()["operation"], serde_json::Value::Null);
}

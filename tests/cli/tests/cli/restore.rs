//! A state that is lost comes back from the copy on a server, and what serves goes on serving.

use std::fs;

use onward_cli_tests::Project;
use onward_cli_tests::http::get;

fn lose_the_state(project: &Project) {
    fs::remove_dir_all(project.path().join(".onward/state")).expect("lose the state");
}

#[test]
fn a_lost_state_comes_back_from_the_server() {
    let project = Project::prebuilt_hello("");
    project.run(&["up"]).code_is(0);
    project.run(&["deploy", "--force"]).code_is(0);
    let url = project.url();
    let before = project.run(&["state", "show", "--json"]).json();
    lose_the_state(&project);

    let refused = project.run(&["state", "restore"]).code_is(3);
    assert!(refused.stdout.contains("2 ("), "says what serves: {refused:?}");
    assert!(get(&url, "/").is_ok(), "serves meanwhile");

    project.run(&["state", "restore", "-y"]).code_is(0);
    let after = project.run(&["state", "show", "--json"]).json();
    assert!(after["generation"].as_u64() > before["generation"].as_u64());
    assert_eq!(after["serving"], 2);
    assert_eq!(after["releases"], before["releases"]);
    assert!(get(&url, "/").is_ok());
    project.run(&["rollback"]).code_is(0);
    assert_eq!(project.status()["release"]["number"], 1);
    project.run(&["down", "--confirm", "local"]).code_is(0);
}

#[test]
fn a_saved_document_comes_back_and_servers_follow_it() {
    let project = Project::prebuilt_hello("");
    project.run(&["up"]).code_is(0);
    let saved = project.run(&["state", "show", "--json"]).stdout;
    project.write("saved.json", &saved);
    project.run(&["deploy", "--force"]).code_is(0);
    lose_the_state(&project);

    let done = project.run(&["state", "restore", "saved.json", "-y"]).code_is(0);
    assert!(done.stderr.contains("which no copy has"), "{done:?}");
    assert_eq!(project.status()["release"]["number"], 1);
    project.run(&["down", "--confirm", "local"]).code_is(0);
}

#[test]
fn what_is_not_lost_or_not_ours_is_refused() {
    let project = Project::prebuilt_hello("");
    let none = project.run(&["state", "restore"]).code_is(3);
    assert!(none.stderr.contains("no copy of the state"), "{none:?}");
    project.write("other.json", "{}");
    let other = project.run(&["state", "restore", "other.json"]).code_is(2);
    assert!(other.stderr.contains("is not a state document"), "{other:?}");
    project.run(&["up"]).code_is(0);
    let there = project.run(&["state", "restore", "-y"]).code_is(3);
    assert!(there.stderr.contains("nothing is lost"), "{there:?}");
    project.run(&["down", "--confirm", "local"]).code_is(0);
}

//! `rehearse` plays the project's own operations with faults, and touches nothing.

use onward_cli_tests::Project;

fn shop() -> Project {
    let project = Project::empty();
    project.write(
        "onward.toml",
        "app = \"shop\"\n[process.web]\nrun = \"./web\"\n[process.worker]\nrun = \"./work\"\n\
         [release]\nrun = \"./migrate\"\n",
    );
    project
}

#[test]
fn ten_thousand_runs_leave_nothing_half_done_and_touch_nothing() {
    let project = shop();
    let told = project.run(&["rehearse", "--json"]).code_is(0).json();
    assert!(told["runs"].as_u64().is_some_and(|runs| runs >= 10_000), "{}", told["runs"]);
    assert_eq!(told["broken"].as_array().map(Vec::len), Some(0));
    assert!(told["release_command_begun_again"].as_u64() > Some(0));
    let causes =
        told["results"].as_array().expect("results").iter().filter(|row| {
            row["cause"] == "the command is killed" && row["runs"].as_u64() > Some(0)
        });
    assert!(causes.count() > 6, "every operation is killed at some point");
    assert!(!project.path().join(".onward").exists(), "nothing is made");
}

#[test]
fn a_story_is_told_line_by_line_and_another_text_is_refused() {
    let project = shop();
    let story = project.run(&["rehearse", "--story", "deploy/10:HostReboot,gap=12"]).code_is(0);
    assert!(story.stdout.contains("HostReboot"), "{}", story.stdout);
    assert!(story.stdout.trim_end().ends_with("done"), "{}", story.stdout);
    let refused = project.run(&["rehearse", "--story", "nonsense"]).code_is(2);
    assert!(refused.stderr.contains("nonsense"), "{}", refused.stderr);
}

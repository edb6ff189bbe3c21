//! What cannot be: every verb says so, with the exit code for it, and changes nothing.

use onward_cli_tests::Project;

/// Every verb that works on a project, with what it needs to be understood.
const VERBS: [&[&str]; 14] = [
    &["up"],
    &["deploy"],
    &["rollback"],
    &["status"],
    &["logs"],
    &["check"],
    &["plan"],
    &["abort"],
    &["why"],
    &["history"],
    &["state", "show"],
    &["state", "undo"],
    &["bundle", "list"],
    &["down", "-y"],
];

#[test]
fn without_a_project_file_every_verb_says_how_to_get_one() {
    let project = Project::empty();
    for verb in VERBS {
        let outcome = project.run(verb).code_is(2);
        assert!(outcome.stderr.contains("onward.toml"), "{verb:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains("onward init"), "{verb:?}: {}", outcome.stderr);
    }
    assert!(!project.path().join(".onward").exists(), "nothing was made");
}

#[test]
fn with_a_wrong_project_file_every_verb_names_the_line() {
    let project = Project::empty();
    project.write("onward.toml", "app = \"hello\"\n[process.web]\nrum = \"./hello\"\n");
    for verb in VERBS {
        let outcome = project.run(verb).code_is(2);
        assert!(outcome.stderr.contains("onward.toml:3:1"), "{verb:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains("`run`"), "{verb:?}: {}", outcome.stderr);
    }
    assert!(!project.path().join(".onward").exists(), "nothing was made");
}

#[test]
fn unknown_words_are_usage_errors() {
    let project = Project::prebuilt_hello("");
    for (arguments, says) in [
        (&["depoly"][..], "deploy"),
        (&["deploy", "--froce"], "--force"),
        (&["rollback", "two"], "two"),
        (&["rollback", "-1"], "-1"),
        (&["why", "x"], "x"),
        (&["logs", "-n", "many"], "many"),
        (&["history", "-n", "-3"], "-3"),
        (&["state", "shwo"], "show"),
        (&["bundle"], "Usage"),
        (&["deploy", "--git", "main", "--release", "1"], "cannot be used with"),
        (&["status", "-e", "Not A Name"], "Not A Name"),
        (&["status", "-C", "no/such/directory"], "no/such/directory"),
    ] {
        let outcome = project.run(arguments).code_is(2);
        assert!(outcome.stderr.contains(says), "{arguments:?}: {}", outcome.stderr);
    }
}

#[test]
fn before_the_first_release_every_verb_names_the_next_step() {
    let project = Project::prebuilt_hello("");
    for (verb, code) in
        [(&["deploy"][..], 3), (&["rollback"], 3), (&["status"], 0), (&["history"], 0)]
    {
        let outcome = project.run(verb).code_is(code);
        let text = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(
            text.contains("onward up") || text.contains("nothing has been"),
            "{verb:?}: {text}"
        );
    }
    project.run(&["down", "-y"]).code_is(0);
    project.run(&["abort"]).code_is(3);
}

#[test]
fn what_is_not_there_is_refused_and_nothing_changes() {
    let project = Project::prebuilt_hello("[release]\nwatch = \"100ms\"\n");
    project.run(&["up"]).code_is(0);
    let before = project.status();
    for (arguments, code, says) in [
        (&["rollback"][..], 3, "no earlier release"),
        (&["rollback", "99"], 3, "99"),
        (&["deploy", "--release", "99"], 3, "99"),
        (&["deploy", "--git", "no-such-branch"], 1, "git"),
        (&["deploy", "--bundle", "no-such.tar"], 1, "no-such.tar"),
        (&["deploy", "--generation", "1", "--force"], 3, "generation"),
        (&["abort"], 3, "in flight"),
        (&["why", "99"], 2, "99"),
        (&["state", "show", "99"], 2, "99"),
        (&["bundle", "show", "nothing"], 2, "nothing"),
        (&["down"], 3, "needs a yes"),
        (&["down", "--confirm", "production"], 3, "production"),
        (&["status", "-e", "production"], 2, "production"),
    ] {
        let outcome = project.run(arguments);
        let text = format!("{arguments:?}\n{}{}", outcome.stdout, outcome.stderr);
        assert_eq!(outcome.code, Some(code), "{text}");
        assert!(outcome.stderr.contains(says), "{text}");
    }
    assert_eq!(project.status()["generation"], before["generation"], "nothing was written");
}

#[test]
fn errors_are_json_when_json_is_asked_for() {
    let project = Project::prebuilt_hello("");
    let finished = project.run(&["rollback", "--json"]).code_is(3).finished();
    assert_eq!(
        (finished["event"].as_str(), finished["ok"].as_bool()),
        (Some("finished"), Some(false))
    );
    assert!(finished["error"].is_string(), "{finished}");
}

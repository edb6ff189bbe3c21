//! Bad releases: the old version serves, and the terminal says what happened.

use onward_cli_tests::{Outcome, Project, http};

/// `test-app` in a project, told to behave so; its record of requests is `record` beside it.
fn release(project: &Project, mode: &str) {
    let record = project.path().parent().expect("a parent").join("record");
    project.write(
        "onward.toml",
        &format!(
            "app = \"trial\"\n[process.web]\nrun = \"./test-app {mode} {}\"\n\
             probe = {{ path = \"/up\", within = \"1s\" }}\n[release]\nwatch = \"1s\"\n",
            record.display()
        ),
    );
}

fn recorded(project: &Project, mode: &str) -> usize {
    let record = project.path().parent().expect("a parent").join("record");
    let text = std::fs::read_to_string(record).unwrap_or_default();
    text.lines().filter(|line| line.starts_with(&format!("{mode} "))).count()
}

fn up() -> (Project, String) {
    let project = Project::empty();
    let app = project.path().join("test-app");
    std::fs::copy(env!("CARGO_BIN_EXE_test-app"), app).expect("copy the app");
    release(&project, "good");
    project.run(&["up"]).code_is(0);
    let url = project.url();
    (project, url)
}

fn still_serving(project: &Project, url: &str, outcome: &Outcome) {
    let status = project.status();
    let label = status["release"]["label"].as_str().expect("a label").to_owned();
    let last = outcome.stderr.lines().last().unwrap_or_default();
    assert_eq!(last, format!("Still serving: release 1 ({label}) at {url}"), "{outcome:?}");
    assert_eq!(status["operation"], serde_json::Value::Null);
    assert!(http::get(url, "/").expect("the address answers").body.contains("good release 1"));
}

fn fails_its_probe(mode: &str, says: &[&str]) {
    let (project, url) = up();
    http::get(&url, "/").expect("the address answers");
    assert_eq!(recorded(&project, "good"), 1, "the recorder records");
    release(&project, mode);
    let deploy = project.start(&["deploy"]);
    let mut asked = 1;
    let deploy = onward_cli_tests::ended(deploy, || {
        asked += 1;
        assert!(http::get(&url, "/").expect("the address answers").body.contains("good"));
    });
    let deploy = deploy.code_is(1);
    for text in says {
        assert!(deploy.stderr.contains(text), "{text} in {}", deploy.stderr);
    }
    assert_eq!(recorded(&project, mode), 0, "no request reached it");
    assert_eq!(recorded(&project, "good"), asked, "the old version got all of them");
    still_serving(&project, &url, &deploy);
}

#[test]
fn one_that_exits_never_serves() {
    let says = ["web exited with status 3", "| test-app: the configuration is missing"];
    fails_its_probe("exits", &says);
}

#[test]
fn one_that_never_listens_never_serves() {
    fails_its_probe("silent", &["in time: nothing listens on port", "| test-app: mode silent"]);
}

#[test]
fn one_that_listens_on_another_port_never_serves() {
    fails_its_probe("wrong-port", &["it listens on port", "not on the PORT"]);
}

#[test]
fn one_whose_probe_fails_never_serves() {
    let answer = "Last answer of the probe: HTTP 500: the database is away";
    fails_its_probe("errors", &["it answered with status 500", answer]);
}

#[test]
fn one_that_is_too_slow_never_serves() {
    fails_its_probe("slow", &["did not answer its probe in time"]);
}

#[test]
fn one_that_is_killed_at_its_start_never_serves() {
    fails_its_probe("killed", &["signal 9 (SIGKILL)", "| test-app: taking more and more memory"]);
}

#[test]
fn one_that_dies_after_its_switch_is_taken_back() {
    for (mode, says) in [("dies", "web exited with status 1"), ("hog", "signal 9 (SIGKILL)")] {
        let (project, url) = up();
        release(&project, mode);
        let deploy = onward_cli_tests::ended(project.start(&["deploy"]), || {
            // What is inside an app that dies is lost with it.
            let _ = http::get(&url, "/");
        });
        let deploy = deploy.code_is(1);
        assert!(deploy.stderr.contains(says), "{}", deploy.stderr);
        assert!(deploy.stdout.contains("taking the release back"), "{}", deploy.stdout);
        assert!(recorded(&project, mode) > 0, "it had traffic");
        still_serving(&project, &url, &deploy);
    }
}

#[test]
fn down_waits_for_what_a_first_failed_release_leaves_behind() {
    let project = Project::empty();
    project.write(
        "onward.toml",
        "app = \"trial\"\n[process.web]\nrun = \"trap '' TERM; while :; do sleep 0.1; done\"\n\
         probe = { within = \"300ms\" }\nstop = { within = \"2s\" }\n",
    );
    project.run(&["up"]).code_is(1);
    assert!(!project.processes().is_empty(), "its instance takes its time to stop");
    let down = project.run(&["down", "-y"]).code_is(0);
    assert!(down.stdout.contains("instances still stop"), "{down:?}");
    assert_eq!(down.stderr, "", "{down:?}");
    assert!(down.stdout.trim_end().ends_with("local is down already"), "{down:?}");
    assert_eq!(project.processes(), [], "nothing is left");
}

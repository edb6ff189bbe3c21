//! Bad releases on real servers: the old one serves everybody, and the terminal says what happened.

use onward_fleet_tests::{Line, eventually};

const TWO: &str = "{ name = \"front\", roles = [\"balancer\", \"manager\", \"web\"] }, \
                   { name = \"two\", roles = [\"web\"] }";
const WATCHED: &str = "[release]\nwatch = \"1s\"";

/// Each with what has to be said of it.
const NEVER_READY: [(&str, &[&str]); 6] = [
    ("exits", &["web exited with status 3", "| app: the configuration is missing"]),
    ("silent", &["in time: nothing listens on port", "| app: mode silent"]),
    ("wrong-port", &["in time: it listens on port", "not on the PORT", "| app: mode wrong-port"]),
    ("errors", &["it answered with status 500", "HTTP 500: the database is away"]),
    ("slow", &["did not answer its probe in time"]),
    ("eats", &["signal 9 (SIGKILL)", "| app: taking more and more memory"]),
];

fn assert_first_serves(line: &Line, stderr: &str) {
    let last = stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("Still serving: release 1 ("), "{stderr}");
    assert_eq!(line.settled(), 1);
    for server in ["front", "two"] {
        assert!(line.visit(server).contains("good release 1"), "{server}");
    }
}

#[test]
fn one_that_does_not_become_ready_takes_no_traffic_on_any_server() {
    let Some(line) = Line::of_app(TWO, WATCHED) else { return };
    line.onward(&["up"]);
    let visitors = line.visitors("front");
    for (mode, says) in NEVER_READY {
        line.behave(mode, WATCHED);
        let deploy = line.project.run(&["deploy"]).code_is(1);
        for text in says {
            assert!(deploy.stderr.contains(text), "{text} in {}", deploy.stderr);
        }
        assert_first_serves(&line, &deploy.stderr);
    }
    line.behave("good", WATCHED);
    line.onward(&["deploy"]);
    let good = line.settled();
    let seen = visitors.end();
    assert!(seen.losses.is_empty(), "{:?}", seen.reasons());
    let others = seen.answers.iter().filter(|answer| ![1, good].contains(&answer.release));
    assert_eq!(others.count(), 0);
    assert!(seen.answers.iter().any(|answer| answer.release == good), "a control");
}

#[test]
fn one_that_dies_once_it_has_traffic_is_taken_back_from_all() {
    let Some(line) = Line::of_app(TWO, WATCHED) else { return };
    line.onward(&["up"]);
    line.behave("dies", WATCHED);
    let visitors = line.visitors("front");
    let deploy = line.project.run(&["deploy"]).code_is(1);
    let seen = visitors.end();
    assert!(deploy.stderr.contains("web exited with status 1"), "{}", deploy.stderr);
    assert!(deploy.stderr.contains("| app: an assertion failed"), "{}", deploy.stderr);
    assert!(deploy.stdout.contains("taking the release back"), "{}", deploy.stdout);
    assert_first_serves(&line, &deploy.stderr);
    assert!(!seen.losses.is_empty(), "a control: it had traffic, which it lost");
    let last = seen.answers.last().expect("answers");
    assert_eq!(last.release, 1);
}

#[test]
fn files_that_are_not_what_was_released_are_never_run() {
    let waiting = format!(
        "[shared]\ndirs = [\"gate\"]\n{WATCHED}\n\
         run = \"touch gate/staged; while [ ! -e gate/open ]; do sleep 0.05; done\""
    );
    let Some(line) = Line::of_app(TWO, WATCHED) else { return };
    line.onward(&["up"]);
    line.behave("good", &waiting);
    line.project.write("other.txt", "another file\n");
    let gate = "/var/lib/onward/apps/hello/lab/shared/gate";
    let deploy = line.project.start(&["deploy"]);
    eventually("the files are there", || {
        ["front", "two"]
            .iter()
            .any(|name| line.ssh(name).run(&format!("test -e {gate}/staged")).is_success())
    });
    // In place, as a disk or a person does it: what is linked to the same content changes with it.
    let release = "/var/lib/onward/apps/hello/lab/releases/2";
    line.run("two", &format!("printf 'exit 0;' | dd of={release}/app.pl conv=notrunc status=none"));
    for name in ["front", "two"] {
        line.run(name, &format!("mkdir -p {gate} && touch {gate}/open"));
    }
    let deploy = deploy.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&deploy.stderr).into_owned();
    match deploy.status.code() {
        // It was brought again from what the server has of it.
        Some(0) => assert_eq!(line.settled(), 2, "{said}"),
        Some(1) => assert_first_serves(&line, &said),
        other => panic!("{other:?}: {said}"),
    }
    let changed = line.run("two", &format!("grep -c 'exit 0;' {release}/app.pl; true"));
    assert_eq!(changed.trim(), "0", "what was changed is not what is there now");
    // The file of the first release was the same one, and is changed as well.
    line.onward(&["rollback"]);
    for server in ["front", "two"] {
        assert!(line.visit(server).contains("good release 1"), "{server}");
    }
}

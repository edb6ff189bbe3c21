//! The story of a person: edits the app, breaks it, deploys, goes back, kills things, edits the
//! state by hand, and asks. Each answer is held against facts (what the address answers, what
//! `/proc` says) and its screen is kept as a reviewed snapshot.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use onward_cli_tests::{Outcome, Project, eventually, http};
use serde_json::Value;

const SOURCE: &str = "src/main.rs";
const START: &str = "fn main() -> io::Result<()> {\n";

struct Person {
    project: Project,
    url: String,
}

impl Person {
    /// What the address answers, in one line.
    fn body(&self) -> String {
        http::get(&self.url, "/").expect("the address answers").body.trim().to_owned()
    }

    /// Types a command; keeps what it printed under `name`.
    fn types(&self, name: &str, arguments: &[&str], code: i32) -> Outcome {
        let outcome = self.project.run(arguments).code_is(code);
        let screen =
            format!("$ onward {}\n{}{}", arguments.join(" "), outcome.stdout, outcome.stderr);
        insta::with_settings!({ filters => filters(), prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(format!("story-{name}"), screen);
        });
        outcome
    }

    fn edits(&self, from: &str, to: &str) {
        let path = self.project.path().join(SOURCE);
        let text = fs::read_to_string(&path).expect("read the source");
        assert!(text.contains(from), "the source has {from}");
        self.project.write(SOURCE, &text.replacen(from, to, 1));
    }

    fn state(&self) -> std::path::PathBuf {
        self.project.path().join(".onward/state/hello/local/state.json")
    }

    /// The process that gets traffic, by what `status` says, checked with `/proc`.
    fn serving(&self) -> (u32, u64) {
        let status = self.project.status();
        let release = status["release"]["number"].as_u64().expect("a release serves");
        let processes = status["processes"].as_array().expect("a list").clone();
        let own = processes.iter().find(|process| process["release"] == release);
        let pid = own.and_then(|own| own["pid"].as_u64()).expect("its process has an id");
        let place = fs::read_link(format!("/proc/{pid}/cwd")).expect("the process is there");
        assert!(place.ends_with(format!("releases/{release}")), "{}", place.display());
        (u32::try_from(pid).expect("a process id"), release)
    }
}

/// What differs from run to run, and is checked as a fact instead.
fn filters() -> Vec<(&'static str, &'static str)> {
    vec![
        (r"(?m)(^  │ .*\n)+", "  │ (what the build printed)\n"),
        (r"http://127\.0\.0\.1:\d+", "http://127.0.0.1:PORT"),
        (r"/[^ `']*/onward-test-[^/]*/project", "/PROJECT"),
        (r"\b[0-9a-f]{64}\b", "DIGEST"),
        (r"\b[0-9a-f]{8}\b", "LABEL"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\dZ)?", "TIME"),
        (r"\d\d:\d\d UTC", "HH:MM UTC"),
        (r" *\+?\b\d+(\.\d+)? (ms|s)\b( +)?", " DURATION "),
        (r"\d+ min \d+ s", "DURATION"),
        (r"\d+(\.\d+)? (B|KB|MB)\b", "SIZE"),
        (r"(?m)(web\.1 +\d+ +[a-z]+ +)\d+ +", "${1}PID  "),
        (r"PID +RESTARTS", "PID  RESTARTS"),
        (r"TOOK +BY", "TOOK  BY"),
        (r"\d+ requests?, 0 lost, 0 app errors since", "N requests, 0 lost, 0 app errors since"),
        (r"; 0 of \d+ requests? lost, app errors 0.*", "; PROOF"),
        (r"(?m)^ +0 of \d+ requests? lost, app errors 0.*\n", ""),
        (r"thread 'main' \(\d+\)", "thread 'main'"),
        (r"edit-[0-9a-f]{16}", "edit-ID"),
        (r"▪+", ""),
        (r"(?m)[ ]+$", ""),
    ]
}

fn raised(state: &Path, release: u64) {
    let text = fs::read_to_string(state).expect("read the state");
    let mut document: Value = serde_json::from_str(&text).expect("the state is JSON");
    let generation = document["generation"].as_u64().expect("a number");
    document["generation"] = (generation + 1).into();
    document["demand"]["release"] = release.into();
    fs::write(state, serde_json::to_vec_pretty(&document).expect("JSON")).expect("edit the state");
}

#[test]
fn a_person_always_gets_a_true_and_helpful_answer() {
    let project = Project::copy_of("hello");
    let mut ana = Person { project, url: String::new() };
    ana.types("01-status-before", &["status"], 0);
    ana.types("02-up", &["up"], 0);
    ana.url = ana.project.url();
    assert!(ana.body().starts_with("Hello from release 1"), "{}", ana.body());
    assert_eq!(ana.serving().1, 1);

    edits_and_breaks(&ana);
    goes_back_and_kills(&ana);
    edits_the_state(&ana);
    kills_the_command(&ana);
    asks_and_leaves(&ana);
}

fn edits_and_breaks(ana: &Person) {
    ana.edits("\"Hello\"", "\"Good day\"");
    ana.types("03-plan", &["plan"], 0);
    assert_eq!(ana.serving().1, 1, "a plan changes nothing");
    ana.types("04-deploy", &["deploy"], 0);
    assert!(ana.body().starts_with("Good day from release 2"), "{}", ana.body());
    ana.types("05-status", &["status"], 0);

    ana.edits(START, "fn main() -> io::Result<()> { this is no Rust\n");
    let broken = ana.types("06-build-fails", &["deploy"], 1);
    assert!(broken.stderr.trim_end().ends_with(&ana.url), "the last line says what serves");
    assert!(ana.body().starts_with("Good day from release 2"));
    ana.edits("fn main() -> io::Result<()> { this is no Rust\n", START);

    ana.edits(START, &format!("{START}    no_start();\n"));
    ana.edits(
        "fn greeting(",
        "fn no_start() {\n    eprintln!(\"the configuration is missing\");\n    \
         std::process::exit(3);\n}\n\nfn greeting(",
    );
    let broken = ana.types("07-start-fails", &["deploy"], 1);
    let last = broken.stderr.lines().last().expect("a last line").to_owned();
    assert!(last.starts_with("Still serving: release 2 ("), "{last}");
    assert!(last.ends_with(&ana.url), "{last}");
    assert!(ana.body().starts_with("Good day from release 2"));
    ana.types("08-why", &["why"], 0);
    ana.types("09-logs", &["logs", "--release", "3"], 0);
    ana.edits("    no_start();\n", "");
}

fn goes_back_and_kills(ana: &Person) {
    ana.types("10-rollback", &["rollback"], 0);
    assert!(ana.body().starts_with("Hello from release 1"), "{}", ana.body());
    ana.types("11-status-after-rollback", &["status"], 0);

    let (app, _) = ana.serving();
    Project::kill(app);
    eventually("the app is started again", || {
        let own = ana.project.status()["processes"][0].clone();
        (own["restarts"] == 1 && own["state"] == "ready").then_some(())
    });
    assert!(ana.body().starts_with("Hello from release 1"), "{}", ana.body());
    let (app, _) = ana.serving();

    Project::kill(ana.project.pid_of("agent").expect("the agent runs"));
    assert!(ana.body().starts_with("Hello from release 1"), "traffic needs no agent");
    assert_eq!(ana.serving(), (app, 1), "the next agent adopts what runs");

    let proxy = ana.project.pid_of("proxy").expect("the proxy runs");
    Project::kill(proxy);
    assert!(ana.body().starts_with("Hello from release 1"), "the listening socket is held");
    assert_ne!(ana.project.pid_of("proxy"), Some(proxy), "another proxy runs");
    eventually("nothing is degraded", || {
        (ana.project.status()["degraded"] == serde_json::json!([])).then_some(())
    });
}

fn edits_the_state(ana: &Person) {
    // The tree is the one of release 2 as it was released, so it brings nothing new.
    raised(&ana.state(), 2);
    ana.edits("fn no_start() {\n    eprintln!(\"the configuration is missing\");\n    std::process::exit(3);\n}\n\n", "");
    ana.types("12-status-edited", &["status"], 0);
    assert_eq!(ana.serving().1, 1, "an edit alone moves nothing");
    ana.types("13-plan-edited", &["plan"], 0);
    ana.types("14-up-follows-the-edit", &["up"], 0);
    assert!(ana.body().starts_with("Good day from release 2"), "{}", ana.body());

    let good = fs::read(ana.state()).expect("read the state");
    fs::write(ana.state(), "{ \"schema\": 1, oops").expect("damage the state");
    ana.types("15-status-damaged", &["status"], 0);
    ana.types("16-up-damaged", &["up"], 3);
    ana.types("17-accept-damaged", &["state", "accept", "-y"], 2);
    assert!(ana.body().starts_with("Good day from release 2"), "what runs goes on");
    ana.types("18-state-undo", &["state", "undo"], 0);
    let now: Value = serde_json::from_slice(&fs::read(ana.state()).expect("read")).expect("JSON");
    let before: Value = serde_json::from_slice(&good).expect("JSON");
    assert_eq!(now["demand"], before["demand"]);
    ana.types("19-stale-plan", &["up", "--generation", "1", "--force"], 3);
}

fn kills_the_command(ana: &Person) {
    ana.edits(START, &format!("{START}    thread::sleep(Duration::from_secs(2));\n"));
    let mut command = ana.project.command(&["deploy"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
    eventually("the deploy is in flight", || {
        (ana.project.status()["operation"]["phase"] == "start").then_some(())
    });
    child.kill().expect("kill the command");
    child.wait().expect("the command is gone");
    let status = ana.project.run(&["status"]).code_is(0);
    assert!(status.stdout.contains("In flight  operation"), "{}", status.stdout);
    assert!(ana.body().starts_with("Good day from release 2"), "nothing was decided");
    ana.types("20-up-after-a-killed-deploy", &["up"], 0);
    assert!(ana.body().starts_with("Good day from release 5"), "{}", ana.body());
    ana.types("21-why-superseded", &["why", "4"], 0);
}

fn asks_and_leaves(ana: &Person) {
    ana.types("22-history", &["history"], 0);
    ana.types("23-why-unknown", &["why", "99"], 2);
    ana.types("24-down-needs-a-yes", &["down"], 3);
    assert!(ana.body().starts_with("Good day from release 5"), "it was refused");
    ana.types("25-down", &["down", "-y"], 0);
    assert!(http::get(&ana.url, "/").is_err(), "nothing answers");
    eventually("every process is gone", || ana.project.processes().is_empty().then_some(()));
    ana.types("26-status-down", &["status"], 0);
    ana.types("27-rollback-down", &["rollback"], 3);
    ana.types("28-down-again", &["down", "-y"], 0);
    assert!(ana.project.processes().is_empty(), "looking started nothing");
}

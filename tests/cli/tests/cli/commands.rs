//! `exec`, `run` and `task`: what people run in the release that serves.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::Child;

use onward_cli_tests::{Project, ended, eventually, has};
use serde_json::{Value, json};

const TASKS: &str = r#"
[task.greet]
run = "echo $GREETING"
description = "says what it was told to say"
[values]
GREETING = "hello"
[release]
watch = "100ms"
"#;

fn up() -> Project {
    let project = Project::prebuilt_hello(TASKS);
    project.run(&["up"]).code_is(0);
    project
}

/// What people run now.
fn runs(project: &Project) -> Vec<Value> {
    project.status()["runs"].as_array().cloned().unwrap_or_default()
}

fn runs_line(project: &Project, text: &str) -> bool {
    project.processes().iter().any(|(_, line)| line.contains(text))
}

/// Starts a command and waits for the first line that it prints.
fn started(project: &Project, arguments: &[&str]) -> Child {
    let mut child = project.start(arguments);
    let mut line = String::new();
    let out = child.stdout.as_mut().expect("it is piped");
    BufReader::new(out).read_line(&mut line).expect("its output can be read");
    assert_eq!(line, "started\n");
    child
}

#[test]
fn exit_codes_and_output_pass_through() {
    let project = up();
    let exec = project.run(&["exec", "echo out $PORT; echo err >&2; exit 7"]).code_is(7);
    let port = exec.stdout.trim().strip_prefix("out ").expect("its output alone");
    assert!(port.parse::<u16>().is_ok_and(|port| port > 0), "{port}: that of the web process");
    assert_eq!(exec.stderr, "err\n", "and nothing of ours");

    let run = project.run(&["run", "pwd; echo $GREETING $ONWARD_RELEASE ${PORT-none}"]).code_is(0);
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert!(lines[0].ends_with("/releases/1"), "{lines:?}");
    assert_eq!(lines[1], "hello 1 none", "the port belongs to the process");

    let words = project.run(&["run", "printf", "%s|", "a b", "$(reboot)", "--help"]).code_is(0);
    assert_eq!(words.stdout, "a b|$(reboot)|--help|", "words are never read by a shell");
    project.run(&["run", "kill -9 $$"]).code_is(137);
    project.run(&["run", "no-such-program"]).code_is(127);

    let lines = project.run(&["--json", "run", "echo one; echo two >&2; exit 3"]).code_is(3);
    let finished = lines.finished();
    assert_eq!((&finished["ok"], &finished["status"]), (&json!(false), &json!(3)));
    let events: Vec<Value> =
        lines.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    for (stream, text) in [("stdout", "one"), ("stderr", "two")] {
        let line = json!({"event": "line", "stream": stream, "text": text});
        assert!(events.contains(&line), "{events:?}");
    }
}

#[test]
fn input_goes_there_and_comes_back_whole() {
    let project = up();
    let text = "0123456789abcdef\n".repeat(1 << 17);
    project.write("input", &text);
    let input = fs::File::open(project.path().join("input")).expect("open the input");
    let back = project.command(&["run", "cat"]).stdin(input).output().expect("the binary runs");
    assert!(back.status.success(), "{}", String::from_utf8_lossy(&back.stderr));
    let same = back.stdout == text.as_bytes();
    assert!(same, "{} of {} bytes came back", back.stdout.len(), text.len());
}

#[test]
fn what_cannot_be_run_is_refused_and_named() {
    let project = Project::prebuilt_hello(TASKS);
    let nothing = project.run(&["run", "true"]);
    assert_ne!(nothing.code, Some(0));
    assert!(nothing.stderr.contains("nothing has been released"), "{}", nothing.stderr);
    project.run(&["up"]).code_is(0);
    for (arguments, code, words) in [
        (&["exec", "--process", "nope", "true"][..], 3, "no process `nope` here; it has web"),
        (&["run", "--server", "nope", "true"], 2, "there is no server `nope`; there is local"),
        (&["task", "nope"], 2, "no task `nope`; there is greet"),
        (&["exec"], 2, "<CMD>"),
    ] {
        let refused = project.run(arguments).code_is(code);
        assert!(refused.stderr.contains(words), "{arguments:?}: {}", refused.stderr);
    }
}

#[test]
fn tasks_are_listed_and_run_with_arguments() {
    let project = up();
    let list = project.run(&["task"]).code_is(0);
    assert!(list.stdout.contains("greet  says what it was told to say"), "{}", list.stdout);
    let json = project.run(&["task", "--json"]).code_is(0).json();
    assert_eq!(json["tasks"][0]["name"], "greet");
    let greet = project.run(&["task", "greet", "--", "a b", "$(reboot)"]).code_is(0);
    assert_eq!(greet.stdout, "hello a b $(reboot)\n");
    // A task that is only in the file runs with the next release.
    let file = fs::read_to_string(project.path().join("onward.toml")).expect("a file");
    project.write("onward.toml", &format!("{file}[task.later]\nrun = \"true\"\n"));
    let later = project.run(&["task", "later"]).code_is(2);
    assert!(later.stderr.contains("later"), "{}", later.stderr);
    project.run(&["deploy", "--force"]).code_is(0);
    project.run(&["task", "later"]).code_is(0);
}

#[test]
fn ctrl_c_goes_to_the_command_and_its_answer_is_ours() {
    let project = up();
    let command = "trap 'echo asked; exit 5' INT; echo started; while :; do sleep 0.05; done";
    let child = started(&project, &["run", command]);
    Project::interrupt(child.id());
    let child = ended(child, || {}).code_is(5);
    assert_eq!(child.stdout, "asked\n", "{}", child.stderr);
    assert!(runs(&project).is_empty());
}

#[test]
fn a_terminal_here_is_a_terminal_there() {
    if !has("script") {
        eprintln!("skipped: there is no `script` to make a terminal with");
        return;
    }
    let project = up();
    // dash loses a signal that comes while it starts another program, so it becomes that program.
    let there = "tty; echo $TERM; echo started; exec sleep 60";
    let mut script = project.in_terminal(&format!("exec '{there}'"));
    let mut child = script.spawn().expect("script runs");
    let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut seen = String::new();
    while !seen.contains("started") {
        assert_ne!(out.read_line(&mut seen).expect("its output can be read"), 0, "{seen}");
    }
    assert!(seen.contains("/dev/pts/") && seen.contains("xterm-test"), "{seen}");
    // Ctrl-C is a key: the terminal there makes the signal.
    child.stdin.as_mut().expect("it is piped").write_all(b"\x03").expect("it is typed");
    assert_eq!(ended(child, || {}).code, Some(130));
}

#[test]
fn a_killed_client_ends_what_it_ran_and_nothing_else() {
    let project = up();
    project.run(&["run", "--detach", "exec sleep 4322"]).code_is(0);
    let mut child = started(&project, &["run", "echo started; sleep 4321 & wait"]);
    eventually("it runs", || runs_line(&project, "sleep 4321").then_some(()));
    Project::kill(child.id());
    child.wait().expect("it is gone");
    eventually("what it ran is gone", || (!runs_line(&project, "sleep 4321")).then_some(()));
    eventually("and reported so", || (runs(&project).len() == 1).then_some(()));
    assert!(runs_line(&project, "sleep 4322"), "what was left running goes on");
}

#[test]
fn a_killed_agent_ends_what_somebody_stayed_with_and_adopts_the_rest() {
    let project = up();
    let marker = project.path().join("go");
    let line =
        format!("echo begun; until test -e {}; do sleep 0.05; done; exit 6", marker.display());
    let detached = project.run(&["--json", "run", "--detach", &line]).code_is(0).finished();
    assert_eq!(detached["name"], "run.1");
    let child = started(&project, &["run", "echo started; exec sleep 4321"]);
    Project::kill(project.pid_of("agent").expect("an agent runs"));
    let child = ended(child, || {}).code_is(1);
    assert!(child.stderr.contains("the connection to the command was lost"), "{}", child.stderr);

    let left = runs(&project);
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!((&left[0]["name"], &left[0]["attached"]), (&json!("run.1"), &json!(false)));
    eventually("the other is gone", || (!runs_line(&project, "sleep 4321")).then_some(()));
    fs::write(marker, "").expect("let it end");
    let log = eventually("its end is in its log", || {
        let log = project.run(&["logs", "--process", "run.1"]).code_is(0).stdout;
        log.contains("run.1 exited").then_some(log)
    });
    assert!(log.contains("begun"), "{log}");
    assert!(log.contains("run.1 exited with status 6"), "{log}");
    assert!(runs(&project).is_empty());
}

#[test]
fn a_deploy_does_not_end_what_people_run() {
    let project = up();
    let mut child = started(&project, &["run", "echo started; exec sleep 4327"]);
    project.write("change.txt", "a change\n");
    project.run(&["deploy"]).code_is(0);
    assert_eq!(runs(&project).len(), 1);
    assert_eq!(child.try_wait().expect("it can be asked"), None);
    Project::kill(child.id());
    child.wait().expect("it is gone");
}

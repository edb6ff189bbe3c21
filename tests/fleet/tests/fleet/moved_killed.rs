//! `move manager`, whose command is killed before each of its requests, and the old manager's power cut
//! then: one server has the state, and all of it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use onward::providers::nspawn::ServerSpec;
use onward_cli_tests::has;
use onward_fleet_tests::{Line, is_long, server};
use serde_json::Value;

const SERVERS: &str = "{ name = \"front\", roles = [\"balancer\", \"manager\"] }, \
                       { name = \"one\", roles = [\"web\"] }";
const STATE: &str = "/var/lib/onward/state/hello/lab";
/// More requests than moving a state takes, with as many generations as here.
const REQUESTS_MAX: usize = 200;

/// What is in the place of the document on a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Empty,
    Document,
    /// It is to be filled, and nobody may write there.
    Arriving,
    /// It is closed, and says where the state went.
    Moved,
}

fn place(line: &Line, name: &str) -> Place {
    let text = line.run(name, &format!("cat {STATE}/state.json 2> /dev/null || true"));
    let value: Value = serde_json::from_str(&text).unwrap_or_default();
    match () {
        () if value["schema"].is_number() => Place::Document,
        () if !value["arriving"].is_null() => Place::Arriving,
        () if !value["moved"].is_null() => Place::Moved,
        () => Place::Empty,
    }
}

/// The generations that a server has.
fn generations(line: &Line, name: &str) -> BTreeSet<String> {
    let text = line.run(name, &format!("ls {STATE}/history"));
    text.lines().map(str::to_owned).collect()
}

/// Runs the move, killed before its `n`-th request; whether it was. Requests are sent by the first thread
/// alone, which is the only one that is traced.
fn killed_at(line: &Line, n: usize) -> bool {
    let command = line.project.command(&["move", "manager", "one"]);
    let mut traced = Command::new("strace");
    traced.env_clear();
    traced.args(["-qq", "-o", "/dev/null", "-e", "trace=sendto", "-e"]);
    traced.arg(format!("inject=sendto:signal=KILL:when={n}"));
    traced.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => traced.env(name, value),
            None => traced.env_remove(name),
        };
    }
    traced.current_dir(command.get_current_dir().unwrap_or(Path::new(".")));
    let output = traced.output().expect("strace runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // It dies of what its program dies of.
    let is_killed = std::os::unix::process::ExitStatusExt::signal(&output.status) == Some(9);
    assert!(is_killed || output.status.success(), "before request {n}: {output:?} {said}");
    is_killed
}

#[test]
fn a_move_that_is_killed_anywhere_leaves_one_state_and_all_of_it() {
    if !has("strace") {
        eprintln!("LEFT OUT: a command that is killed at each request needs strace");
        return;
    }
    let Some(line) = Line::of_hello(SERVERS, "[release]\nwatch = \"100ms\"") else { return };
    line.onward(&["up"]);
    let mut before = generations(&line, "front");
    let mut seen = BTreeSet::new();
    let (first, step) = if is_long() { (1, 1) } else { (21, 9) };
    for n in (first..REQUESTS_MAX).step_by(step) {
        let is_killed = killed_at(&line, n);
        let places = [place(&line, "front"), place(&line, "one")];
        eprintln!("before request {n}: {places:?}");
        assert_ne!(places, [Place::Document; 2], "before request {n}");
        seen.insert(places);
        if !is_killed {
            break;
        }
        if is_long() || places[1] == Place::Arriving {
            line.lab().power_cut(&server("front")).expect("cut");
            line.lab().up(&[ServerSpec::of(server("front"))], &|_| {}).expect("it boots");
        }
        let status = line.project.status();
        assert_eq!(status["release"]["number"], 1, "before request {n}: {status:#}");
        before = one_has_everything(&line, &before);
    }
    line.onward(&["move", "manager", "one"]);
    assert_eq!([place(&line, "front"), place(&line, "one")], [Place::Moved, Place::Document]);
    one_has_everything(&line, &before);
    assert!(seen.contains(&[Place::Document, Place::Arriving]), "a control: {seen:?}");
    if is_long() {
        assert!(seen.contains(&[Place::Moved, Place::Arriving]), "a control: {seen:?}");
    }
    assert_eq!(line.settled(), 1);
}

/// Exactly one server has the document, with every generation that there was. Returns those that it has.
fn one_has_everything(line: &Line, before: &BTreeSet<String>) -> BTreeSet<String> {
    let has = |name: &&str| place(line, name) == Place::Document;
    let holders: Vec<&str> = ["front", "one"].into_iter().filter(has).collect();
    let [holder] = holders[..] else { panic!("{holders:?} have the state") };
    let after = generations(line, holder);
    let lost: Vec<_> = before.difference(&after).collect();
    assert!(lost.is_empty(), "{holder} lacks {lost:?}");
    after
}

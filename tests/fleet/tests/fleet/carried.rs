//! What a command leaves in the middle, the manager carries on, and nobody types anything.

use std::io::{BufRead, BufReader};
use std::process::Child;
use std::time::{Duration, Instant};

use onward::providers::nspawn::{Cut, End, ServerSpec};
use onward_cli_tests::{Project, ended, ended_within, within};
use onward_core::model::ServerName;
use onward_fleet_tests::Line;
use onward_fleet_tests::load::Connection;
use serde_json::Value;

const SERVERS: &str = "{ name = \"front\", roles = [\"balancer\", \"manager\"] }, \
                       { name = \"one\", roles = [\"web\", \"worker\"] }, \
                       { name = \"two\", roles = [\"web\"] }";
/// Every phase takes so long that a command can be killed in it.
const PHASES: &str = "[process.worker]\nrun = \"sleep 1000\"\n\
                      [release]\nrun = \"sleep 0.3\"\ncheck = \"sleep 0.3\"\nwatch = \"1s\"\n";
/// From the cut to the end of the command: a silence that `ssh` takes for the end of its connection
/// (16 s), and one attempt to connect anew (10 s), on a machine that may be busy.
const GIVES_UP_WITHIN: Duration = Duration::from_secs(60);
/// From the end of the command to the end of its operation, the rest of every phase included.
const CARRIED_WITHIN: Duration = Duration::from_secs(15);
/// From the moment at which a server has booted again.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(10);

fn name(text: &str) -> ServerName {
    text.parse().expect("a name")
}

/// Starts a deploy and returns when it is in a phase.
#[expect(clippy::zombie_processes, reason = "whoever gets it waits for it, or kills it")]
fn deploy_until(line: &Line, phase: &str) -> Child {
    line.project.write("change.txt", &format!("{phase} {:?}\n", Instant::now()));
    let mut child = line.project.start(&["deploy", "--json"]);
    let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
    loop {
        let mut text = String::new();
        let count = output.read_line(&mut text).expect("lines");
        assert!(count > 0, "the deploy came to the phase {phase}");
        let event: Value = serde_json::from_str(&text).expect("one object a line");
        if event["event"] == "phase" && event["phase"] == phase {
            // One that lives on must not die of nobody reading.
            child.stdout = Some(output.into_inner());
            return child;
        }
    }
}

/// Waits until nothing is in flight on the manager; the document, and how long that took.
fn carried(line: &Line, limit: Duration) -> (Value, Duration) {
    within(limit, "nothing is in flight", || {
        let document = line.document("front");
        document["operation"].is_null().then_some(document)
    })
}

fn release(address: &str) -> Option<u64> {
    Connection::to(address).get("/").ok().map(|(answer, _)| answer.release)
}

#[test]
fn a_deploy_whose_command_is_killed_in_any_phase_is_carried_on() {
    let Some(line) = Line::of_hello(SERVERS, PHASES) else { return };
    line.onward(&["up"]);
    let visitors = line.visitors("front");
    let phases = ["stage", "command", "start", "check", "switch", "exchange", "watch"];
    for (phase, number) in phases.into_iter().zip(2..) {
        let child = deploy_until(&line, phase);
        Project::kill(child.id());
        let (document, took) = carried(&line, CARRIED_WITHIN);
        eprintln!("killed in {phase}: carried on within {took:.1?}");
        ended(child, || {});
        assert_eq!(document["serving"], number, "{phase}");
        let last = document["history"].as_array().and_then(|all| all.last()).expect("it ended");
        assert_eq!(last["outcome"], "done", "{phase}: {last}");
    }
    let seen = visitors.end();
    assert!(seen.losses.is_empty(), "{:?}", seen.reasons());
    assert!(seen.answers.iter().any(|answer| answer.release == 8), "a control");
}

#[test]
fn a_deploy_is_carried_on_when_its_command_is_cut_off_and_when_the_manager_boots_again() {
    let Some(line) = Line::of_hello(SERVERS, PHASES) else { return };
    line.onward(&["up"]);
    let front = End::Server(name("front"));
    let child = deploy_until(&line, "start");
    for (from, to) in [(End::Host, front.clone()), (front, End::Host)] {
        line.lab().cut(Cut { from, to }).expect("cut");
    }
    // The command has to give up as well, which is the control of the cut.
    let outcome = ended_within(GIVES_UP_WITHIN, child, || {}).code_is(4);
    eprintln!("the command that was cut off ended after {:.1?}", outcome.took);
    assert!(outcome.stdout.contains("the manager carries it on by itself"), "{outcome:?}");
    let healed = jiff::Timestamp::now();
    line.lab().heal().expect("healed");
    let (document, _) = carried(&line, CARRIED_WITHIN);
    assert_eq!(document["serving"], 2);
    let written: jiff::Timestamp =
        document["written"].as_str().and_then(|text| text.parse().ok()).expect("a time");
    assert!(written < healed, "carried on while the command was cut off");

    let child = deploy_until(&line, "check");
    line.lab().power_cut(&name("front")).expect("cut");
    Project::kill(child.id());
    ended(child, || {});
    line.lab().up(&[ServerSpec::of(name("front"))], &|_| {}).expect("it boots");
    let (document, took) = carried(&line, CARRIED_WITHIN);
    eprintln!("the manager's power was cut: carried on {took:.1?} after it had booted");
    assert_eq!(document["serving"], 3);
}

#[test]
fn a_server_that_was_left_out_catches_up_when_it_is_back() {
    let Some(line) = Line::of_hello(SERVERS, "[release]\nwatch = \"1s\"") else { return };
    line.onward(&["up"]);
    let two = line.address("two");
    assert_eq!(release(&two), Some(1));
    line.lab().power_cut(&name("two")).expect("cut");
    line.project.write("change.txt", "a change\n");
    line.project.run(&["deploy", "--without", "two"]).code_is(4);
    assert_eq!(line.document("front")["behind"], serde_json::json!(["two"]));

    line.lab().up(&[ServerSpec::of(name("two"))], &|_| {}).expect("it boots");
    let new = || (release(&two) == Some(2)).then_some(());
    let ((), took) = within(CAUGHT_UP_WITHIN, "it catches up without a command", new);
    eprintln!("a server that was off caught up {took:.1?} after it had booted");
    let in_use = || line.document("front").get("behind").is_none().then_some(());
    within(CAUGHT_UP_WITHIN, "it gets requests again", in_use);
}

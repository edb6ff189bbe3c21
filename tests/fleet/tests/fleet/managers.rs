//! The state of an environment moves to another server, and there is one truth all the time.

use std::io::{BufRead, BufReader};

use onward_cli_tests::Project;
use onward_fleet_tests::{Line, is_long, server};
use serde_json::Value;

const SERVERS: &str = "{ name = \"front\", roles = [\"balancer\", \"manager\"] }, \
                       { name = \"one\", roles = [\"web\"] }, { name = \"two\", roles = [\"web\"] }";

/// What is in the place of the document on a server.
fn state_on(line: &Line, name: &str) -> Value {
    let text = line.run(name, "cat /var/lib/onward/state/hello/lab/state.json");
    serde_json::from_str(&text).expect("JSON")
}

fn is_document(value: &Value) -> bool {
    value["schema"].is_number()
}

#[test]
fn the_manager_moves_with_the_state_and_no_request_is_lost() {
    let Some(line) = Line::of_hello(SERVERS, "[release]\nwatch = \"1s\"") else { return };
    line.onward(&["up"]);
    let visitors = line.visitors("front");
    line.onward(&["move", "manager", "one"]);
    assert_eq!(state_on(&line, "front")["moved"]["to"], "server one");
    assert!(is_document(&state_on(&line, "one")));
    // The file still names the old one.
    let status = line.onward(&["status"]);
    assert!(status.stdout.contains("manager on one instead of front"), "{status:?}");
    line.project.write("change.txt", "a change\n");
    line.onward(&["deploy"]);
    assert_eq!(line.settled(), 2);
    assert_eq!(state_on(&line, "one")["serving"], 2);
    let seen = visitors.end();
    assert!(seen.losses.is_empty(), "{:?}", seen.reasons());
    assert!(seen.answers.len() > 50, "a control: {} answers", seen.answers.len());
    if is_long() {
        the_new_one_carries_on(&line);
        the_old_one_is_dead_and_replaced(&line);
        line.onward(&["up", "--reset"]);
        assert!(is_document(&state_on(&line, "front")), "the file's manager has it again");
        assert_eq!(state_on(&line, "one")["moved"]["to"], "server front");
    }
    line.onward(&["down", "-y", "--confirm", "lab"]);
}

/// The new manager reaches the others with its own key.
fn the_new_one_carries_on(line: &Line) {
    line.project.write("change.txt", "another change\n");
    let mut child = line.project.start(&["deploy", "--json"]);
    let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut text = String::new();
    while !text.contains("\"phase\":\"start\"") {
        text.clear();
        assert!(output.read_line(&mut text).expect("lines") > 0, "it starts");
    }
    Project::kill(child.id());
    child.wait().expect("ended");
    onward_fleet_tests::eventually("it is carried on", || {
        let document = state_on(line, "one");
        document["operation"].is_null() && document["serving"] == 3
    });
}

/// Nobody but the others knows where the state is.
fn the_old_one_is_dead_and_replaced(line: &Line) {
    line.lab().power_cut(&server("front")).expect("cut");
    let status = line.onward(&["status"]);
    assert!(status.stdout.contains("manager on one instead of front"), "{status:?}");
    line.onward(&["replace", "front", "-y"]);
    let status = line.onward(&["status"]);
    assert!(status.stdout.contains("manager on one instead of front"), "{status:?}");
    assert_eq!(line.settled(), 3);
}

/// The old manager goes in the same edit that names the new one: the state is taken along.
#[test]
fn a_manager_that_the_file_names_no_more_hands_the_state_over_before_it_goes() {
    let Some(line) = Line::of_hello(SERVERS, "[release]\nwatch = \"1s\"") else { return };
    line.onward(&["up"]);
    let before = line.document("front");
    let history = "ls /var/lib/onward/state/hello/lab/history";
    let generations = line.run("front", history);
    let visitors = line.visitors("two");
    let file = line.project.path().join("onward.toml");
    let text = std::fs::read_to_string(&file).expect("its file");
    let without = text.replace(
        SERVERS,
        "{ name = \"one\", roles = [\"balancer\", \"manager\", \"web\"] }, \
         { name = \"two\", roles = [\"web\"] }",
    );
    assert_ne!(text, without, "a control");
    line.project.write("onward.toml", &without);
    // Who only looks finds it where it still is.
    assert_eq!(line.project.status()["generation"], before["generation"]);
    let up = line.onward(&["up"]);
    assert!(up.stdout.contains("the state is on one now"), "{up:?}");
    let seen = visitors.end();
    assert!(seen.losses.is_empty(), "{:?}", seen.reasons());
    let after = state_on(&line, "one");
    assert!(is_document(&after));
    assert!(after["generation"].as_u64() > before["generation"].as_u64(), "{after:#}");
    let names: Vec<_> = after["servers"].as_object().expect("servers").keys().collect();
    assert_eq!(names, ["one", "two"]);
    assert!(after.get("gone").is_none(), "it is taken off front: {after:#}");
    // Nothing of its history is lost.
    let kept = line.run("one", history);
    assert!(generations.lines().all(|own| kept.lines().any(|kept| kept == own)), "{kept}");
    line.settled();
}

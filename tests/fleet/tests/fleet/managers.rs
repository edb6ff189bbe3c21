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
    assert!(seen.losses.is_empty(), "{:?}", seen.losses);
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

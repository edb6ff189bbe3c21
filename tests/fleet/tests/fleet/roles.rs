//! Roles move between real servers while people visit.

use onward_fleet_tests::Line;

#[test]
fn a_combined_server_is_split_and_no_request_is_lost() {
    let servers = "{ name = \"all\", roles = [\"balancer\", \"manager\", \"web\"] }, \
                   { name = \"two\", roles = [] }";
    let Some(line) = Line::of_hello(servers, "[release]\nwatch = \"1s\"") else { return };
    line.onward(&["up"]);
    let visitors = line.visitors("all");
    let moved = line.onward(&["move", "web", "two"]);
    assert!(moved.stdout.contains("web on two instead of all"), "{moved:?}");
    let there = line.onward(&["status", "--json"]);
    let seen = visitors.end();
    assert!(seen.losses.is_empty(), "{:?}", seen.reasons());
    assert!(seen.answers.len() > 50, "a control: {} answers", seen.answers.len());
    let place = "\"server\": \"two\"";
    assert!(there.stdout.contains(place), "{there:?}");
    assert!(!there.stdout.contains("\"server\": \"all\""), "{there:?}");

    // It wins over the file, until the file's is asked for.
    line.onward(&["up"]);
    assert!(line.onward(&["status"]).stdout.contains("Moved      by hand: web on two"));
    line.onward(&["up", "--reset"]);
    assert!(!line.onward(&["status"]).stdout.contains("Moved"));
    line.onward(&["down", "-y", "--confirm", "lab"]);
}

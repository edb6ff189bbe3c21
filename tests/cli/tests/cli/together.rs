//! Two people at once.

use onward_cli_tests::{Project, ended};
use serde_json::Value;

#[test]
fn two_deploys_at_once_both_end_truly_and_are_both_in_the_history() {
    let project = Project::prebuilt_hello("[release]\nwatch = \"500ms\"\n");
    project.run(&["up"]).code_is(0);
    for _ in 0..3 {
        let arguments = ["deploy", "--force", "--json"];
        let (one, other) = (project.start(&arguments), project.start(&arguments));
        let outcomes = [ended(one, || {}), ended(other, || {})];
        let history = project.run(&["history", "--json"]).code_is(0).json();
        for outcome in outcomes {
            let said = outcome.finished();
            let kept = operation(&history, &said["operation"]);
            let was_done = kept["outcome"] == "done";
            assert_eq!(said["outcome"] == "done", was_done, "{said} and {kept}");
            assert_eq!(outcome.code, Some(i32::from(!was_done)), "{said}");
            assert_eq!(said["release"], kept["release"]);
        }
        let status = project.status();
        assert_eq!(status["operation"], Value::Null);
        let latest = &history["operations"][0];
        assert_eq!(status["release"]["number"], latest["release"], "the later one serves");
    }
    let history = project.run(&["history", "--json"]).code_is(0).json();
    assert_eq!(history["operations"].as_array().map(Vec::len), Some(7));
}

fn operation(history: &Value, number: &Value) -> Value {
    let operations = history["operations"].as_array().expect("a list");
    let own = operations.iter().find(|operation| operation["number"] == *number);
    own.unwrap_or_else(|| panic!("operation {number} is in {history}")).clone()
}

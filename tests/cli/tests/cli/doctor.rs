//! `doctor` finds what would make a deploy fail, and changes nothing.

use onward_cli_tests::Project;
use serde_json::Value;

fn verdict(found: &Value, name: &str) -> String {
    let checks = found["checks"].as_array().expect("a list of checks");
    let own = checks.iter().find(|check| check["name"] == name);
    own.map_or_else(|| "absent".to_owned(), |own| own["verdict"].to_string().replace('"', ""))
}

#[test]
fn a_project_in_order_is_fine_and_left_as_it_is() {
    let project = Project::empty();
    project.write("public/index.html", "<h1>here</h1>");
    project.write("onward.toml", "app = \"site\"\n[process.web]\nstatic = \"public\"\n");
    let found = project.run(&["doctor", "--json"]).code_is(0).json();
    assert_eq!(found["ok"], true);
    for name in ["disk", "loopback", "project", "agent", "state"] {
        assert_eq!(verdict(&found, name), "fine", "{name} in {found}");
    }
    assert!(!project.path().join(".onward").exists(), "nothing is made");
}

#[test]
fn what_is_missing_or_damaged_is_named_with_what_to_do() {
    let project = Project::empty();
    let missing = project.run(&["doctor"]).code_is(1);
    assert!(missing.stdout.contains("`onward init` writes an onward.toml"), "{}", missing.stdout);

    project
        .write("onward.toml", "app = \"shop\"\n[process.web]\nrun = \"no-such-program --now\"\n");
    let found = project.run(&["doctor", "--json"]).code_is(0).json();
    assert_eq!(verdict(&found, "programs"), "warning");

    project.write(".onward/state/shop/local/state.json", "{ this is not a document");
    let damaged = project.run(&["doctor", "--json"]).code_is(1).json();
    assert_eq!(verdict(&damaged, "state"), "broken");
}

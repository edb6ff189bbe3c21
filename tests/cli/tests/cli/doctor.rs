//! `doctor` finds what would make a deploy fail, and changes nothing.

use onward_cli_tests::{Project, eventually};
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

#[test]
fn secrets_that_only_one_person_can_read_are_named() {
    let project = Project::prebuilt_hello("[secrets]\nnames = [\"KEY\"]\n");
    project.run_with("a value", &["secret", "set", "KEY"]).code_is(0);
    project.run(&["up"]).code_is(0);
    let found = project.run(&["doctor", "--json"]).code_is(0).json();
    assert_eq!(verdict(&found, "secrets"), "warning", "{found}");
    let other = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
    project.run(&["secret", "share", other, "--name", "ben"]).code_is(0);
    let found = project.run(&["doctor", "--json"]).code_is(0).json();
    assert_eq!(verdict(&found, "secrets"), "fine", "{found}");
}

#[test]
fn each_of_several_servers_is_looked_at() {
    let project = Project::prebuilt_hello("[environment.local]\ncount = 2\n");
    project.run(&["up"]).code_is(0);
    let agents = || {
        let found = project.run(&["doctor", "--json"]).code_is(0).json();
        let checks = found["checks"].as_array().expect("a list of checks").clone();
        let of_agents = checks.iter().filter(|check| check["name"] == "agent");
        of_agents.map(|check| (check["text"].clone(), check["verdict"].clone())).collect::<Vec<_>>()
    };
    let all = agents();
    assert_eq!(all.len(), 2, "{all:?}");
    for ((text, verdict), place) in all.iter().zip(["local: onward ", "local-2: onward "]) {
        assert!(text.as_str().is_some_and(|text| text.starts_with(place)), "{text}");
        assert_eq!(verdict, "fine");
    }
    let agent = project.pid_of("agent").expect("an agent runs");
    Project::kill(agent);
    eventually("it is gone", || (project.pid_of("agent") != Some(agent)).then_some(()));
    assert!(agents().iter().any(|(_, verdict)| verdict == "warning"), "{:?}", agents());
}

//! The line: up, an edit, deploy, rollback, status, down, on copies of the examples.

use std::path::Path;

use onward_cli_tests::{Project, eventually, http};

fn body(url: &str) -> String {
    http::get(url, "/").expect("the address answers").body
}

#[test]
fn hello_goes_up_changes_goes_back_and_is_gone_after_down() {
    let project = Project::copy_of("hello");
    let up = project.run(&["up", "--json"]).code_is(0).finished();
    let url = up["url"].as_str().expect("up ends with an address").to_owned();
    assert!(body(&url).contains("release 1"), "{}", body(&url));

    edit(&project, "src/main.rs", "Hello", "Good day");
    let deploy = project.run(&["deploy", "--json"]).code_is(0).finished();
    assert_eq!(deploy["url"], url.as_str(), "the address is kept");
    assert!(body(&url).contains("Good day"), "{}", body(&url));

    project.run(&["rollback"]).code_is(0);
    assert!(body(&url).contains("Hello"), "{}", body(&url));
    assert_eq!(project.status()["release"]["number"], 1);

    let down = project.run(&["down", "-y"]).code_is(0);
    assert!(down.stdout.contains("down"), "{}", down.stdout);
    assert!(http::get(&url, "/").is_err(), "nothing answers after down");
    eventually("every process is gone", || project.processes().is_empty().then_some(()));
    let again = project.run(&["up", "--json"]).code_is(0).finished();
    assert_eq!(again["url"], url.as_str(), "the address is kept over down and up");
}

#[test]
fn what_already_runs_is_no_new_release() {
    let project = Project::prebuilt_hello("");
    project.run(&["up"]).code_is(0);
    let again = project.run(&["up", "--json"]).code_is(0).finished();
    assert_eq!(again["outcome"], "unchanged");
    assert_eq!(project.status()["release"]["number"], 1);
    let forced = project.run(&["up", "--force", "--json"]).code_is(0).finished();
    assert_eq!(forced["release"], 2);
}

#[test]
fn node_says_hello() {
    if !Path::new("/usr/bin/node").exists() && !Path::new("/usr/local/bin/node").exists() {
        eprintln!("LEFT OUT: Node.js is missing");
        return;
    }
    let project = Project::copy_of("node");
    let up = project.run(&["up", "--json"]).code_is(0).finished();
    let url = up["url"].as_str().expect("up ends with an address");
    assert!(body(url).contains("Hello"), "{}", body(url));
}

#[test]
fn visits_counts_over_releases_and_restarts() {
    let project = Project::copy_of("visits");
    let up = project.run(&["up", "--json"]).code_is(0).finished();
    let url = up["url"].as_str().expect("up ends with an address").to_owned();
    for _ in 0..3 {
        body(&url);
    }
    project.run(&["deploy", "--force"]).code_is(0);
    let pid = project.status()["processes"][0]["pid"].as_u64().expect("a process runs");
    Project::kill(u32::try_from(pid).expect("a process id"));
    let text = eventually("it answers again", || http::get(&url, "/").ok()).body;
    assert!(text.contains('4'), "the visits of both releases count: {text}");
    assert_eq!(http::get(&url, "/up").expect("the probe answers").status, 200);
}

#[test]
fn init_writes_a_file_that_goes_up() {
    let project = Project::empty();
    project.write("index.html", "<h1>static</h1>");
    project.run(&["init"]).code_is(0);
    project.run(&["check"]).code_is(0);
    let up = project.run(&["up", "--json"]).code_is(0).finished();
    assert!(body(up["url"].as_str().expect("an address")).contains("static"));
    project.run(&["init"]).code_is(3);
}

fn edit(project: &Project, file: &str, from: &str, to: &str) {
    let path = project.path().join(file);
    let text = std::fs::read_to_string(&path).expect("read the file");
    assert!(text.contains(from), "{file} has {from}");
    project.write(file, &text.replace(from, to));
}

//! `secret set`, killed at every system call that changes something: the old value or the new one.

use std::fs;
use std::path::Path;

use onward_cli_tests::Project;
use onward_testkit::killed;

fn project() -> Project {
    let project = Project::empty();
    project.write(
        "onward.toml",
        "app = \"trial\"\n[process.web]\nrun = \"true\"\n[secrets]\nnames = [\"TOKEN\"]\n",
    );
    project
}

/// The arguments of `env` that run the command as a person of the project does.
fn arguments(project: &Project) -> Vec<String> {
    let home = project.path().parent().expect("a parent").display().to_string();
    let binary = onward_cli_tests::binary().display().to_string();
    let directory = project.path().display().to_string();
    let value = project.path().join("value").display().to_string();
    vec![
        format!("HOME={home}"),
        format!("XDG_RUNTIME_DIR={home}/run"),
        "XDG_CONFIG_HOME=".to_owned(),
        "ONWARD_KEY=".to_owned(),
        binary,
        "-C".to_owned(),
        directory,
        "secret".to_owned(),
        "set".to_owned(),
        "TOKEN".to_owned(),
        "--file".to_owned(),
        value,
    ]
}

fn kill_everywhere(project: &Project, prepare: &dyn Fn(), check: &dyn Fn(&str)) {
    let arguments = arguments(project);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let kills = killed::at_every_call(Path::new("/usr/bin/env"), &arguments, prepare, check);
    assert!(kills > 20, "only {kills} kills");
}

#[test]
fn a_later_value_is_there_whole_or_not_at_all() {
    if !killed::can_trace() {
        return;
    }
    let project = project();
    project.write("value", "value 0");
    project.run(&["secret", "set", "TOKEN", "--file", "value"]).code_is(0);
    let turn = std::cell::Cell::new(0);
    let prepare = || {
        turn.set(turn.get() + 1);
        fs::write(project.path().join("value"), format!("value {}", turn.get())).expect("write");
    };
    let last = std::cell::RefCell::new("value 0".to_owned());
    let check = |what: &str| {
        let now = project.run(&["secret", "get", "TOKEN"]).code_is(0).stdout;
        let new = format!("value {}", turn.get());
        assert!(now == *last.borrow() || now == new, "{what}: {now} after {}", last.borrow());
        last.replace(now);
    };
    kill_everywhere(&project, &prepare, &check);
}

#[test]
fn the_first_value_with_both_keys_is_there_whole_or_not_at_all() {
    if !killed::can_trace() {
        return;
    }
    let project = project();
    project.write("value", "the first value");
    let remove = |path: &Path| {
        if path.exists() {
            fs::remove_dir_all(path).expect("remove");
        }
    };
    let config = project.path().parent().expect("a parent").join(".config");
    let prepare = || {
        remove(&config);
        remove(&project.path().join(".onward"));
    };
    let check = |what: &str| {
        let again = project.run(&["secret", "set", "TOKEN", "--file", "value"]);
        assert_eq!(again.code, Some(0), "{what}: {}", again.stderr);
        let get = project.run(&["secret", "get", "TOKEN"]);
        assert_eq!(get.stdout, "the first value", "{what}: {}", get.stderr);
    };
    kill_everywhere(&project, &prepare, &check);
}

//! `[hooks]`: the project's own commands around an operation.

use std::fs;

use onward_cli_tests::{Project, eventually};

/// Hooks that write their name and what they are told into a file beside the project.
fn telling(project: &Project, points: &[&str]) -> String {
    let told = told(project);
    let hook = |point: &&str| {
        format!(
            "{point} = \"env | grep ^ONWARD_ | sort | tr '\\\\n' ' ' >> {told}; echo >> {told}\"\n"
        )
    };
    points.iter().map(hook).collect()
}

fn told(project: &Project) -> String {
    project.path().parent().expect("a parent").join("told").display().to_string()
}

/// What the hooks wrote, and nothing of it again.
fn lines(project: &Project) -> Vec<String> {
    let text = fs::read_to_string(told(project)).unwrap_or_default();
    let _ = fs::remove_file(told(project));
    text.lines().map(str::to_owned).collect()
}

fn names(lines: &[String]) -> Vec<&str> {
    let name = |line: &'_ String| -> usize { line.find("ONWARD_HOOK=").map_or(0, |at| at + 12) };
    lines.iter().map(|line| line[name(line)..].split(' ').next().unwrap_or_default()).collect()
}

fn file(project: &Project, hooks: &str) {
    project.write(
        "onward.toml",
        &format!(
            "app = \"hello\"\n[process.web]\nrun = \"./hello\"\nprobe = {{ path = \"/\" }}\n\
             [build]\nrun = \"true\"\n[release]\nwatch = \"100ms\"\n[hooks]\n{hooks}"
        ),
    );
}

fn project(hooks: impl Fn(&Project) -> String) -> Project {
    let project = Project::prebuilt_hello("");
    file(&project, &hooks(&project));
    project
}

const ALL: [&str; 7] = [
    "before_build",
    "after_build",
    "before_release",
    "before_switch",
    "after_switch",
    "after_release",
    "on_failure",
];

#[test]
fn each_runs_once_in_its_order_and_is_told_what_it_is_about() {
    let project = project(|project| telling(project, &ALL));
    project.run(&["up"]).code_is(0);
    let first = lines(&project);
    assert_eq!(names(&first), &ALL[..6], "{first:#?}");
    for (line, words) in [
        (&first[0], &["ONWARD_APP=hello ", "ONWARD_ENVIRONMENT=local "][..]),
        (
            &first[2],
            &[
                "ONWARD_KIND=deploy ",
                "ONWARD_RELEASE=1 ",
                "ONWARD_OPERATION=1 ",
                "ONWARD_DIGEST=",
                "ONWARD_LABEL=",
                "ONWARD_BY=ana ",
                "ONWARD_URL=http://",
            ],
        ),
        (&first[5], &["ONWARD_OUTCOME=done ", "ONWARD_SERVING=1 "]),
    ] {
        for word in words {
            assert!(line.contains(word), "{word} in {line}");
        }
    }
    assert!(!first[2].contains("ONWARD_PREVIOUS"), "nothing served before: {}", first[2]);

    // Nothing new: nothing is released, so only the build has hooks.
    project.run(&["deploy"]).code_is(0);
    assert_eq!(names(&lines(&project)), ["before_build", "after_build"]);

    project.write("change.txt", "a change\n");
    project.run(&["deploy"]).code_is(0);
    let second = lines(&project);
    assert!(second[2].contains("ONWARD_PREVIOUS=1 "), "{}", second[2]);
    project.run(&["rollback"]).code_is(0);
    let back = lines(&project);
    assert_eq!(names(&back), &ALL[2..6], "a rollback builds nothing");
    assert!(back[0].contains("ONWARD_KIND=rollback "), "{}", back[0]);
}

#[test]
fn one_that_fails_before_stops_what_follows() {
    for (point, operations) in
        [("before_build", 1), ("after_build", 1), ("before_release", 1), ("before_switch", 2)]
    {
        let project = project(|_| String::new());
        project.run(&["up"]).code_is(0);
        let failing = format!("{point} = \"echo not on a Friday >&2; exit 3\"\n");
        file(&project, &(failing + &telling(&project, &["on_failure", "after_switch"])));
        project.write("change.txt", "a change\n");
        let deploy = project.run(&["deploy", "-q"]).code_is(1);
        let words = format!("the hook `{point}` ended with status 3");
        assert!(deploy.stderr.contains(&words), "{}", deploy.stderr);
        assert!(deploy.stderr.contains("not on a Friday"), "what it printed: {}", deploy.stderr);
        let last = deploy.stderr.lines().last().unwrap_or_default();
        assert!(last.starts_with("Still serving: release 1 "), "{}", deploy.stderr);
        let told = lines(&project);
        assert_eq!(names(&told), ["on_failure"], "{point}");
        assert!(told[0].contains("ONWARD_REASON=the hook"), "{}", told[0]);
        let history = project.run(&["history", "--json"]).code_is(0).json();
        let all = history["operations"].as_array().expect("operations");
        assert_eq!(all.len(), operations, "{point}: {history}");
        if operations == 2 {
            assert!(all[0].to_string().contains("the hook `before_switch` of ana"), "{}", all[0]);
        }
        assert_eq!(project.status()["release"]["number"], 1);
    }
}

#[test]
fn one_that_fails_afterwards_is_a_warning() {
    let project = project(|_| "after_switch = \"exit 3\"\nafter_release = \"exit 4\"\n".to_owned());
    let up = project.run(&["up"]).code_is(0);
    for words in ["`after_switch` ended with status 3", "`after_release` ended with status 4"] {
        assert!(up.stderr.contains(words), "{}", up.stderr);
    }
    assert_eq!(project.status()["release"]["number"], 1);
}

#[test]
fn one_that_hangs_is_ended_with_all_it_started() {
    let project = project(|_| String::new());
    project.run(&["up"]).code_is(0);
    file(
        &project,
        "within = \"1s\"\nbefore_switch = \"trap '' TERM; sleep 4323 & echo here; sleep 4324; sleep 4325\"\n",
    );
    let deploy = project.run(&["deploy"]).code_is(1);
    assert!(
        deploy.stderr.contains("`before_switch` ended with a time-out after 1s"),
        "{}",
        deploy.stderr
    );
    assert_eq!(project.status()["release"]["number"], 1);
    let left: Vec<_> =
        project.processes().into_iter().filter(|(_, line)| line.contains("sleep 432")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn what_it_prints_is_shown_as_it_comes() {
    use std::io::{BufRead, BufReader};
    let project = project(|project| {
        let go = project.path().parent().expect("a parent").join("go");
        format!(
            "before_release = \"echo first; until test -e {}; do sleep 0.05; done; echo second\"\n",
            go.display()
        )
    });
    let mut up = project.start(&["up"]);
    let mut err = BufReader::new(up.stdout.take().expect("it is piped"));
    let mut seen = String::new();
    while !seen.contains("before_release: first") {
        assert_ne!(err.read_line(&mut seen).expect("it can be read"), 0, "{seen}");
    }
    assert!(!seen.contains("before_release: second"), "{seen}");
    fs::write(project.path().parent().expect("a parent").join("go"), "").expect("let it go on");
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut err, &mut rest).expect("it can be read");
    assert!(rest.contains("before_release: second"), "{rest}");
    assert!(up.wait().expect("it ends").success());
}

#[test]
fn a_command_killed_in_its_hook_leaves_an_operation_for_the_next() {
    let project = project(|_| String::new());
    project.run(&["up"]).code_is(0);
    let ready = project.path().parent().expect("a parent").join("ready");
    file(&project, &format!("before_switch = \"touch {}; sleep 60\"\n", ready.display()));
    let mut deploy = project.start(&["deploy"]);
    eventually("the hook runs", || ready.exists().then_some(()));
    Project::kill(deploy.id());
    deploy.wait().expect("it is gone");
    assert_eq!(project.status()["release"]["number"], 1, "nothing was decided without the hook");
    assert_eq!(project.status()["operation"]["release"], 2);
    project.run(&["abort"]).code_is(0);
    assert_eq!(project.status()["operation"], serde_json::Value::Null);
    assert_eq!(project.status()["release"]["number"], 1);
}

#[test]
fn ctrl_c_ends_the_hook_and_aborts() {
    let project = project(|_| String::new());
    project.run(&["up"]).code_is(0);
    let ready = project.path().parent().expect("a parent").join("ready");
    let hook = format!("before_switch = \"touch {}; sleep 4326\"\n", ready.display());
    file(&project, &(hook + &telling(&project, &["on_failure"])));
    let deploy = project.start(&["deploy"]);
    eventually("the hook runs", || ready.exists().then_some(()));
    Project::interrupt(deploy.id());
    let deploy = onward_cli_tests::ended(deploy, || {}).code_is(1);
    assert!(deploy.stderr.contains("aborted by ana (Ctrl-C)"), "{}", deploy.stderr);
    assert_eq!(names(&lines(&project)), ["on_failure"]);
    assert_eq!(project.status()["release"]["number"], 1);
    assert!(!project.processes().iter().any(|(_, line)| line.contains("sleep 4326")));
}

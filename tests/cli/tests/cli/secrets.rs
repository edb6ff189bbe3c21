//! Secrets, as people and scripts use them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;

use onward_cli_tests::{Outcome, Project, ended, eventually, http};
use serde_json::{Value, json};

const FILE: &str = "app = \"trial\"\n[process.web]\n\
                    run = \"echo $ONWARD_RELEASE $TOKEN >> ../told; exec ./test-app good ../record\"\n\
                    probe = { path = \"/up\", within = \"5s\" }\n[release]\nwatch = \"100ms\"\n\
                    [secrets]\nnames = [\"TOKEN\"]\n";

/// A project that needs the secret `TOKEN`. Its app writes the value down beside it.
fn project() -> Project {
    let project = Project::empty();
    let app = project.path().join("test-app");
    fs::copy(env!("CARGO_BIN_EXE_test-app"), app).expect("copy the app");
    // Instances run in the directory of their release.
    let told = project.path().parent().expect("a parent").join("told");
    let record = told.with_file_name("record");
    let file = FILE.replace("../told", &told.display().to_string());
    project.write("onward.toml", &file.replace("../record", &record.display().to_string()));
    project
}

/// What each start of the app was told: its release and the value.
fn told(project: &Project) -> Vec<String> {
    let file = project.path().parent().expect("a parent").join("told");
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn versions(project: &Project) -> Value {
    let list = project.run(&["secret", "list", "--json"]).code_is(0).json();
    let secrets = list["secrets"].as_array().expect("a list").clone();
    secrets
        .iter()
        .map(|own| (own["name"].as_str().expect("a name").to_owned(), own["version"].clone()))
        .collect()
}

/// The same command as somebody else, who has a home of their own.
fn as_other(project: &Project, arguments: &[&str]) -> Outcome {
    let mut command = project.command(arguments);
    command.env("HOME", other_home(project)).env("USER", "ben");
    ended(command.spawn().expect("the binary runs"), || {})
}

fn other_home(project: &Project) -> PathBuf {
    project.path().parent().expect("a parent").join("other")
}

#[test]
fn a_new_value_comes_with_the_next_release_and_the_old_one_with_a_rollback() {
    let project = project();
    let refused = project.run(&["up"]).code_is(3);
    assert!(refused.stderr.contains("`onward -e local secret set TOKEN`"), "{}", refused.stderr);
    project.run_with("value one\n", &["secret", "set", "TOKEN"]).code_is(0);
    project.run(&["up"]).code_is(0);
    assert_eq!(told(&project), ["1 value one"]);

    project.run_with("value two", &["secret", "set", "TOKEN"]).code_is(0);
    let plan = project.run(&["plan", "--json"]).code_is(0).finished();
    let says = "~ secret TOKEN: version 2, set by ana, replaces version 1";
    assert!(plan["changes"].as_array().expect("a list").contains(&json!(says)), "{plan}");
    assert_eq!(told(&project).len(), 1, "nothing is restarted by itself");
    project.run(&["deploy"]).code_is(0);
    assert_eq!(told(&project)[1..], ["2 value two"]);
    let same = project.run_with("value two", &["secret", "set", "TOKEN", "--json"]).code_is(0);
    assert_eq!(same.finished()["unchanged"], json!(["TOKEN"]));

    let now = ["secret", "set", "TOKEN", "--now", "--json"];
    let now = project.run_with("value three", &now).code_is(0).finished();
    assert_eq!((&now["outcome"], &now["release"]), (&json!("done"), &json!(3)));
    assert_eq!(told(&project)[2..], ["3 value three"]);
    project.run(&["rollback", "1"]).code_is(0);
    assert_eq!(told(&project)[3..], ["1 value one"]);
    let get = project.run(&["secret", "get", "TOKEN"]).code_is(0);
    assert_eq!((get.stdout.as_str(), get.stderr.as_str()), ("value three", ""));
    project.run(&["secret", "get", "TOKEN", "--json"]).code_is(2);

    let removed = project.run(&["secret", "rm", "TOKEN", "--json"]).code_is(0).finished();
    assert_eq!(removed["kept_for_releases"], json!([1, 2, 3]));
    project.run(&["deploy"]).code_is(3);
    project.run(&["rollback", "2"]).code_is(0);
}

#[test]
fn arguments_are_never_values_and_are_never_repeated() {
    let project = project();
    for arguments in [
        vec!["secret", "set", "TOKEN=hunter2canary"],
        vec!["secret", "set", "TOKEN", "hunter2canary"],
        vec!["secret", "set", "TOKEN", "-_hunter2canary"],
        vec!["secret", "set", "TOKEN", "--hunter2canary"],
        vec!["secret", "set", "TOKEN", "--value=hunter2canary"],
        vec!["secret", "set", "hunter2-canary"],
        vec!["secret", "share", "AGE-SECRET-KEY-1HUNTER2CANARY"],
        vec!["secret", "share", "hunter2canary"],
        vec!["secret", "get", "TOKEN", "hunter2canary"],
    ] {
        for json in [false, true] {
            let mut arguments = arguments.clone();
            arguments.extend(json.then_some("--json"));
            let refused = project.run(&arguments).code_is(2);
            let said = (refused.stdout + &refused.stderr).to_lowercase();
            assert!(!said.contains("hunter2"), "{arguments:?}: {said}");
        }
    }
    let empty = project.run_with("\n", &["secret", "set", "TOKEN"]).code_is(2);
    assert!(empty.stderr.contains("the value of TOKEN is empty"), "{}", empty.stderr);
    project.run_with("a\0b", &["secret", "set", "TOKEN"]).code_is(2);
    project.run_with(&"x".repeat(40_000), &["secret", "set", "TOKEN"]).code_is(2);
    assert!(!project.path().join(".onward/state").exists(), "nothing was written");
}

#[test]
fn many_values_come_from_a_file_of_lines() {
    let project = project();
    project.write("deploy.env", "PORT=1\nTOKEN='a $b'\nexport OTHER_KEY=2\n");
    let all = project.run(&["secret", "set", "--env-file", "deploy.env", "--json"]).code_is(0);
    assert_eq!(all.finished()["set"].as_array().map(Vec::len), Some(2));
    assert_eq!(project.run(&["secret", "get", "TOKEN"]).stdout, "a $b");
    project.write("bad.env", "TOKEN=\"canary\nnever ends");
    let bad = project.run(&["secret", "set", "--env-file", "bad.env"]).code_is(2);
    assert!(bad.stderr.contains("bad.env: line 1, column 7"), "{}", bad.stderr);
    assert!(!bad.stderr.contains("canary"));
    project.run(&["secret", "set", "MISSING", "--env-file", "deploy.env"]).code_is(2);
}

#[test]
fn changes_at_the_same_time_all_count_also_during_a_deploy() {
    let project = project();
    project.run_with("before", &["secret", "set", "TOKEN"]).code_is(0);
    project.run(&["up"]).code_is(0);
    let deploy = project.start(&["deploy", "--force", "--json"]);
    let value = project.path().join("value");
    fs::write(&value, "something").expect("write");
    let names = ["A_KEY", "B_KEY", "C_KEY", "D_KEY", "E_KEY", "F_KEY"];
    let children: Vec<_> = names
        .iter()
        .map(|name| {
            let mut command = project.command(&["secret", "set", name]);
            command.stdin(fs::File::open(&value).expect("open")).spawn().expect("the binary runs")
        })
        .collect();
    for child in children {
        ended(child, || {}).code_is(0);
    }
    assert_eq!(ended(deploy, || {}).code_is(0).finished()["outcome"], "done");
    let versions = versions(&project);
    let mut given: Vec<_> = versions.as_object().expect("a map").values().cloned().collect();
    given.sort_by_key(Value::as_u64);
    assert_eq!(json!(given), json!([1, 2, 3, 4, 5, 6, 7]));
}

#[test]
fn a_colleague_without_a_key_deploys_where_the_server_has_it_and_is_told_whom_to_ask() {
    let project = project();
    project.run_with("value one", &["secret", "set", "TOKEN"]).code_is(0);
    let refused = as_other(&project, &["up"]).code_is(3);
    assert!(refused.stderr.contains("ask ana for one `onward up`"), "{}", refused.stderr);
    project.run(&["up"]).code_is(0);
    as_other(&project, &["deploy", "--force"]).code_is(0);
    assert_eq!(told(&project), ["1 value one", "2 value one"]);
    let refused = as_other(&project, &["secret", "get", "TOKEN"]).code_is(3);
    assert!(refused.stderr.contains("you have no key"), "{}", refused.stderr);

    let key = as_other(&project, &["secret", "key", "-q"]).code_is(0).stdout;
    project.run(&["secret", "share", key.trim(), "--name", "ben"]).code_is(0);
    assert_eq!(as_other(&project, &["secret", "get", "TOKEN"]).code_is(0).stdout, "value one");

    let held = project.path().join(".onward/apps/trial/local/secrets.key");
    let before = fs::read_to_string(&held).expect("the key of the server");
    let last = project.run(&["secret", "share", "revoke", "ben"]).code_is(0);
    assert!(last.stderr.contains("set new values for what matters"), "{}", last.stderr);
    let after = fs::read_to_string(&held).expect("the key of the server");
    let public = |text: &str| text.lines().next().map(str::to_owned);
    assert_ne!(public(&before), public(&after), "the server has the new key");
    assert_eq!(after.lines().count(), 2, "and only that: {after}");
    as_other(&project, &["secret", "get", "TOKEN"]).code_is(3);
    project.run(&["secret", "share", "revoke", "ana"]).code_is(3);
    as_other(&project, &["deploy", "--force"]).code_is(0);
    assert_eq!(told(&project)[2..], ["3 value one"]);
}

#[test]
fn a_machine_brings_its_key_in_a_variable_that_nothing_inherits() {
    let project = project();
    let key = as_other(&project, &["secret", "key", "-q"]).code_is(0).stdout;
    project.run_with("value one", &["secret", "set", "TOKEN"]).code_is(0);
    project.run(&["secret", "share", key.trim(), "--name", "ci"]).code_is(0);
    let file = other_home(&project).join(".config/onward/key");
    let text = fs::read_to_string(file).expect("the key");
    let own = text.lines().last().expect("the key itself");
    let mut up = project.command(&["up"]);
    up.env("HOME", "/nonexistent").env("ONWARD_KEY", own);
    ended(up.spawn().expect("the binary runs"), || {}).code_is(0);
    for (pid, line) in project.processes() {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&environment).contains("ONWARD_KEY"), "{line}");
    }
    let mut bad = project.command(&["secret", "get", "TOKEN"]);
    bad.env("ONWARD_KEY", "hunter2canary");
    let bad = ended(bad.spawn().expect("the binary runs"), || {}).code_is(2);
    assert!(!bad.stderr.contains("hunter2"), "{}", bad.stderr);
}

#[test]
fn a_key_that_others_can_read_is_not_used() {
    let project = project();
    project.run_with("value one", &["secret", "set", "TOKEN"]).code_is(0);
    let key = project.path().parent().expect("a parent").join(".config/onward/key");
    assert_eq!(fs::metadata(&key).expect("the key").permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).expect("chmod");
    let refused = project.run(&["secret", "get", "TOKEN"]).code_is(3);
    assert!(refused.stderr.contains("can be read by others (mode 640)"), "{}", refused.stderr);
    assert!(refused.stderr.contains("`chmod 600 "), "{}", refused.stderr);
}

#[test]
fn an_edited_sealed_text_is_found_out_and_the_last_good_state_serves() {
    let project = project();
    project.run_with("value one", &["secret", "set", "TOKEN"]).code_is(0);
    project.run(&["up"]).code_is(0);
    let url = project.url();
    let file = project.path().join(".onward/state/trial/local/state.json");
    let good = fs::read_to_string(&file).expect("the state");
    let mut document: Value = serde_json::from_str(&good).expect("JSON");
    let text = document["secrets"]["versions"]["1"]["sealed"]["text"].as_str().expect("a text");
    document["secrets"]["versions"]["1"]["sealed"]["text"] = json!(text.replacen('a', "b", 1));
    document["generation"] = json!(document["generation"].as_u64().expect("a number") + 1);
    let edited = serde_json::to_string_pretty(&document).expect("JSON");
    fs::write(&file, edited).expect("write the state");
    let refused = project.run(&["deploy", "--force"]).code_is(3);
    let says = "secrets.versions.1.sealed is not the text that was sealed";
    assert!(refused.stderr.contains(says), "{}", refused.stderr);
    assert!(http::get(&url, "/").is_ok(), "what served serves");
    project.run(&["state", "undo"]).code_is(0);
    project.run(&["deploy", "--force"]).code_is(0);
    assert_eq!(told(&project), ["1 value one", "2 value one"]);
}

#[test]
fn after_everything_was_killed_the_agent_alone_starts_the_app_with_its_secrets() {
    let project = project();
    project.run_with("value one", &["secret", "set", "TOKEN"]).code_is(0);
    project.run(&["up"]).code_is(0);
    let all = project.processes();
    for role in ["agent", "proxy"] {
        Project::kill(project.pid_of(role).expect("it runs"));
    }
    all.iter().for_each(|(pid, _)| Project::kill(*pid));
    eventually("nothing runs", || project.processes().is_empty().then_some(()));
    // A person who cannot open the secrets, as a timer after a reboot.
    as_other(&project, &["status"]).code_is(0);
    eventually("the app runs again", || (told(&project).len() == 2).then_some(()));
    assert_eq!(told(&project)[1], "1 value one");
}

#[test]
fn values_are_asked_for_in_a_terminal_and_not_shown_also_when_they_are_typed_ahead() {
    if !onward_cli_tests::has("script") {
        eprintln!("LEFT OUT: `script` is not installed");
        return;
    }
    let project = project();
    let file = fs::read_to_string(project.path().join("onward.toml")).expect("the file");
    let names = file.replace("names = [\"TOKEN\"]", "names = [\"TOKEN\", \"OTHER\"]");
    assert_ne!(names, file);
    project.write("onward.toml", &names);
    let shown = in_a_terminal(&project, "secret set TOKEN OTHER", b"hunter2canary\rhunter2other\r");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert_eq!(project.run(&["secret", "get", "TOKEN"]).code_is(0).stdout, "hunter2canary");
    assert_eq!(project.run(&["secret", "get", "OTHER"]).code_is(0).stdout, "hunter2other");
}

/// What a command shows that asks for values in a terminal, in which they are typed; it ends well.
fn in_a_terminal(project: &Project, arguments: &str, typed: &[u8]) -> String {
    let mut child = project.in_terminal(arguments).spawn().expect("script runs");
    let mut input = child.stdin.take().expect("it is piped");
    let mut output = child.stdout.take().expect("it is piped");
    let mut shown = String::new();
    while !shown.contains("(it is not shown): ") {
        let mut piece = [0; 256];
        let read = std::io::Read::read(&mut output, &mut piece).expect("it prints");
        assert_ne!(read, 0, "{shown}");
        shown.push_str(&String::from_utf8_lossy(&piece[..read]));
    }
    std::io::Write::write_all(&mut input, typed).expect("typed");
    std::io::Read::read_to_string(&mut output, &mut shown).expect("it prints");
    assert!(child.wait().expect("it ends").success(), "{shown}");
    shown
}

#[test]
fn an_up_asks_for_what_is_missing_and_goes_on() {
    if !onward_cli_tests::has("script") {
        eprintln!("LEFT OUT: `script` is not installed");
        return;
    }
    let project = project();
    let shown = in_a_terminal(&project, "up", b"hunter2canary\r");
    assert!(shown.contains("onward.toml names a secret that has no value yet"), "{shown}");
    assert!(shown.contains("Release 1 ("), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert_eq!(told(&project), ["1 hunter2canary"]);
    assert!(!project.path().join(".onward/waiting/trial/local").exists(), "nothing waits");
}

/// Servers behind SSH have no state before the first `up`. Nothing of this needs servers: they are to be
/// made by that `up`, which is refused before it makes any.
#[test]
fn values_wait_for_the_first_up_which_is_refused_without_them_before_it_changes_anything() {
    let project = project();
    let file = fs::read_to_string(project.path().join("onward.toml")).expect("the file");
    let file = file.replace("[\"TOKEN\"]", "[\"TOKEN\", \"OTHER\"]");
    let lab = "\n[environment.lab]\nprovider = \"nspawn\"\nservers = [{ name = \"one\" }]\n";
    project.write("onward.toml", &format!("{file}{lab}"));
    let labs = project.path().with_file_name("labs");
    let run = |input: &str, arguments: &[&str]| {
        let mut command = project.command(&[&["-e", "lab"], arguments].concat());
        let command = command.env("ONWARD_NSPAWN_DIR", &labs).stdin(Stdio::piped());
        let mut child = command.spawn().expect("the binary runs");
        let mut stdin = child.stdin.take().expect("it is piped");
        let _ = std::io::Write::write_all(&mut stdin, input.as_bytes());
        drop(stdin);
        ended(child, || {})
    };
    let refused = run("", &["up"]).code_is(3);
    let lacking = "secrets have no value here: OTHER, TOKEN";
    assert!(refused.stderr.contains(lacking), "{}", refused.stderr);
    assert!(refused.stderr.contains("Nothing was changed"), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("`onward -e lab secret set OTHER TOKEN`"),
        "{}",
        refused.stderr
    );

    let set = run("hunter2canary", &["secret", "set", "TOKEN"]).code_is(0);
    assert!(
        set.stdout.contains("until `onward -e lab up` brings it to the servers"),
        "{}",
        set.stdout
    );
    assert_eq!(run("", &["secret", "get", "TOKEN"]).code_is(0).stdout, "hunter2canary");
    let list = run("", &["secret", "list", "--json"]).code_is(0).json();
    assert_eq!(list["missing"], json!(["OTHER"]));
    let refused = run("", &["up"]).code_is(3);
    assert!(refused.stderr.contains("a secret has no value here: OTHER"), "{}", refused.stderr);
    run("", &["secret", "rm", "TOKEN"]).code_is(0);
    let refused = run("", &["up"]).code_is(3);
    assert!(refused.stderr.contains(lacking), "{}", refused.stderr);

    assert!(!labs.exists(), "no server was made");
    let waiting = project.path().join(".onward/waiting/trial/lab");
    let kept = fs::read_to_string(waiting.join("state.json")).expect("it waits");
    assert!(kept.contains("BEGIN AGE ENCRYPTED FILE"), "{kept}");
    assert!(!kept.contains("hunter2"), "{kept}");
    // What belongs to a state that is there says that there is none.
    run("", &["secret", "share", "list"]).code_is(3);
    run("", &["deploy"]).code_is(3);
}

//! Several servers on this machine: deploys while one is away, counts that change, and releases
//! that only some servers take at first.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use onward_cli_tests::{Outcome, Project, ended, eventually, http};
use serde_json::{Value, json};

const THREE: &str = "[release]\nwatch = \"300ms\"\n[environment.local]\ncount = 3\n";

fn up(extra: &str) -> (Project, String) {
    let project = Project::prebuilt_hello(extra);
    let url = project.run(&["up", "--json"]).code_is(0).finished()["url"].clone();
    (project, url.as_str().expect("an address").to_owned())
}

/// The release that each server serves.
fn releases(project: &Project) -> Vec<Value> {
    let status = project.status();
    let servers = status["servers"].as_array().expect("servers").clone();
    servers.into_iter().map(|server| server["release"].clone()).collect()
}

fn web_instances(project: &Project) -> usize {
    let status = project.status();
    let processes = status["processes"].as_array().expect("processes");
    processes.iter().filter(|process| process["state"] == "ready").count()
}

/// Asks again and again, on a connection each, until `what` has ended; how many answers there were
/// and how many requests were lost.
fn counting<T>(url: &str, what: impl FnOnce() -> T) -> (T, usize, usize) {
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            let (mut answered, mut lost) = (0, 0);
            while !ended.load(Ordering::Relaxed) {
                match http::get(url, "/") {
                    Ok(answer) if answer.status == 200 => answered += 1,
                    Ok(_) | Err(_) => lost += 1,
                }
            }
            (answered, lost)
        });
        let done = what();
        ended.store(true, Ordering::Relaxed);
        let (answered, lost) = client.join().expect("the client counts");
        (done, answered, lost)
    })
}

#[test]
fn an_agent_that_is_killed_in_a_deploy_comes_back_and_no_request_is_lost() {
    let (project, url) = up(THREE);
    project.write("number.txt", "2\n");
    let (outcome, answered, lost) = counting(&url, || {
        let deploy = project.start(&["deploy", "--json"]);
        let mut killed = false;
        ended(deploy, || {
            if !killed && let Some(pid) = project.pid_on("local-2", "agent") {
                Project::kill(pid);
                killed = true;
            }
        })
    });
    assert_eq!(outcome.code_is(0).finished()["release"], 2);
    assert!(answered > 0);
    assert_eq!(lost, 0, "of {answered}");
    assert_eq!(releases(&project), [json!(2), json!(2), json!(2)]);
}

#[test]
fn a_deploy_goes_on_without_a_server_which_catches_up_later() {
    let (project, url) = up(THREE);
    let away = Away::send(&project, "local-3");
    project.write("number.txt", "2\n");

    let refused = project.run(&["deploy"]).code_is(3);
    assert!(refused.stderr.contains("the agent of server local-3"), "{refused:?}");
    assert!(refused.stderr.contains("Nothing was changed"), "{refused:?}");
    assert!(refused.stderr.contains("`onward deploy --without local-3`"), "{refused:?}");

    let (outcome, answered, lost) =
        counting(&url, || project.run(&["deploy", "--without", "local-3", "--json"]));
    let finished = outcome.code_is(4).finished();
    assert_eq!(finished["degraded"], json!(["local-3"]));
    assert_eq!(lost, 0, "of {answered}");
    assert_eq!(releases(&project), [json!(2), json!(2), Value::Null]);
    let status = project.run(&["status"]).code_is(0);
    assert!(status.stdout.contains("Degraded   local-3: its agent"), "{status:?}");
    for _ in 0..6 {
        assert!(http::get(&url, "/").expect("an answer").body.contains("release 2"));
    }

    away.come_back();
    project.run(&["up"]).code_is(0);
    let all = [json!(2), json!(2), json!(2)];
    eventually("the third follows", || (releases(&project) == all).then_some(()));
    assert_eq!(project.status()["degraded"], json!([]));
}

/// A server whose agent was killed and cannot be started.
struct Away {
    program: std::path::PathBuf,
    kept: std::path::PathBuf,
}

impl Away {
    fn send(project: &Project, server: &str) -> Self {
        let bin = project.path().join(".onward/servers").join(server).join("bin");
        let mut entries = fs::read_dir(bin).expect("its programs").flatten();
        let program = entries.find(|own| own.file_name().to_string_lossy().starts_with("onward-"));
        let program = program.expect("the program of the agent").path();
        let kept = program.with_extension("kept");
        fs::rename(&program, &kept).expect("put the program aside");
        fs::write(&program, "#!/bin/sh\necho 'no power' >&2\nexit 1\n").expect("put another there");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it can be run");
        for role in ["agent", "proxy"] {
            Project::kill(project.pid_on(server, role).expect("it runs"));
        }
        Self { program, kept }
    }

    fn come_back(self) {
        fs::rename(&self.kept, &self.program).expect("put the program back");
    }
}

#[test]
fn other_counts_lose_no_request_and_stay_until_the_file_is_taken_again() {
    let (project, url) = up("[environment.local]\ncount = 2\n");
    let ((), answered, lost) = counting(&url, || {
        for (count, instances) in [("web=1", 1), ("web=8", 8), ("web=2", 2), ("web=5", 5)] {
            project.run(&["scale", count]).code_is(0);
            assert_eq!(web_instances(&project), instances);
        }
    });
    assert!(answered > 0);
    assert_eq!(lost, 0, "of {answered}");

    let overrides = project.status()["overrides"].clone();
    assert_eq!(overrides[0]["text"], "web=5 instead of 2");
    assert_eq!(overrides[0]["by"], "ana");
    let says = "by hand: web=5 instead of 2, by ana; `onward up --reset` takes the file's";
    assert!(project.run(&["status"]).stdout.contains(says));
    let plan = project.run(&["plan", "--exit-code"]).code_is(0);
    assert!(plan.stdout.contains(says) && plan.stdout.contains("Nothing would change"), "{plan:?}");
    assert!(project.run(&["scale", "web=5"]).code_is(0).stdout.contains("Nothing changed"));

    // A release keeps what was asked for.
    project.write("number.txt", "2\n");
    project.run(&["deploy"]).code_is(0);
    let of_new = |project: &Project| {
        let processes = project.status()["processes"].clone();
        let all = processes.as_array().cloned().unwrap_or_default();
        all.iter().filter(|process| process["release"] == 2).count()
    };
    assert_eq!(of_new(&project), 5);
    project.run(&["up", "--reset"]).code_is(0);
    assert_eq!(of_new(&project), 2);
    assert_eq!(project.status()["overrides"], json!([]));
}

#[test]
fn the_client_counts_what_is_lost() {
    // The control of the tests above.
    let (project, url) = up("");
    let ((), _, lost) = counting(&url, || {
        for role in ["agent", "proxy"] {
            Project::kill(project.pid_of(role).expect("it runs"));
        }
        eventually("the address refuses", || http::get(&url, "/").is_err().then_some(()));
        project.run(&["status"]).code_is(0);
    });
    assert!(lost > 0);
}

#[test]
fn what_cannot_be_scaled_is_refused() {
    let (project, _) = up("");
    let refused = |arguments: &[&str], code: i32, says: &str| {
        let outcome = project.run(arguments).code_is(code);
        assert!(outcome.stderr.contains(says), "{says} in {outcome:?}");
    };
    refused(&["scale", "web=0"], 3, "it gets traffic, and needs at least 1");
    refused(&["scale", "web=201"], 3, "a process has at most 200 instances");
    refused(&["scale", "wbe=2"], 3, "there is no process `wbe`; there is web");
    refused(&["scale", "web"], 2, "such as `web=4`");
    refused(&["scale", "web=2", "web=3"], 2, "`web` is given two counts");
    assert_eq!(web_instances(&project), 1);
}

/// `test-app` on three servers, told to behave so.
fn in_steps(project: &Project, mode: &str, strategy: &str) {
    let record = project.path().parent().expect("a parent").join("record");
    project.write(
        "onward.toml",
        &format!(
            "app = \"trial\"\n[process.web]\nrun = \"./test-app {mode} {}\"\n\
             probe = {{ path = \"/up\", interval = \"100ms\" }}\n\
             [release]\n{strategy}\n[environment.local]\ncount = 3\n",
            record.display()
        ),
    );
}

fn trial(strategy: &str) -> (Project, String) {
    let project = Project::empty();
    let app = project.path().join("test-app");
    fs::copy(env!("CARGO_BIN_EXE_test-app"), app).expect("copy the app");
    in_steps(&project, "good", strategy);
    let url = project.run(&["up", "--json"]).code_is(0).finished()["url"].clone();
    (project, url.as_str().expect("an address").to_owned())
}

/// The servers of each step that was decided.
fn steps(outcome: &Outcome) -> Vec<Value> {
    let lines = outcome.stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let decided = lines.filter(|line| line["event"] == "phase" && line["phase"] == "switch");
    decided.map(|line| line["servers"].clone()).collect()
}

#[test]
fn a_good_release_is_taken_in_batches_one_decision_each() {
    let (project, _) = trial("strategy = \"batches\"\nbatch = 1\nwatch = \"500ms\"");
    in_steps(&project, "good ", "strategy = \"batches\"\nbatch = 1\nwatch = \"500ms\"");
    let outcome = project.run(&["deploy", "--json"]).code_is(0);
    assert_eq!(steps(&outcome), [json!(["local"]), json!(["local-2"]), json!(["local-3"])]);
    assert_eq!(releases(&project), [json!(2), json!(2), json!(2)]);
}

#[test]
fn a_bad_release_as_canary_goes_back_alone() {
    // Long enough that a client reaches the canary also when the machine is busy.
    let canary = "strategy = \"canary\"\nwatch = \"5s\"";
    let (project, url) = trial(canary);
    in_steps(&project, "dies", canary);
    let deploy = project.start(&["deploy", "--json"]);
    let mut served = 0;
    let outcome = ended(deploy, || {
        let answer = http::get(&url, "/");
        served += usize::from(answer.is_ok_and(|answer| answer.body.contains("good release 1")));
    });
    let outcome = outcome.code_is(1);
    assert_eq!(steps(&outcome), [json!(["local"])], "{outcome:?}");
    assert!(outcome.finished()["reason"].as_str().is_some_and(|why| why.contains("web")));
    assert!(served > 0, "the others went on");
    assert_eq!(releases(&project), [json!(1), json!(1), json!(1)]);
    for _ in 0..6 {
        assert!(http::get(&url, "/").expect("an answer").body.contains("good release 1"));
    }
}

#[test]
fn an_environment_that_is_not_in_the_file_is_found_again_until_it_is_down() {
    let (project, url) = up("[environment.local]\ncount = 2\ndomain = \"shop.example.com\"\n");
    let unknown = project.run(&["status", "-e", "preview"]).code_is(2);
    assert!(unknown.stderr.contains("`onward up -e preview --like local`"), "{unknown:?}");

    let finished = project.run(&["up", "-e", "preview", "--like", "local", "--json"]).code_is(0);
    let other = finished.finished()["url"].as_str().expect("an address").to_owned();
    assert_ne!(other, url);
    let status = project.run(&["status", "-e", "preview", "--json"]).code_is(0).json();
    assert_eq!(status["servers"].as_array().map(Vec::len), Some(2));
    assert_eq!(status["environment"], "preview");
    // The next one needs no `--like`.
    project.write("number.txt", "2\n");
    project.run(&["deploy", "-e", "preview"]).code_is(0);
    assert_eq!(releases(&project), [json!(1), json!(1)], "the other one is untouched");

    project.run(&["down", "-e", "preview", "-y"]).code_is(0);
    project.run(&["status", "-e", "preview"]).code_is(2);
    assert_eq!(releases(&project), [json!(1), json!(1)]);

    let refused = project.run(&["up", "-e", "local", "--like", "local"]).code_is(2);
    assert!(refused.stderr.contains("the environment local is in onward.toml"), "{refused:?}");
    let refused = project.run(&["up", "-e", "preview", "--like", "loacl"]).code_is(2);
    assert!(refused.stderr.contains("did you mean"), "{refused:?}");
}

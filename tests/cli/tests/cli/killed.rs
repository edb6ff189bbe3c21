//! Agents, proxies and apps that are killed; and all of them at once, as by a reboot.

use onward_cli_tests::{Project, eventually, http};

fn up() -> (Project, String) {
    let project = Project::prebuilt_hello("[release]\nwatch = \"200ms\"\n");
    let url = project.run(&["up", "--json"]).code_is(0).finished()["url"].clone();
    (project, url.as_str().expect("an address").to_owned())
}

fn app_pid(project: &Project) -> u32 {
    let pid = project.status()["processes"][0]["pid"].as_u64().expect("a process runs");
    u32::try_from(pid).expect("a process id")
}

#[test]
fn a_killed_agent_is_started_by_status_and_adopts_what_runs() {
    let (project, url) = up();
    let app = app_pid(&project);
    let (agent, proxy) = (project.pid_of("agent"), project.pid_of("proxy"));
    Project::kill(agent.expect("an agent runs"));
    assert!(http::get(&url, "/").is_ok(), "the address answers without an agent");
    assert_eq!(app_pid(&project), app, "the same app");
    assert_eq!(project.pid_of("proxy"), proxy, "the same proxy");
    let after = project.pid_of("agent");
    assert!(after.is_some() && after != agent, "another agent");
    assert_eq!(project.status()["degraded"], serde_json::json!([]));
}

#[test]
fn a_killed_proxy_refuses_nobody() {
    let (project, url) = up();
    for _ in 0..3 {
        let proxy = project.pid_of("proxy").expect("a proxy runs");
        Project::kill(proxy);
        assert!(http::get(&url, "/").is_ok(), "the connection waits for the next proxy");
        eventually("another proxy", || project.pid_of("proxy").filter(|pid| *pid != proxy));
    }
}

#[test]
fn with_agent_and_proxy_killed_the_address_refuses_until_the_next_command() {
    // The control of the test above: somebody must hold the socket.
    let (project, url) = up();
    Project::kill(project.pid_of("agent").expect("an agent runs"));
    Project::kill(project.pid_of("proxy").expect("a proxy runs"));
    eventually("the address refuses", || http::get(&url, "/").is_err().then_some(()));
    assert_eq!(project.status()["release"]["number"], 1);
    eventually("the address answers", || http::get(&url, "/").ok());
}

#[test]
fn a_killed_app_is_started_again() {
    let (project, url) = up();
    let before = app_pid(&project);
    Project::kill(before);
    assert!(http::get(&url, "/").is_ok(), "the request waits for the next instance");
    let process = project.status()["processes"][0].clone();
    assert_ne!(process["pid"], before);
    assert_eq!(process["restarts"], 1);
}

#[test]
fn after_everything_was_killed_up_brings_it_back() {
    let (project, url) = up();
    let all = project.processes();
    for role in ["agent", "proxy"] {
        Project::kill(project.pid_of(role).expect("it runs"));
    }
    all.iter().for_each(|(pid, _)| Project::kill(*pid));
    eventually("nothing runs", || project.processes().is_empty().then_some(()));
    let up = project.run(&["up", "--json"]).code_is(0).finished();
    assert_eq!(up["outcome"], "unchanged");
    assert!(http::get(&url, "/").expect("the address answers").body.contains("release 1"));
}

#[test]
fn a_deploy_whose_agent_is_killed_ends_well() {
    let (project, url) = up();
    project.write("change.txt", "a change\n");
    let deploy = project.start(&["deploy", "--json"]);
    let phase = || project.status()["operation"]["phase"].as_str().map(str::to_owned);
    eventually("the deploy is under way", phase);
    Project::kill(project.pid_of("agent").expect("an agent runs"));
    let deploy = onward_cli_tests::ended(deploy, || {
        assert!(http::get(&url, "/").is_ok(), "nothing is lost");
    });
    let finished = deploy.code_is(0).finished();
    assert_eq!(finished["outcome"], "done");
    assert!(http::get(&url, "/").expect("the address answers").body.contains("release 2"));
}

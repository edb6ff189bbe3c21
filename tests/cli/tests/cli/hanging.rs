//! An agent that hangs: it listens, and answers nothing.

use std::time::{Duration, Instant};

use onward_cli_tests::{Outcome, Project, eventually, http};

const THREE: &str = "[release]\nwatch = \"100ms\"\n[environment.local]\ncount = 3\n";

/// What a command may take that waits once for an agent that hangs, on a machine that has more to do.
const SOON: Duration = Duration::from_secs(9);

/// A command that ends soon, although an agent hangs.
fn soon(project: &Project, arguments: &[&str]) -> Outcome {
    let began = Instant::now();
    let outcome = project.run(arguments);
    assert!(began.elapsed() < SOON, "{arguments:?} took {:?}: {outcome:?}", began.elapsed());
    outcome
}

#[test]
fn one_of_several_agents_hangs_and_is_named_and_the_others_go_on() {
    let project = Project::prebuilt_hello(THREE);
    project.run(&["up"]).code_is(0);
    let agent = project.pid_on("local-3", "agent").expect("it runs");
    Project::hang(agent);

    let status = soon(&project, &["status", "--json"]).code_is(0).json();
    assert_eq!(status["degraded"][0], "local-3: its agent does not answer", "{status}");
    assert_eq!(status["servers"][2]["state"], "unreachable", "{status}");
    let instances = status["processes"].as_array().expect("processes");
    assert!(instances.iter().any(|own| own["server"] == "local-2"), "{status}");
    for reading in ["history", "events", "logs", "plan"] {
        soon(&project, &[reading, if reading == "events" { "--help" } else { "--json" }])
            .code_is(0);
    }
    let doctor = soon(&project, &["doctor"]).code_is(1);
    assert!(doctor.stdout.contains(&format!("kill -CONT {agent}")), "{doctor:?}");

    project.write("number.txt", "2\n");
    let refused = soon(&project, &["deploy"]).code_is(3);
    assert!(refused.stderr.contains("the agent of server local-3 does not answer"), "{refused:?}");
    assert!(refused.stderr.contains("`onward deploy --without local-3`"), "{refused:?}");
    project.run(&["deploy", "--without", "local-3"]).code_is(4);

    Project::wake(agent);
    eventually("it catches up", || {
        let status = project.status();
        status["servers"].as_array()?.iter().all(|own| own["release"] == 2).then_some(())
    });
    assert_eq!(project.pid_on("local-3", "agent"), Some(agent), "it was not replaced");
}

#[test]
fn the_only_agent_hangs_and_is_named_and_what_runs_goes_on() {
    let project = Project::prebuilt_hello("[release]\nwatch = \"100ms\"\n");
    project.run(&["up"]).code_is(0);
    let url = project.url();
    let agent = project.pid_of("agent").expect("it runs");
    Project::hang(agent);

    let status = soon(&project, &["status"]).code_is(0);
    assert!(status.stdout.contains("Release 1"), "{status:?}");
    assert!(status.stdout.contains("Degraded   its agent does not answer"), "{status:?}");
    soon(&project, &["metrics"]).code_is(0);
    let refused = soon(&project, &["deploy", "--force"]).code_is(1);
    assert!(refused.stderr.contains("the agent of this machine does not answer"), "{refused:?}");
    assert!(refused.stderr.contains(&format!("`kill -9 {agent}`")), "{refused:?}");
    assert!(http::get(&url, "/").is_ok(), "what runs goes on");

    Project::kill(agent);
    project.run(&["deploy", "--force"]).code_is(0);
    assert_eq!(project.url(), url);
}

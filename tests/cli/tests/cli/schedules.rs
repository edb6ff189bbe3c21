//! `[schedule.NAME]`: runs that begin by themselves, one at a time, in the release that serves.
//!
//! Every run of these tests writes what it is into a file of the project, so that nobody has to be
//! asked what ran: `begin RELEASE DUE` and `end RELEASE`.

use std::fs;

use onward_cli_tests::{Project, eventually};
use serde_json::{Value, json};

/// A schedule of each second whose run lasts as long as the file `hold` is there.
fn with_schedule(more: &str) -> Project {
    let project = Project::prebuilt_hello("");
    let here = project.path().display().to_string();
    let file = fs::read_to_string(project.path().join("onward.toml")).expect("a file");
    project.write(".onwardignore", "runs\nhold\n");
    project.write(
        "onward.toml",
        &format!(
            "{file}[release]\nwatch = \"100ms\"\n[schedule.tick]\nevery = \"1s\"\n{more}\
             run = \"echo begin $ONWARD_RELEASE $ONWARD_DUE >> {here}/runs; \
             while test -e {here}/hold; do sleep 0.05; done; \
             echo end $ONWARD_RELEASE >> {here}/runs\"\n"
        ),
    );
    project
}

fn ran(project: &Project) -> Vec<String> {
    let text = fs::read_to_string(project.path().join("runs")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn schedule(project: &Project) -> Value {
    project.status()["schedules"][0].clone()
}

/// Every run ended before the next began; returns how many there were.
fn never_two_at_once(lines: &[String]) -> usize {
    for pair in lines.windows(2) {
        assert_ne!(&pair[0][..3], &pair[1][..3], "two at once, or an end without: {lines:?}");
    }
    let mut begun: Vec<&String> = lines.iter().filter(|line| line.starts_with("begin")).collect();
    let count = begun.len();
    begun.dedup();
    assert_eq!(begun.len(), count, "the same due time twice: {lines:?}");
    count
}

#[test]
fn runs_are_told_their_time_and_how_they_ended_is_shown() {
    let project = with_schedule("");
    project.run(&["up"]).code_is(0);
    eventually("two runs", || (ran(&project).len() >= 4).then_some(()));
    assert!(never_two_at_once(&ran(&project)) >= 2);
    let shown = eventually("one is shown", || {
        Some(schedule(&project)).filter(|own| own["last"]["ok"] == true)
    });
    assert_eq!(shown["name"], "tick");
    assert!(shown["next"].is_string(), "{shown}");

    // One that fails says so, with what it printed.
    let file = fs::read_to_string(project.path().join("onward.toml")).expect("a file");
    let failing = file.split("run = \"echo begin").next().expect("it is there").to_owned();
    project.write("onward.toml", &format!("{failing}run = \"echo the disk is full; exit 3\"\n"));
    project.run(&["deploy"]).code_is(0);
    let failed = eventually("it failed", || {
        Some(schedule(&project)).filter(|own| own["last"]["ok"] == false)
    });
    let reason = failed["last"]["failure"].to_string();
    assert!(
        reason.contains("exited with status 3") && reason.contains("the disk is full"),
        "{reason}"
    );
    let status = project.run(&["status"]).code_is(0).stdout;
    assert!(status.contains("tick  exited with status 3") || status.contains("failed"), "{status}");
    let logs = project.run(&["logs", "--process", "tick"]).code_is(0).stdout;
    assert!(logs.contains("the disk is full"), "{logs}");
}

#[test]
fn a_run_that_is_on_keeps_the_next_one_out() {
    let project = with_schedule("");
    project.write("hold", "");
    project.run(&["up"]).code_is(0);
    let left_out = eventually("one is left out", || {
        Some(schedule(&project)).filter(|own| own["left_out"].is_object())
    });
    assert_eq!(left_out["left_out"]["why"], "still_runs", "{left_out}");
    assert_eq!(ran(&project).len(), 1, "one began and none ended");
    fs::remove_file(project.path().join("hold")).expect("let it end");
    eventually("the next run", || (ran(&project).len() >= 4).then_some(()));
    never_two_at_once(&ran(&project));
}

#[test]
fn a_deploy_waits_for_no_schedule_and_never_runs_two_releases_at_once() {
    let project = with_schedule("stop = { within = \"20s\" }\n");
    project.run(&["up"]).code_is(0);
    eventually("a run ended", || ran(&project).iter().any(|line| line == "end 1").then_some(()));
    project.write("hold", "");
    eventually("a run is on", || {
        ran(&project).last().is_some_and(|line| line.starts_with("begin 1")).then_some(())
    });
    project.write("change.txt", "a change\n");
    let deploy = project.start(&["deploy"]);
    // The old run gets its stop signal, and its end is what lets the new release have its own.
    let deploy = onward_cli_tests::ended(deploy, || {
        let switched = project.status()["release"]["number"] == 2;
        if switched {
            let _ = fs::remove_file(project.path().join("hold"));
        }
    });
    deploy.code_is(0);
    let _ = fs::remove_file(project.path().join("hold"));
    eventually("runs of the new release", || {
        ran(&project).iter().any(|line| line == "end 2").then_some(())
    });
    let lines = ran(&project);
    let first_new = lines.iter().position(|line| line.starts_with("begin 2")).expect("it is there");
    assert!(!lines[first_new..].iter().any(|line| line.contains("begin 1")), "{lines:?}");
}

#[test]
fn a_killed_agent_loses_no_run_and_begins_none_twice() {
    let project = with_schedule("");
    project.write("hold", "");
    project.run(&["up"]).code_is(0);
    eventually("a run is on", || (ran(&project).len() == 1).then_some(()));
    Project::kill(project.pid_of("agent").expect("an agent runs"));
    eventually("it is gone", || project.pid_of("agent").is_none().then_some(()));
    assert!(schedule(&project)["running"].is_object(), "the next agent knows the run that is on");
    assert_eq!(ran(&project).len(), 1, "and begins no other");
    // The same while the run ends without an agent.
    Project::kill(project.pid_of("agent").expect("an agent runs"));
    fs::remove_file(project.path().join("hold")).expect("let it end");
    eventually("it ended", || (ran(&project).len() == 2).then_some(()));
    let shown = schedule(&project);
    assert_eq!(shown["last"]["ok"], json!(true), "how it ended is known: {shown}");
    eventually("the runs go on", || (ran(&project).len() >= 4).then_some(()));
    never_two_at_once(&ran(&project));
}

#[test]
fn a_run_that_takes_too_long_is_ended_with_all_it_started() {
    let project = with_schedule("within = \"1s\"\n");
    project.write("hold", "");
    project.run(&["up"]).code_is(0);
    let shown = eventually("it was ended", || {
        Some(schedule(&project)).filter(|own| own["last"]["ok"] == false)
    });
    assert!(shown["last"].to_string().contains("did not end in time"), "{shown}");
    assert!(ran(&project).iter().all(|line| line.starts_with("begin")), "none came to its end");
}

#[test]
fn after_down_nothing_begins() {
    let project = with_schedule("");
    project.run(&["up"]).code_is(0);
    eventually("a run", || (!ran(&project).is_empty()).then_some(()));
    project.run(&["down", "-y"]).code_is(0);
    let before = ran(&project);
    // Absence needs time; the control is that the same time brings runs before `down`.
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert_eq!(ran(&project), before);
    project.run(&["up"]).code_is(0);
    eventually("runs again", || (ran(&project).len() > before.len()).then_some(()));
}

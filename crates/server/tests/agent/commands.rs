//! The commands of a release, and the lines that processes print.

use crate::world::{SERVER, World, command, config, eventually, signal, web};
use onward_core::model::ReleaseNumber;
use onward_core::order::{CommandKind, Level};
use onward_core::report::Progress;
use rustix::process::Signal;
use std::fs;

#[test]
fn a_release_command_runs_once_also_when_the_agent_is_killed_meanwhile() {
    let mut world = World::new();
    let mut config = config(&[("worker", command("sleep 1000"))]);
    config.release_command =
        Some("echo run >> \"$ONWARD_SHARED/runs\"; while [ ! -e \"$ONWARD_SHARED/go\" ]; do sleep 0.02; done; echo end".into());
    world.release(1, &[("a", "")], config);
    let shared = world.tree().shared();
    fs::create_dir_all(&shared).unwrap();
    let order = world.order_command(CommandKind::Release, 1);
    let runs = || fs::read_to_string(shared.join("runs")).unwrap_or_default();
    world.until(&order, |report| report.command.is_some());
    eventually("it runs", || !runs().is_empty());
    world.kill_agent();
    world.start_agent();
    let report = world.until(&order, |report| report.command.is_some());
    assert_eq!(report.command.unwrap().outcome, Progress::Running);
    world.kill_agent();
    // It ends while nobody looks.
    fs::write(shared.join("go"), "").unwrap();
    let status = world.tree().command_status(order.operation, CommandKind::Release);
    eventually("it ended", || status.exists());
    world.start_agent();
    world.until(&order, |report| {
        report.command.as_ref().is_some_and(|own| own.outcome == Progress::Done)
    });
    assert_eq!(runs(), "run\n");
    let left = fs::read_dir(world.tree().commands()).unwrap().count();
    assert_eq!(left, 0, "how it ended is kept with the order, so its file is not");
}

#[test]
fn a_command_that_left_no_status_runs_again() {
    let mut world = World::new();
    let mut config = config(&[("worker", command("sleep 1000"))]);
    config.release_command = Some(
        "echo run >> \"$ONWARD_SHARED/runs\"; [ -e \"$ONWARD_SHARED/go\" ] || sleep 1000".into(),
    );
    world.release(1, &[("a", "")], config);
    let shared = world.tree().shared();
    fs::create_dir_all(&shared).unwrap();
    let order = world.order_command(CommandKind::Release, 1);
    world.until(&order, |report| report.command.is_some());
    let runs = || fs::read_to_string(shared.join("runs")).unwrap_or_default();
    eventually("it runs", || !runs().is_empty());
    world.kill_agent();
    let shared_text = shared.display().to_string();
    for group in onward_server::process::own_groups() {
        let environment = onward_server::process::environment(group.pid);
        if environment.get("ONWARD_SHARED") == Some(&shared_text) {
            for member in onward_server::process::members(group.pid) {
                signal(member, Signal::KILL);
            }
        }
    }
    fs::write(shared.join("go"), "").unwrap();
    world.start_agent();
    world.until(&order, |report| {
        report.command.as_ref().is_some_and(|own| own.outcome == Progress::Done)
    });
    assert_eq!(runs(), "run\nrun\n");
}

#[test]
fn a_failed_command_tells_its_status_and_its_lines() {
    let mut world = World::new();
    let mut config = config(&[("web", web())]);
    config.check_command = Some("echo asking $URL; exit 5".into());
    world.release(1, &[("server.py", SERVER)], config);
    world.level(1, Level::Running, false);
    world.converge();
    let order = world.order_command(CommandKind::Check, 1);
    let report = world.until(&order, |report| {
        report.command.as_ref().is_some_and(|own| own.outcome != Progress::Running)
    });
    let Progress::Failed(failure) = report.command.unwrap().outcome else { panic!("it failed") };
    assert_eq!(failure.reason, "the check exited with status 5");
    assert!(failure.lines[0].starts_with("asking http://127.0.0.1:"), "{failure:?}");
}

#[test]
fn the_lines_of_processes_are_given_and_followed() {
    let mut world = World::new();
    let line = "echo one; echo two; while :; do echo more; sleep 0.05; done";
    world.release(1, &[("a", "")], config(&[("worker", command(line))]));
    world.level(1, Level::Running, true);
    world.converge();
    let request = onward_server::protocol::LogsRequest {
        app: "shop".parse().unwrap(),
        environment: "local".parse().unwrap(),
        release: None,
        process: None,
        instance: None,
        lines: 1000,
        follow: false,
    };
    let mut lines = Vec::new();
    let mut client = world.client();
    client
        .logs(request.clone(), |line| {
            lines.push(line);
            true
        })
        .unwrap();
    assert_eq!(lines[0].text, "one");
    assert_eq!((lines[0].release, &*lines[0].source), (ReleaseNumber(1), "worker.1"));
    let mut more = 0;
    let follow = onward_server::protocol::LogsRequest { lines: 0, follow: true, ..request };
    client
        .logs(follow, |line| {
            assert_eq!(line.text, "more");
            more += 1;
            more < 5
        })
        .unwrap();
}

//! Orders that become true, and what is found again after a kill.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::world::{
    SERVER, World, command, config, eventually, get, instance, is_alive, signal, web,
};
use onward_core::model::{Probe, ProbeKind, ReleaseNumber, Runtime, RuntimeSource};
use onward_core::order::{CommandKind, Level};
use onward_core::report::{InstanceState, Progress};
use rustix::process::Signal;

#[test]
fn an_order_becomes_true_and_is_switched() {
    let mut world = World::new();
    world.web_release(1);
    let report = world.serve(1);
    assert_eq!(report.routed, Some(ReleaseNumber(1)));
    assert!(world.get("/").1.starts_with("release 1 "));
    assert_eq!(fs::read_link(world.tree().current()).unwrap().to_str(), Some("releases/1"));
    let old = instance(&report, 1, "web").pid.unwrap();

    world.web_release(2);
    let report = world.serve(2);
    assert!(world.get("/").1.starts_with("release 2 "));
    assert_eq!(fs::read_link(world.tree().current()).unwrap().to_str(), Some("releases/2"));
    assert!(!is_alive(old), "the old version is stopped");
    let traffic = world.client().deliver(&world.last_order(), None, 0).unwrap().report.traffic;
    assert_eq!(traffic.unwrap().requests, 2);
    assert_eq!(report.level(ReleaseNumber(1)), Level::Staged);
}

#[test]
fn an_empty_order_stops_everything_and_only_then_the_agent_shuts_down() {
    let mut world = World::new();
    let mut config = config(&[("web", web()), ("worker", command("sleep 1000"))]);
    config.processes.get_mut(&"worker".parse().unwrap()).unwrap().stop.signal = "INT".into();
    world.release(1, &[("server.py", SERVER)], config);
    let report = world.serve(1);
    let pids = ["web", "worker"].map(|name| instance(&report, 1, name).pid.unwrap());
    let refused = world.client().shutdown().unwrap_err().to_string();
    assert!(refused.contains("shop/local"), "{refused}");

    world.releases.clear();
    let report = world.converge();
    assert!(report.releases.is_empty() && report.routed.is_none());
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
    assert!(!world.tree().release(ReleaseNumber(1)).exists());
    assert!(fs::symlink_metadata(world.tree().current()).is_err());
    let proxy = world.proxy_client().status().unwrap().pid;
    world.client().shutdown().unwrap();
    world.agent_ended();
    assert!(!is_alive(proxy));
}

#[test]
fn a_killed_agent_finds_everything_again() {
    let mut world = World::new();
    world.release(
        1,
        &[("server.py", SERVER)],
        config(&[("web", web()), ("worker", command("sleep 1000"))]),
    );
    let before = world.serve(1);
    let address = world.client().hello().unwrap().address;
    let proxy = world.proxy_client().status().unwrap().pid;
    world.kill_agent();
    let plain = address.strip_prefix("http://").unwrap().to_owned();
    assert_eq!(get(&plain, "/").unwrap().0, 200, "traffic outlives the agent");
    world.start_agent();
    let order = world.last_order();
    let after = world.until(&order, |report| report.converged);
    for name in ["web", "worker"] {
        assert_eq!(instance(&before, 1, name), instance(&after, 1, name));
    }
    assert_eq!(world.client().hello().unwrap().address, address);
    assert_eq!(world.proxy_client().status().unwrap().pid, proxy);

    // What was found is supervised like what was started.
    let worker = instance(&after, 1, "worker").pid.unwrap();
    signal(worker, Signal::KILL);
    let report = world.until(&order, |report| {
        let own = instance(report, 1, "worker");
        own.state == InstanceState::Ready && own.pid != Some(worker)
    });
    assert_eq!(instance(&report, 1, "worker").restarts, 1);
}

#[test]
fn an_instance_that_was_not_recorded_is_found_by_its_environment() {
    let mut world = World::new();
    world.web_release(1);
    let before = world.serve(1);
    world.kill_agent();
    fs::remove_file(world.tree().instances_file()).unwrap();
    world.start_agent();
    let after = world.until(&world.last_order(), |report| report.converged);
    assert_eq!(instance(&before, 1, "web").pid, instance(&after, 1, "web").pid);
}

#[test]
fn what_ended_while_no_agent_looked_is_started_again() {
    let mut world = World::new();
    world.web_release(1);
    let report = world.serve(1);
    let old = instance(&report, 1, "web").pid.unwrap();
    world.kill_agent();
    signal(old, Signal::KILL);
    world.start_agent();
    let report = world.until(&world.last_order(), |report| report.converged);
    assert_ne!(instance(&report, 1, "web").pid, Some(old));
    assert_eq!(world.get("/").0, 200);
}

#[test]
fn a_crashed_app_is_started_again_after_longer_and_longer_pauses() {
    let mut world = World::new();
    let line = "echo tick; sleep 0.3; exit 7";
    world.release(1, &[("a", "")], config(&[("worker", command(line))]));
    world.level(1, Level::Running, true);
    let order = world.order();
    let restarts = |count: u32| {
        let report = world.until(&order, |report| {
            let own = report.releases.get(&ReleaseNumber(1));
            let own = own.and_then(|own| own.instances.first());
            own.is_some_and(|own| own.restarts == count)
        });
        (Instant::now(), report)
    };
    restarts(1);
    let (first, _) = restarts(2);
    let (second, _) = restarts(3);
    let (third, _) = restarts(4);
    assert!(third - second > second - first + Duration::from_millis(100));
    let waiting = world.until(&order, |report| !report.waiting.is_empty()).waiting;
    assert!(waiting[0].why.contains("exited with status 7"), "{waiting:?}");
    assert!(waiting[0].for_ms.is_some());
}

#[test]
fn the_whole_group_is_asked_and_then_killed() {
    let mut world = World::new();
    // Both the process and its child refuse to end.
    let script = "trap '' TERM\nsh -c 'trap \"\" TERM; echo $$ > child; while :; do sleep 1; done' &\n\
                  while :; do sleep 1; done\n";
    let mut stubborn = command("sh stubborn.sh");
    stubborn.stop.within_ms = 300;
    world.release(1, &[("stubborn.sh", script)], config(&[("worker", stubborn)]));
    world.level(1, Level::Running, true);
    let report = world.converge();
    let leader = instance(&report, 1, "worker").pid.unwrap();
    let file = world.tree().release(ReleaseNumber(1)).join("child");
    eventually("the child runs", || {
        fs::read_to_string(&file).is_ok_and(|text| text.ends_with('\n'))
    });
    let child: u32 = fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    assert!(is_alive(leader) && is_alive(child));
    world.level(1, Level::Staged, false);
    let began = Instant::now();
    world.converge();
    assert!(!is_alive(leader) && !is_alive(child));
    assert!(began.elapsed() >= Duration::from_millis(300), "it had its time");
}

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
fn an_app_that_listens_elsewhere_is_told_so() {
    let mut world = World::new();
    let elsewhere = onward_server::process::free_port(&Default::default()).unwrap();
    let mut web = web();
    web.run = onward_core::model::Run::Command(format!("python3 -u server.py {elsewhere}"));
    web.probe.as_mut().unwrap().within_ms = 1_500;
    world.release(1, &[("server.py", SERVER)], config(&[("web", web)]));
    world.level(1, Level::Running, false);
    let order = world.order();
    let failure = |report: &onward_core::report::Report| {
        report.releases.get(&ReleaseNumber(1)).and_then(|own| own.failure.clone())
    };
    let report = world.until(&order, |report| failure(report).is_some());
    let failure = failure(&report).unwrap();
    let wanted = format!("it listens on port {elsewhere}, not on the PORT ");
    assert!(failure.reason.contains(&wanted), "{failure:?}");
    assert_eq!(failure.lines, ["listening"]);
}

#[test]
fn a_bad_answer_and_an_early_end_are_told() {
    let mut world = World::new();
    let kind = ProbeKind::Http { path: "/fail".into(), statuses: vec![], body: None };
    let probe = Probe { kind, within_ms: 700, interval_ms: 100, timeout_ms: 500 };
    let bad = onward_core::model::Process { probe: Some(probe), ..web() };
    world.release(1, &[("server.py", SERVER)], config(&[("web", bad)]));
    world.release(2, &[("a", "")], config(&[("web", command("echo oops; exit 9"))]));
    world.level(1, Level::Running, false);
    world.level(2, Level::Running, false);
    let order = world.order();
    let report = world.until(&order, |report| {
        report.releases.values().filter(|own| own.failure.is_some()).count() == 2
    });
    let failures: Vec<_> =
        report.releases.values().map(|own| own.failure.clone().unwrap()).collect();
    assert_eq!(
        failures[0].reason,
        "web did not answer its probe in time: it answered with status 500"
    );
    assert!(failures[0].answer.as_ref().unwrap().starts_with("HTTP 500: release 1 pid"));
    assert_eq!(failures[1].reason, "web exited with status 9 before it was ready");
    assert_eq!(failures[1].lines.last().unwrap(), "oops");
}

#[test]
fn a_stale_order_is_not_followed_also_after_a_restart() {
    let mut world = World::new();
    world.web_release(1);
    world.level(1, Level::Running, false);
    let old = world.order();
    world.level(1, Level::Routed, true);
    let new = world.order();
    world.until(&old, |report| report.converged);
    world.until(&new, |report| report.converged);
    let check = |world: &World| {
        let report = world.client().deliver(&old, None, 0).unwrap().report;
        assert_eq!((report.accepted, report.routed), (new.generation, Some(ReleaseNumber(1))));
    };
    check(&world);
    world.kill_agent();
    world.start_agent();
    world.until(&new, |report| report.converged);
    check(&world);
    let mut contradiction = new.clone();
    contradiction.releases.clear();
    assert!(world.client().deliver(&contradiction, None, 0).is_err());
}

#[test]
fn a_killed_proxy_is_replaced_and_nobody_is_refused() {
    let mut world = World::new();
    world.web_release(1);
    world.serve(1);
    let address = world.client().hello().unwrap().address;
    let address = address.strip_prefix("http://").unwrap();
    for _ in 0..3 {
        let proxy = world.proxy_client().status().unwrap().pid;
        signal(proxy, Signal::KILL);
        let began = Instant::now();
        // The connection waits in the queue of the socket that the agent holds.
        assert_eq!(get(address, "/").unwrap().0, 200);
        let took = began.elapsed();
        assert!(took < Duration::from_millis(300), "{took:?}");
        eventually("the new proxy answers the agent", || {
            world.client().hello().unwrap().proxy_problem.is_none()
        });
        assert_ne!(world.proxy_client().status().unwrap().pid, proxy);
    }
}

#[test]
fn shared_directories_survive_releases() {
    let mut world = World::new();
    let with_shared = |dirs: &[&str]| {
        let mut config = config(&[("worker", command("sleep 1000"))]);
        config.shared_dirs = dirs.iter().map(ToString::to_string).collect();
        config
    };
    world.release(1, &[("storage/.gitkeep", ""), ("a", "")], with_shared(&["storage", "var/data"]));
    world.level(1, Level::Running, true);
    world.converge();
    let release = world.tree().release(ReleaseNumber(1));
    fs::write(release.join("storage/file"), "kept").unwrap();
    fs::write(release.join("var/data/file"), "too").unwrap();
    world.level(1, Level::Staged, false);
    world.release(2, &[("a", "2")], with_shared(&["storage", "var/data"]));
    world.level(2, Level::Running, true);
    world.converge();
    let release = world.tree().release(ReleaseNumber(2));
    assert_eq!(fs::read_to_string(release.join("storage/file")).unwrap(), "kept");
    assert_eq!(fs::read_to_string(release.join("var/data/file")).unwrap(), "too");

    world.release(3, &[("storage/mine", ""), ("a", "")], with_shared(&["storage"]));
    world.level(3, Level::Running, true);
    let order = world.order();
    let report = world.until(&order, |report| {
        report.releases.get(&ReleaseNumber(3)).is_some_and(|own| own.failure.is_some())
    });
    let failure = report.releases[&ReleaseNumber(3)].failure.clone().unwrap();
    assert!(failure.reason.contains("`storage` is shared"), "{failure:?}");
}

#[test]
fn shared_files_survive_releases() {
    let mut world = World::new();
    let with_shared = |files: &[&str]| {
        let mut config = config(&[("worker", command("sleep 1000"))]);
        config.shared_files = files.iter().map(ToString::to_string).collect();
        config
    };
    let files = with_shared(&["app.db", "db/later.db"]);
    world.release(1, &[("app.db", "first"), ("a", "")], files.clone());
    world.level(1, Level::Running, true);
    world.converge();
    let release = world.tree().release(ReleaseNumber(1));
    assert_eq!(fs::read_to_string(release.join("app.db")).unwrap(), "first", "the bundle's own");
    assert!(!release.join("db/later.db").exists());
    fs::write(release.join("app.db"), "written").unwrap();
    fs::write(release.join("db/later.db"), "made by the app").unwrap();
    world.level(1, Level::Staged, false);
    world.release(2, &[("app.db", "the bundle's"), ("a", "2")], files);
    world.level(2, Level::Running, true);
    world.converge();
    let release = world.tree().release(ReleaseNumber(2));
    assert_eq!(fs::read_to_string(release.join("app.db")).unwrap(), "written");
    assert_eq!(fs::read_to_string(release.join("db/later.db")).unwrap(), "made by the app");

    world.release(3, &[("app.db/inside", ""), ("a", "")], with_shared(&["app.db"]));
    world.level(3, Level::Running, true);
    let order = world.order();
    let report = world.until(&order, |report| {
        report.releases.get(&ReleaseNumber(3)).is_some_and(|own| own.failure.is_some())
    });
    let failure = report.releases[&ReleaseNumber(3)].failure.clone().unwrap();
    assert!(failure.reason.contains("`app.db` shall be a shared file"), "{failure:?}");
}

#[test]
fn a_release_runs_with_its_runtimes_and_names_one_that_is_gone() {
    let mut world = World::new();
    let own = tempfile::tempdir().unwrap();
    let program = own.path().join("speak");
    fs::write(&program, "#!/bin/sh\necho spoken > \"$ONWARD_SHARED/said\"\nexec sleep 1000\n")
        .unwrap();
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let with = |directory: &std::path::Path| {
        let mut config = config(&[("worker", command("speak"))]);
        let from = RuntimeSource::System(vec![directory.to_str().unwrap().to_owned()]);
        config.runtimes.insert("node".to_owned(), Runtime { version: "1.2.3".to_owned(), from });
        config
    };
    world.release(1, &[("a", "")], with(own.path()));
    world.level(1, Level::Running, true);
    world.converge();
    eventually("the program of the runtime ran", || world.tree().shared().join("said").exists());

    world.level(1, Level::Staged, false);
    world.release(2, &[("a", "2")], with(&own.path().join("gone")));
    world.level(2, Level::Running, true);
    let order = world.order();
    let report = world.until(&order, |report| {
        report.releases.get(&ReleaseNumber(2)).is_some_and(|own| own.failure.is_some())
    });
    let failure = report.releases[&ReleaseNumber(2)].failure.clone().unwrap();
    assert!(failure.reason.contains("node 1.2.3 is no longer in "), "{failure:?}");
    assert!(failure.reason.contains("`onward up` brings it again"), "{failure:?}");
}

#[test]
fn changed_files_are_not_run_but_staged_anew() {
    let mut world = World::new();
    world.web_release(1);
    world.converge();
    let file = world.tree().release(ReleaseNumber(1)).join("server.py");
    fs::write(&file, "import evil").unwrap();
    world.serve(1);
    assert_eq!(fs::read_to_string(&file).unwrap(), SERVER);
    assert!(
        world.agent_log().contains("its content was changed")
            || world.agent_log().contains("bytes instead of")
    );
}

#[test]
fn a_damaged_state_is_told_and_touched_by_nobody() {
    let mut world = World::new();
    world.web_release(1);
    let report = world.serve(1);
    let pid = instance(&report, 1, "web").pid.unwrap();
    world.kill_agent();
    let file = world.tree().kept_file();
    let good = fs::read(&file).unwrap();
    fs::write(&file, "{ \"order\": 5 }").unwrap();
    world.start_agent();
    world.releases.clear();
    let order = world.order();
    let refused = world.client().deliver(&order, None, 0).unwrap_err().to_string();
    assert!(refused.contains("app.json is damaged (line 1, column"), "{refused}");
    let key = ("shop".parse().unwrap(), "local".parse().unwrap());
    let report = world.client().report(&key.0, &key.1, None, 0).unwrap().report;
    assert!(report.waiting.iter().any(|own| own.why.contains("is damaged")), "{report:?}");
    assert!(is_alive(pid));
    assert_eq!(world.get("/").0, 200);
    assert_eq!(fs::read(&file).unwrap(), b"{ \"order\": 5 }");
    fs::write(&file, good).unwrap();
    world.until(&order, |report| report.converged);
    assert!(!is_alive(pid));
}

#[test]
fn a_watch_notices_an_end_and_server_errors() {
    let mut world = World::new();
    world.web_release(1);
    world.serve(1);
    let quiet = world.order_watch(1, None, 200);
    let outcome =
        |report: &onward_core::report::Report| report.watch.as_ref().map(|own| own.outcome.clone());
    world.until(&quiet, |report| outcome(report) == Some(Progress::Done));

    let noisy = world.order_watch(1, None, 10_000);
    world.until(&noisy, |report| report.watch.is_some());
    for _ in 0..60 {
        assert_eq!(world.get("/fail").0, 500);
    }
    let failed =
        |report: &onward_core::report::Report| matches!(outcome(report), Some(Progress::Failed(_)));
    let report = world.until(&noisy, failed);
    let Some(Progress::Failed(failure)) = outcome(&report) else { panic!("it failed") };
    assert!(failure.reason.contains("answers after the switch were server errors"));

    let ends = world.order_watch(1, None, 10_000);
    let report = world.until(&ends, |report| outcome(report) == Some(Progress::Running));
    signal(instance(&report, 1, "web").pid.unwrap(), Signal::SEGV);
    let report = world.until(&ends, failed);
    let Some(Progress::Failed(failure)) = outcome(&report) else { panic!("it failed") };
    assert_eq!(failure.reason, "web was killed by signal 11 (SIGSEGV)");
}

#[test]
fn the_address_is_kept_and_a_second_agent_leaves() {
    let mut world = World::new();
    let address = world.client().hello().unwrap().address;
    let second = world.agent_command().output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(second.status.success(), "{said}");
    assert!(said.contains(&format!("as process {}", world.agent_pid())), "{said}");
    world.client().shutdown().unwrap();
    world.agent_ended();
    world.start_agent();
    assert_eq!(world.client().hello().unwrap().address, address);
    world.client().shutdown().unwrap();
    world.agent_ended();

    let taken = std::net::TcpListener::bind(address.strip_prefix("http://").unwrap()).unwrap();
    let refused = world.agent_command().output().unwrap();
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains(&format!("process {}", std::process::id())), "{said}");
    drop(taken);
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

#[test]
fn what_drains_finishes_before_it_is_stopped() {
    let mut world = World::new();
    world.web_release(1);
    world.web_release(2);
    world.serve(1);
    let address = world.client().hello().unwrap().address;
    let address = address.strip_prefix("http://").unwrap().to_owned();
    let slow = std::thread::spawn(move || get(&address, "/slow").unwrap());
    eventually("the request is in flight", || {
        let status = world.proxy_client().status().unwrap();
        status.instances.iter().any(|own| own.in_flight > 0)
    });
    world.serve(2);
    assert!(slow.join().unwrap().1.starts_with("release 1 "));
    let status = world.proxy_client().status().unwrap();
    assert_eq!(status.release("shop/local", 1).lost, 0);
}

#[test]
fn an_app_without_traffic_converges_and_rests() {
    let mut world = World::new();
    world.release(1, &[("a", "")], config(&[("worker", command("sleep 1000"))]));
    let report = world.serve(1);
    assert_eq!(report.routed, Some(ReleaseNumber(1)));
    let version = world.proxy_client().status().unwrap().version;
    let order = world.last_order();
    world.kill_agent();
    world.start_agent();
    let report = world.until(&order, |report| report.converged);
    assert_eq!(report.routed, Some(ReleaseNumber(1)));
    assert_eq!(world.proxy_client().status().unwrap().version, version, "nothing changes");
}

#[test]
fn a_static_site_and_every_kind_of_probe() {
    let mut world = World::new();
    let mut site = web();
    site.run = onward_core::model::Run::Static("public".into());
    let page = ProbeKind::Http {
        path: "/index.html".into(),
        statuses: vec![200],
        body: Some("hello".into()),
    };
    site.probe.as_mut().unwrap().kind = page;
    let mut worker = command("sleep 1000");
    let kind = ProbeKind::Command("test ! -e \"$ONWARD_SHARED/bad\"".into());
    worker.probe = Some(Probe { kind, within_ms: 10_000, interval_ms: 30, timeout_ms: 5_000 });
    world.release(
        1,
        &[("public/index.html", "<p>hello</p>")],
        config(&[("web", site), ("worker", worker)]),
    );
    world.serve(1);
    assert_eq!(world.get("/index.html"), (200, "<p>hello</p>".into()));

    let order = world.last_order();
    let is = |state: InstanceState| {
        world.until(&order, |report| instance(report, 1, "worker").state == state)
    };
    let bad = world.tree().shared().join("bad");
    fs::write(&bad, "").unwrap();
    is(InstanceState::Failing);
    fs::remove_file(&bad).unwrap();
    let report = is(InstanceState::Ready);
    assert_eq!(instance(&report, 1, "worker").restarts, 0, "it is not ended for that");

    let mut plain = web();
    plain.probe.as_mut().unwrap().kind = ProbeKind::Tcp;
    world.release(2, &[("server.py", SERVER)], config(&[("web", plain)]));
    world.serve(2);
    assert!(world.get("/").1.starts_with("release 2 "));
}

#[test]
fn a_warm_release_is_stopped_when_its_time_is_over() {
    let mut world = World::new();
    world.web_release(1);
    world.web_release(2);
    world.serve(1);
    world.level(1, Level::Running, false);
    world.releases.get_mut(&ReleaseNumber(1)).unwrap().warm_ms = Some(700);
    world.level(2, Level::Routed, true);
    let order = world.order();
    let report = world.until(&order, |report| report.routed == Some(ReleaseNumber(2)));
    let warm = instance(&report, 1, "web").pid.unwrap();
    assert!(is_alive(warm));
    let began = Instant::now();
    // The time goes on while no agent is there.
    world.kill_agent();
    world.start_agent();
    world.until(&order, |report| report.releases[&ReleaseNumber(1)].instances.is_empty());
    assert!(!is_alive(warm));
    assert!(began.elapsed() < Duration::from_secs(5));
}

/// An app that changes to an echo when it is asked to.
pub const ECHO: &str = r#"
import os, socketserver
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            piece = self.rfile.readline()
            if not piece:
                return
            head += piece
        if b"upgrade: echo" not in head.lower():
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            return
        self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        while True:
            line = self.rfile.readline()
            if not line:
                return
            self.wfile.write(os.environ["ONWARD_RELEASE"].encode() + b" " + line)
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
Server(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"#;

/// An upgraded connection through the proxy.
pub struct Echo(BufReader<TcpStream>);

impl Echo {
    pub fn open(world: &World) -> Self {
        let address = world.client().hello().unwrap().address;
        let stream = TcpStream::connect(address.strip_prefix("http://").unwrap()).unwrap();
        stream.set_read_timeout(Some(crate::world::PATIENCE)).unwrap();
        let mut echo = Self(BufReader::new(stream));
        let ask = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
        echo.0.get_mut().write_all(ask.as_bytes()).unwrap();
        assert!(echo.line().unwrap().contains(" 101 "));
        while !echo.line().unwrap().trim().is_empty() {}
        echo
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line).map(|_| line)
    }

    pub fn says(&mut self, text: &str) -> std::io::Result<String> {
        self.0.get_mut().write_all(format!("{text}\n").as_bytes())?;
        self.line()
    }
}

#[test]
fn an_upgraded_connection_lives_on_in_the_old_release_until_it_ends_or_is_cut() {
    let mut world = World::new();
    for number in 1..=3 {
        world.release(number, &[("server.py", ECHO)], config(&[("web", web())]));
    }
    world.serve(1);
    let mut first = Echo::open(&world);
    world.level(1, Level::Staged, false);
    world.level(2, Level::Routed, true);
    let order = world.order();
    world.until(&order, |report| report.routed == Some(ReleaseNumber(2)));
    assert_eq!(first.says("on").unwrap(), "1 on\n");
    drop(first);
    world.until(&order, |report| report.converged && instances_of(report, 1) == 0);

    let mut second = Echo::open(&world);
    world.level(2, Level::Staged, false);
    world.level(3, Level::Routed, true);
    let order = world.order();
    world.until(&order, |report| report.routed == Some(ReleaseNumber(3)));
    assert_eq!(second.says("on").unwrap(), "2 on\n");
    // A release that shall be gone has no time for its connections.
    world.releases.remove(&ReleaseNumber(2));
    world.converge();
    assert!(!matches!(second.says("on"), Ok(line) if !line.is_empty()));
}

pub fn instances_of(report: &onward_core::report::Report, release: u64) -> usize {
    report.releases.get(&ReleaseNumber(release)).map_or(0, |own| own.instances.len())
}

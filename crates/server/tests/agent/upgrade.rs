//! Agent and proxy replaced by those of another build, while requests come in.

use std::fs;
use std::time::Duration;

use onward_core::model::ReleaseNumber;
use onward_core::order::Level;
use onward_core::traffic::Traffic;
use onward_proxy::Stage;
use onward_server::protocol::ProxyState;
use rustix::process::Signal;

use crate::trouble::Visitor;
use crate::upgraded::{ECHO, Echo, instances_of};
use crate::world::{World, config, eventually, get, is_alive, signal, web};

fn proxy(world: &World) -> ProxyState {
    world.client().hello().unwrap().proxy.unwrap_or_default()
}

fn version(world: &World) -> String {
    let proxy = proxy(world);
    if proxy.replacing { String::new() } else { proxy.build.unwrap_or_default().version }
}

/// Waits until the proxy is of a version.
fn until_proxy_is(world: &World, wanted: &str) {
    eventually("the proxy is replaced", || version(world) == wanted);
}

fn traffic(world: &World) -> Traffic {
    let (app, environment) = ("shop".parse().unwrap(), "local".parse().unwrap());
    let seen = world.client().report(&app, &environment, None, 0).unwrap();
    seen.report.traffic.unwrap()
}

#[test]
fn up_and_down_under_load_nothing_is_lost_and_everything_is_counted() {
    let mut world = World::new();
    world.web_release(1);
    world.serve(1);
    let app = world.last_pid();
    let before = traffic(&world);
    let visitor = Visitor::of(&world);
    for version in ["0.2.0", "0.1.0"].into_iter().cycle().take(6) {
        // An agent removes the copies of other builds.
        let build = world.build(version);
        world.exchange_agent(&build);
        until_proxy_is(&world, version);
        assert_eq!(world.client().hello().unwrap().build.version, version);
    }
    let (asked, lost) = visitor.ends();
    assert!(lost.is_empty(), "{lost:?}");
    assert_eq!(world.last_pid(), app);
    let mut counted = Traffic::default();
    eventually("all is counted", || {
        counted = traffic(&world).since(&before).expect("the counters are continued");
        counted.requests >= asked
    });
    assert_eq!((counted.requests, counted.lost), (asked, 0));
    eventually("the old ones have ended", || old_proxies(&world) == 0);
}

fn old_proxies(world: &World) -> usize {
    // Sockets that nobody listens at are removed as soon as the proxies are asked.
    let _ = traffic(world);
    let entries = fs::read_dir(world.runtime()).unwrap().flatten();
    entries.filter_map(|entry| onward_server::layout::old_proxy_pid(&entry.file_name())).count()
}

#[test]
fn what_is_open_outlives_the_exchange_and_a_deploy_waits_for_it() {
    let mut world = World::new();
    for number in 1..=2 {
        world.release(number, &[("server.py", ECHO)], config(&[("web", web())]));
    }
    world.serve(1);
    let first = proxy(&world).pid;
    let mut echo = Echo::open(&world);
    let build = world.build("0.2.0");
    world.exchange_agent(&build);
    until_proxy_is(&world, "0.2.0");
    assert_ne!(proxy(&world).pid, first);
    assert_eq!(echo.says("on").unwrap(), "1 on\n");

    world.level(1, Level::Staged, false);
    world.level(2, Level::Routed, true);
    let order = world.order();
    let routed = world.until(&order, |report| report.routed == Some(ReleaseNumber(2)));
    assert_eq!(instances_of(&routed, 1), 1, "its connection is open at the old proxy");
    assert_eq!(echo.says("still").unwrap(), "1 still\n");
    drop(echo);
    world.until(&order, |report| report.converged && instances_of(report, 1) == 0);
    eventually("the old proxy has ended", || !is_alive(first));
}

#[test]
fn a_proxy_that_does_not_become_ready_changes_nothing() {
    let mut world = World::new();
    world.web_release(1);
    world.serve(1);
    let first = proxy(&world).pid;
    let table = world.root().join("proxy").join("table.json");
    let good = fs::read(&table).unwrap();
    let visitor = Visitor::of(&world);
    let build = world.build("0.2.0");
    world.client().quit().unwrap();
    world.agent_ended();
    fs::write(&table, "damaged").unwrap();
    world.start_agent_of(&build);
    eventually("it was tried", || proxy(&world).problem.is_some());
    let state = proxy(&world);
    assert_eq!((state.pid, state.replacing), (first, false));
    let problem = state.problem.unwrap();
    assert!(problem.contains("exited with status 1") && problem.contains("Damaged"), "{problem}");

    fs::write(&table, good).unwrap();
    assert!(world.client().renew().unwrap().proxy.unwrap().replacing);
    until_proxy_is(&world, "0.2.0");
    let (_, lost) = visitor.ends();
    assert!(lost.is_empty(), "{lost:?}");
}

#[test]
fn an_agent_that_is_killed_at_any_moment_of_an_exchange_refuses_nobody() {
    let mut world = World::new();
    world.web_release(1);
    world.serve(1);
    let app = world.last_pid();
    let visitor = Visitor::of(&world);
    for (step, version) in (0..24).zip(["0.2.0", "0.1.0"].into_iter().cycle()) {
        let build = world.build(version);
        world.client().quit().unwrap();
        world.agent_ended();
        let mut agent = world.agent_command_of(&build).spawn().unwrap();
        // An exchange takes about 60 ms from the agent's start.
        std::thread::sleep(Duration::from_millis(step * 4));
        agent.kill().unwrap();
        agent.wait().unwrap();
        world.start_agent_of(&build);
        until_proxy_is(&world, version);
        // The successor that the killed agent began may serve first, and be succeeded in turn.
        eventually(&format!("step {step}: agent and proxy agree"), || {
            let status = world.try_proxy();
            status.is_some_and(|status| {
                (status.stage, status.pid) == (Stage::Serving, proxy(&world).pid)
            })
        });
    }
    let (asked, lost) = visitor.ends();
    assert!(lost.is_empty(), "{asked}: {lost:?}");
    assert_eq!(world.last_pid(), app);
    eventually("no proxy is left over", || proxies(&world) == 1);
}

fn proxies(world: &World) -> usize {
    let root = world.root().display().to_string();
    let groups = onward_server::process::own_groups();
    let is_proxy = |pid: u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.contains(&root) && line.contains(" proxy run ")
    };
    groups.into_iter().filter(|group| is_proxy(group.pid)).count()
}

#[test]
fn when_the_new_proxy_is_killed_while_the_old_one_leaves_nobody_is_refused() {
    let mut world = World::new();
    world.web_release(1);
    world.serve(1);
    let address = world.client().hello().unwrap().address;
    let address = address.trim_start_matches("http://").to_owned();
    let slow = std::thread::spawn({
        let address = address.clone();
        move || get(&address, "/slow")
    });
    eventually("it is asked", || {
        world.try_proxy().is_some_and(|status| status.instances.iter().any(|i| i.in_flight == 1))
    });
    let build = world.build("0.2.0");
    world.exchange_agent(&build);
    until_proxy_is(&world, "0.2.0");
    // Both die: the old proxy, which finishes the slow request, still holds the socket.
    let new = proxy(&world).pid;
    world.kill_agent();
    signal(new, Signal::KILL);
    let visitor = std::thread::spawn(move || get(&address, "/"));
    world.start_agent_of(&build);
    assert_eq!(visitor.join().unwrap().unwrap().0, 200);
    assert_eq!(slow.join().unwrap().unwrap().0, 200);
}

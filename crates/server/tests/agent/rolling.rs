//! Orders that become true, and how traffic goes from one release to the next.

use crate::world::{SERVER, World, command, config, eventually, get, instance, is_alive, web};
use onward_core::model::ReleaseNumber;
use onward_core::order::Level;
use std::fs;
use std::time::{Duration, Instant};

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
    // The time goes on while no agent is there.
    world.kill_agent();
    world.start_agent();
    world.until(&order, |report| report.releases[&ReleaseNumber(1)].instances.is_empty());
    assert!(!is_alive(warm));
}

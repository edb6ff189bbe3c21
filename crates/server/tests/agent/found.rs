//! What is found again, or made good, after a kill, a crash and a damage.

use crate::world::{World, command, config, eventually, get, instance, is_alive, signal};
use onward_core::model::ReleaseNumber;
use onward_core::order::{Balance, Level};
use onward_core::report::InstanceState;
use rustix::process::Signal;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn a_killed_agent_finds_everything_again() {
    let (mut world, before) = World::with_web_and_worker();
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
fn a_balancer_answers_for_an_app_of_which_it_runs_nothing_itself() {
    let peer = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = peer.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in peer.incoming().map_while(Result::ok) {
            let _head = stream.read(&mut [0; 4096]);
            let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\npeer";
            let _gone = stream.write_all(answer);
        }
    });
    let mut world = World::new();
    world.release(1, &[("a", "")], config(&[]));
    world.serve(1);
    assert_eq!(world.get("/").0, 404, "a control: without other servers nobody answers");

    let mut order = world.order();
    order.fleet_key = Some("00112233445566778899aabbccddeeff".into());
    let other = ("other".parse().unwrap(), address.to_string());
    order.balance = Some(Balance { peers: [other].into() });
    world.until(&order, |report| report.converged);
    assert_eq!(world.get("/"), (200, "peer".into()));
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
        // The connection waits in the queue of the socket that the agent holds. How long is a
        // figure (`cargo xtask bench kill`): here other things are done at the same time.
        assert_eq!(get(address, "/").unwrap().0, 200);
        eventually("the new proxy answers the agent", || {
            world.client().hello().unwrap().proxy_problem.is_none()
        });
        assert_ne!(world.proxy_client().status().unwrap().pid, proxy);
    }
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

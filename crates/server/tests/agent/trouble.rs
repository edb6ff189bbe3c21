//! What goes wrong around an agent: kills at any moment, a full disk, a reboot, strangers.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use onward_core::document::{Document, Server};
use onward_core::model::{Generation, Process, Release, ReleaseNumber, WriteId};
use onward_core::order::Level;
use onward_core::outcome::Outcome;
use onward_core::ports::{Link, StateStore};
use onward_core::report::{InstanceState, Progress, Report, Waiting};
use onward_server::client::AgentLink;
use onward_server::layout::agent_socket;
use onward_server::process;
use onward_store::state::DirectoryStore;
use rustix::process::Signal;

use crate::world::{SERVER, World, command, config, eventually, get, instance, signal, web};

/// Asks the app again and again, without ever trying twice, until it is dropped.
pub struct Visitor {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<Vec<String>>>,
}

impl Visitor {
    pub fn of(world: &World) -> Self {
        let address = world.client().hello().unwrap().address;
        let address = address.strip_prefix("http://").unwrap().to_owned();
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (stop.clone(), asked.clone());
        let thread = std::thread::spawn(move || {
            let mut lost = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                match get(&address, "/") {
                    Ok((200, _)) => {}
                    other => lost.push(format!("{other:?}")),
                }
                counted.fetch_add(1, Ordering::Relaxed);
            }
            lost
        });
        Self { stop, asked, thread: Some(thread) }
    }

    pub fn ends(mut self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let lost = self.thread.take().unwrap().join().unwrap();
        (self.asked.load(Ordering::Relaxed), lost)
    }
}

#[test]
fn an_agent_that_is_killed_at_any_moment_of_a_deploy_loses_no_request() {
    let mut world = World::new();
    world.web_release(1);
    world.serve(1);
    let visitor = Visitor::of(&world);
    for number in 2..14_u64 {
        world.web_release(number);
        for level in [Level::Running, Level::Routed] {
            world.level(number, level, true);
            if level == Level::Routed {
                world.level(number - 1, Level::Running, false);
            }
            let order = world.order();
            world.client().deliver(&order, None, 0).unwrap();
            std::thread::sleep(Duration::from_millis(number * 17));
            world.kill_agent();
            world.start_agent();
            world.until(&order, |report| report.converged);
        }
        world.level(number - 1, Level::Staged, false);
        world.converge();
        world.releases.remove(&ReleaseNumber(number - 1));
    }
    world.converge();
    assert!(get_release(&world).starts_with("release 13 "));
    let (asked, lost) = visitor.ends();
    assert!(asked > 100, "{asked}");
    assert_eq!(lost, Vec::<String>::new(), "of {asked}");
    let shared = world.tree().shared().display().to_string();
    let ours = process::own_groups()
        .into_iter()
        .filter(|own| process::environment(own.pid).get("ONWARD_SHARED") == Some(&shared));
    assert_eq!(ours.count(), 1, "nothing is left of other releases");
}

fn get_release(world: &World) -> String {
    world.get("/").1
}

#[test]
fn a_proxy_that_is_killed_under_load_refuses_nobody() {
    let mut world = World::new();
    world.web_release(1);
    world.serve(1);
    let visitors: Vec<Visitor> = (0..4).map(|_| Visitor::of(&world)).collect();
    let asked = || visitors.iter().map(|own| own.asked.load(Ordering::Relaxed)).sum::<u64>();
    const KILLS: usize = 15;
    for _ in 0..KILLS {
        let before = asked();
        eventually("they ask", || asked() > before + 20);
        let proxy = world.proxy_client().status().unwrap().pid;
        signal(proxy, Signal::KILL);
        eventually("another proxy answers", || {
            world.try_proxy().is_some_and(|status| status.pid != proxy)
        });
    }
    let lost: Vec<String> = visitors.into_iter().flat_map(|own| own.ends().1).collect();
    // What was inside the proxy is cut: at most one request of each visitor.
    assert!(lost.len() <= KILLS * 4, "{lost:?}");
    assert!(!lost.iter().any(|own| own.contains("Refused")), "{lost:?}");
}

#[test]
fn the_visitor_notices_what_is_lost() {
    let mut world = World::new();
    world.web_release(1);
    let report = world.serve(1);
    let visitor = Visitor::of(&world);
    let asked = visitor.asked.clone();
    eventually("it asks", || asked.load(Ordering::Relaxed) > 5);
    // The app is taken out of the way of its own proxy: requests in it are cut.
    for _ in 0..3 {
        let pid = world.last_pid();
        signal(pid, Signal::KILL);
        let before = asked.load(Ordering::Relaxed);
        eventually("it goes on", || asked.load(Ordering::Relaxed) > before + 5);
    }
    world.releases.clear();
    world.converge();
    let before = asked.load(Ordering::Relaxed);
    eventually("it goes on", || asked.load(Ordering::Relaxed) > before + 5);
    let (_, lost) = visitor.ends();
    assert!(!lost.is_empty());
    drop(report);
}

#[test]
fn after_a_reboot_everything_is_started_again() {
    let (mut world, before) = World::with_web_and_worker();
    let address = world.client().hello().unwrap().address;
    let proxy = world.proxy_client().status().unwrap().pid;
    world.kill_agent();
    let pids = ["web", "worker"].map(|name| instance(&before, 1, name).pid.unwrap());
    for pid in pids.into_iter().chain([proxy]) {
        signal(pid, Signal::KILL);
    }
    // As after a reboot: another start of the system, and the sockets are gone.
    let file = world.tree().instances_file();
    let text = fs::read_to_string(&file).unwrap().replace(&process::boot_id(), "another");
    fs::write(&file, text).unwrap();
    fs::remove_dir_all(world.runtime()).unwrap();
    world.start_agent();
    let order = world.last_order();
    let after = world.until(&order, |report| report.converged);
    for name in ["web", "worker"] {
        assert_ne!(instance(&before, 1, name).pid, instance(&after, 1, name).pid);
        assert_eq!(instance(&after, 1, name).restarts, 0);
    }
    assert_eq!(world.client().hello().unwrap().address, address);
    assert_eq!(world.get("/").0, 200);
}

#[test]
fn files_that_were_removed_by_hand_are_brought_again_before_anything_starts_from_them() {
    let mut world = World::new();
    let two = Process { count: 2, ..web() };
    world.release(1, &[("server.py", SERVER)], config(&[("web", two)]));
    world.serve(1);
    let order = world.last_order();
    let ready = |report: &Report| -> Vec<u32> {
        let all = report.releases[&ReleaseNumber(1)].instances.iter();
        let ready = all.filter(|own| own.state == InstanceState::Ready);
        ready.filter_map(|own| own.pid).collect()
    };
    let before = world.until(&order, |report| ready(report).len() == 2);
    fs::remove_file(world.tree().release(ReleaseNumber(1)).join("server.py")).unwrap();

    // What still runs from the files keeps them as they are, and the report says why there is one less.
    let pids = ready(&before);
    signal(pids[0], Signal::KILL);
    let is_told = |report: &Report| {
        let told = |waiting: &Waiting| waiting.why.contains("were changed since they were staged");
        report.waiting.iter().any(told)
    };
    let alone = world.until(&order, is_told);
    assert_eq!(ready(&alone), pids[1..], "{alone:#?}");
    assert_eq!(world.get("/").0, 200);

    signal(pids[1], Signal::KILL);
    world.until(&order, |report| ready(report).len() == 2);
    assert_eq!(world.get("/").0, 200);
}

#[test]
fn a_watch_fails_when_the_app_ended_while_no_agent_looked() {
    let mut world = World::new();
    world.web_release(1);
    world.serve(1);
    let order = world.order_watch(1, None, 60_000);
    let report = world.until(&order, |report| report.watch.is_some());
    world.kill_agent();
    signal(instance(&report, 1, "web").pid.unwrap(), Signal::KILL);
    world.start_agent();
    let failed = |report: &Report| {
        let outcome = report.watch.as_ref().map(|own| &own.outcome);
        matches!(outcome, Some(Progress::Failed(_)))
    };
    world.until(&order, failed);
    // It is not held against a later watch.
    let order = world.order_watch(1, None, 100);
    world.until(&order, |report| {
        report.watch.as_ref().is_some_and(|own| own.outcome == Progress::Done)
    });
}

#[test]
fn a_link_finds_a_restarted_agent() {
    let mut world = World::new();
    world.web_release(1);
    let order = world.order();
    let link = AgentLink::new(agent_socket(&world.runtime()));
    let Outcome::Done(report) = link.deliver(&order, None) else { panic!("it is there") };
    assert_eq!(report.accepted, order.generation);
    world.kill_agent();
    assert!(matches!(link.deliver(&order, None), Outcome::Refused(_)), "nobody listens");
    world.start_agent();
    assert!(matches!(link.deliver(&order, None), Outcome::Done(_)));
    world.kill_agent();
    world.start_agent();
    assert!(matches!(link.deliver(&order, None), Outcome::Done(_)), "the old connection is dead");
}

#[test]
fn the_document_of_the_store_is_followed_and_the_report_is_kept_there() {
    let mut world = World::new();
    world.web_release(1);
    let (app, environment) = ("shop".parse().unwrap(), "local".parse().unwrap());
    let store = DirectoryStore::new(&world.root().join("state"), &app, &environment);
    let now = Timestamp::UNIX_EPOCH;
    let mut document = Document::first(app, environment, WriteId::new("w"), now);
    let roles = ["web".parse().unwrap()].into();
    let server = "local".parse().unwrap();
    document.servers.insert(server, Server { address: "127.0.0.1".into(), roles, reach: None });
    let order = world.releases[&ReleaseNumber(1)].clone();
    let release = Release {
        number: ReleaseNumber(1),
        bundle: order.bundle,
        config: order.config,
        created: now,
    };
    document.releases.insert(ReleaseNumber(1), release);
    document.last_release = ReleaseNumber(1);
    document.serving = Some(ReleaseNumber(1));
    document.demand.release = Some(ReleaseNumber(1));
    document.generation = Generation(1);
    assert!(matches!(store.write(None, &Arc::new(document)), Outcome::Done(_)));
    let name = "local".parse().unwrap();
    eventually("the report says that it serves", || {
        store
            .report(&name)
            .unwrap()
            .is_some_and(|report| report.converged && report.routed == Some(ReleaseNumber(1)))
    });
    assert!(get_release(&world).starts_with("release 1 "));
}

#[test]
fn logs_are_cut_under_a_running_process() {
    let mut world = World::new();
    let line =
        "yes 0123456789012345678901234567890123456789 | head -c 12000000; echo end; sleep 1000";
    world.release(1, &[("a", "")], config(&[("worker", command(line))]));
    world.level(1, Level::Running, true);
    let report = world.converge();
    let slot = onward_core::reconcile::SlotId {
        release: ReleaseNumber(1),
        process: "worker".parse().unwrap(),
        index: 1,
    };
    let log = world.tree().log(&slot);
    let older = log.with_extension("log.1");
    eventually("the log is rotated", || {
        older.exists() && fs::metadata(&log).is_ok_and(|meta| meta.len() < 1 << 20)
    });
    assert!(fs::metadata(&older).unwrap().len() <= process::logs::LOG_BYTES_MAX);
    assert!(instance(&report, 1, "worker").pid.is_some());
}

/// A small file system in memory; unmounted in the end.
struct Small(PathBuf);

impl Small {
    /// `None`, said aloud, where mounting is not allowed.
    fn mount(at: &Path) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=16M", "none"]).arg(at);
        if mount.output().is_ok_and(|output| output.status.success()) {
            return Some(Self(at.to_owned()));
        }
        eprintln!("left out: mounting a small tmpfs is not allowed here");
        None
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily: processes of the test may still have files open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn on_a_full_disk_an_order_is_refused_and_what_runs_goes_on() {
    let mut world = World::without_agent();
    let Some(small) = Small::mount(world.tree().directory()) else { return };
    world.start_agent();
    world.web_release(1);
    world.serve(1);
    let before = fs::read(world.tree().kept_file()).unwrap();
    let filler = small.0.join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    drop(file);
    world.level(1, Level::Staged, false);
    let order = world.order();
    let refused = world.client().deliver(&order, None, 0).unwrap_err().to_string();
    assert!(refused.contains("no space is left on the device"), "{refused}");
    assert_eq!(fs::read(world.tree().kept_file()).unwrap(), before);
    assert_eq!(world.get("/").0, 200);
    fs::remove_file(&filler).unwrap();
    world.until(&order, |report| report.converged && report.routed.is_none());
}

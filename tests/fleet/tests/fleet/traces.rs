//! What is killed half-way is finished or removed, and what is removed leaves nothing.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use onward::providers::nspawn::{Lab, ServerSpec};
use onward_fleet_tests::traces::all;
use onward_fleet_tests::{Fleet, is_long};

#[test]
fn down_leaves_no_trace() {
    let spec = |name: &str, disk_mib| {
        let name = name.parse().expect("a name");
        ServerSpec { name, disk_mib }
    };
    let Some(fleet) = Fleet::of(&[spec("small", Some(64)), spec("one", None)]) else { return };
    let id = fleet.lab().id().to_owned();
    let there = all(&id);
    for kind in ["ip", "nft", "cat", "ps", "losetup", "find"] {
        let is_seen = there.iter().any(|trace| trace.starts_with(kind));
        assert!(is_seen, "a control: {kind} shows what is there: {there:#?}");
    }
    let lock = lock_of(&fleet.lab().directory().join("servers/one/root"));
    assert!(lock.exists(), "a control: {}", lock.display());
    fleet.lab().down().expect("down");
    assert_eq!(all(&id), Vec::<String>::new());
    assert!(!lock.exists(), "{}", lock.display());
    fleet.lab().down().expect("twice is fine");
}

/// systemd-nspawn's lock of a directory has nothing but its inode in its name.
fn lock_of(root: &Path) -> PathBuf {
    let root = fs::metadata(root).expect("it is mounted");
    format!("/run/systemd/nspawn/locks/inode-{}:{}", root.dev(), root.ino()).into()
}

/// Runs the other program until `after` has passed and kills it; whether it was still running.
fn killed(place: &Path, words: &[&str], after: Duration) -> bool {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
    command.arg(place).args(words).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("it runs");
    let began = Instant::now();
    while began.elapsed() < after {
        if child.try_wait().expect("a child").is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().expect("killed");
    child.wait().expect("ended");
    true
}

#[test]
fn after_a_restart_of_this_machine_all_is_as_it_was() {
    let Some(fleet) = Fleet::boot(2) else { return };
    fleet.run(1, "echo kept > /root/kept");
    let id = fleet.lab().id().to_owned();
    // What a restart takes: everything that runs, links, rules and mounts. Files stay.
    for name in fleet.machines().iter().map(|machine| &machine.name) {
        fleet.lab().power_cut(name).expect("cut");
        let root = fleet.lab().directory().join("servers").join(name.as_str()).join("root");
        did("umount", &[&root.to_string_lossy()]);
    }
    did("ip", &["link", "delete", "dev", &format!("ownsp-{id}")]);
    did("nft", &["delete", "table", "ip", &format!("ownsp_{id}")]);
    let specs: Vec<_> =
        fleet.machines().iter().map(|machine| ServerSpec::of(machine.name.clone())).collect();
    assert_eq!(fleet.up(&specs).expect("up"), fleet.machines());
    assert_eq!(fleet.run(1, "cat /root/kept"), "kept\n");
    fleet.run(0, "getent hosts deb.debian.org");
}

fn did(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().expect("it runs");
    assert!(status.success(), "{program} {arguments:?}");
}

#[test]
fn whoever_is_killed_at_whatever_moment_the_next_one_finishes_it() {
    // For the root file system, and to know whether this can be done here.
    let Some(fleet) = Fleet::boot(1) else { return };
    let place = fleet.directory().join("killed");
    fs::create_dir(&place).expect("a directory");
    let lab = Lab::of(&place, "lab");
    let specs = ["one", "two"].map(|name| ServerSpec::of(name.parse().expect("a name")));
    let step = Duration::from_millis(if is_long() { 25 } else { 120 });

    let mut kills = 0;
    for at in 1.. {
        if !killed(&place, &["up", "one", "two"], step * at) {
            break;
        }
        kills += 1;
        if at % 2 == 0 {
            lab.down().expect("a half-made lab is removed");
            assert_eq!(all(lab.id()), Vec::<String>::new(), "killed after {:?}", step * at);
        } else {
            let machines = lab.up(&specs, &|_| {}).expect("a half-made lab is finished");
            assert_eq!(machines.len(), 2);
            assert!(lab.state().expect("a state").iter().all(|server| server.is_running));
            lab.down().expect("down");
        }
    }
    let mut kills_of_down = 0;
    for at in 0.. {
        lab.up(&specs, &|_| {}).expect("up");
        if !killed(&place, &["down"], step / 2 * at) {
            break;
        }
        kills_of_down += 1;
        if at % 2 == 0 {
            lab.down().expect("a half-removed lab is removed");
            assert_eq!(all(lab.id()), Vec::<String>::new(), "killed after {:?}", step / 2 * at);
        }
    }
    lab.down().expect("down");
    assert_eq!(all(lab.id()), Vec::<String>::new());
    assert!(kills > 2 && kills_of_down > 1, "a control: {kills} and {kills_of_down} were killed");
}

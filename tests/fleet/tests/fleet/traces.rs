//! What is killed half-way is finished or removed, and what is removed leaves nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

use onward_fleet_tests::Fleet;

/// Everything on this machine that has the lab in its name.
fn traces(id: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (program, arguments) in [
        ("ip", &["-o", "link"][..]),
        ("nft", &["list", "tables"]),
        ("cat", &["/proc/self/mountinfo"]),
        ("ps", &["-eo", "args"]),
        ("losetup", &["--list", "--output", "BACK-FILE"]),
        ("find", &["/sys/fs/cgroup", "/run", "/var/lib/onward-nspawn/labs", "-name", "*"]),
    ] {
        let output = Command::new(program).args(arguments).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines = text.lines().filter(|line| line.contains(id)).map(str::to_owned);
        found.extend(lines.map(|line| format!("{program}: {line}")));
    }
    found
}

/// The locks that systemd-nspawn has of directories, which only have an inode in their name.
fn locks() -> usize {
    fs::read_dir("/run/systemd/nspawn/locks").map_or(0, Iterator::count)
}

#[test]
fn down_leaves_no_trace() {
    let small = onward::providers::nspawn::ServerSpec {
        name: "small".parse().expect("a name"),
        disk_mib: Some(64),
    };
    let one = onward::providers::nspawn::ServerSpec::of("one".parse().expect("a name"));
    let Some(fleet) = Fleet::of(&[small, one]) else { return };
    let id = fleet.lab().id().to_owned();
    let there = traces(&id);
    for kind in ["ip", "nft", "cat", "ps", "losetup", "find"] {
        let is_seen = there.iter().any(|trace| trace.starts_with(kind));
        assert!(is_seen, "a control: {kind} shows what is there: {there:#?}");
    }
    let lock = lock_of(&fleet.lab().directory().join("servers/one/root"));
    assert!(lock.exists(), "a control: {}", lock.display());
    fleet.lab().down().expect("down");
    assert_eq!(traces(&id), Vec::<String>::new());
    assert!(!lock.exists() || locks() == 0, "{}", lock.display());
    fleet.lab().down().expect("twice is fine");
}

fn lock_of(root: &Path) -> std::path::PathBuf {
    use std::os::unix::fs::MetadataExt;
    let root = fs::metadata(root).expect("it is mounted");
    format!("/run/systemd/nspawn/locks/inode-{}:{}", root.dev(), root.ino()).into()
}

//! What a lab leaves on this machine.

use std::fs;
use std::path::Path;
use std::process::Command;

use onward::providers::nspawn::Lab;

/// In the directory of a lab: the process id of its test.
const MARK: &str = ".onward/fleet.pid";

/// Says that a lab of this directory belongs to this process.
///
/// # Panics
/// When that cannot be written.
pub(crate) fn mark(place: &Path) {
    fs::create_dir_all(place.join(".onward")).expect("a directory");
    fs::write(place.join(MARK), std::process::id().to_string()).expect("a file");
}

/// Removes the labs of tests whose process is gone.
pub(crate) fn remove_what_was_killed() {
    for lab in Lab::all().unwrap_or_default() {
        let Ok(process) = fs::read_to_string(lab.place().join(MARK)) else { continue };
        if !Path::new("/proc").join(process).exists() && lab.down().is_ok() {
            // Another test may be at it.
            let _ = fs::remove_dir_all(lab.place());
        }
    }
}

/// Everything on this machine that has the lab in its name.
///
/// # Panics
/// When it cannot be looked for.
pub fn all(id: &str) -> Vec<String> {
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

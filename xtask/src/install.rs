//! The programs that tests and figures need, installed where that is allowed.

use std::process::Command;

use crate::steps::{has, step};

/// Program and Debian package.
const NEEDED: [(&str, &str); 9] = [
    ("wrk", "wrk"),
    ("nginx", "nginx-light"),
    ("strace", "strace"),
    ("systemd-analyze", "systemd"),
    ("zstd", "zstd"),
    ("systemd-nspawn", "systemd-container"),
    ("mmdebstrap", "mmdebstrap"),
    ("nft", "nftables"),
    ("ssh", "openssh-client"),
];

/// Installs what is missing (root on Debian), and says plainly what is left out.
pub fn missing_programs() {
    let missing: Vec<_> = NEEDED.iter().filter(|(program, _)| !has(program)).collect();
    if missing.is_empty() {
        return;
    }
    let is_root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    if is_root && has("apt-get") {
        let packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
        let mut apt = Command::new("sh");
        apt.arg("-c").arg(format!(
            "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
             --no-install-recommends {}",
            packages.join(" ")
        ));
        if let Err(error) = step("install what the tests need", &mut apt) {
            println!("{error}");
        }
    }
    for (program, package) in NEEDED.iter().filter(|(program, _)| !has(program)) {
        println!("LEFT OUT: what needs `{program}` (Debian package {package}), which is missing");
    }
}

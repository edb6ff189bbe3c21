//! What a machine must have before servers can be made on it.

use super::{LabError, control_group, program};

/// Program and Debian package.
const PROGRAMS: [(&str, &str); 8] = [
    ("systemd-nspawn", "systemd-container"),
    ("mmdebstrap", "mmdebstrap"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("ssh-keygen", "openssh-client"),
    ("setsid", "util-linux"),
    ("mount", "mount"),
    ("mkfs.ext4", "e2fsprogs"),
];

/// Whether this machine can have servers of its own; changes nothing.
///
/// # Errors
/// The first of: another system, not root, programs that are missing (all of them), a kernel
/// without control groups.
pub fn check() -> Result<(), LabError> {
    if !cfg!(target_os = "linux") {
        return Err(LabError::NotLinux(std::env::consts::OS));
    }
    if !rustix::process::geteuid().is_root() {
        return Err(LabError::NotRoot);
    }
    let missing: Vec<_> = PROGRAMS.iter().filter(|(name, _)| !program::exists(name)).collect();
    if !missing.is_empty() {
        let programs = missing.iter().map(|(name, _)| *name).collect();
        let packages = missing.iter().map(|(_, package)| *package).collect();
        return Err(LabError::Missing { programs, packages });
    }
    control_group::root().map(drop)
}

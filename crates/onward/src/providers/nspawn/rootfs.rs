//! The file system that every server starts from: Debian 12 with systemd and sshd, built once.
//!
//! It is built beside its place and renamed, so that one that is there is whole. Its name is the
//! digest of the recipe: another recipe makes another one, and servers keep the one that they were
//! made from.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use onward_core::model::Digest;

use super::{Event, LabError, lock, mounts, program};

/// The suite of Debian.
const SUITE: &str = "bookworm";
/// Where packages come from.
const SOURCES: [&str; 3] = [
    "deb http://deb.debian.org/debian bookworm main",
    "deb http://deb.debian.org/debian bookworm-updates main",
    "deb http://security.debian.org/debian-security bookworm-security main",
];
/// What proves that they are Debian's.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// What a small server of a hosting company has; with it a server is hardened without installing
/// anything. No `curl`: what needs it says so.
const PACKAGES: &str = "ca-certificates,dbus,e2fsprogs,iproute2,iputils-ping,nftables,openssh-server,\
                        procps,sudo,systemd,systemd-sysv,systemd-timesyncd,unattended-upgrades";
/// What is done inside before it is used: every server gets a host key and a machine id of its own.
const SETUP: &str = r#"
set -e
rm -f "$1"/etc/ssh/ssh_host_*
: > "$1/etc/machine-id"
echo LANG=C.UTF-8 > "$1/etc/default/locale"
chroot "$1" systemctl enable ssh.service systemd-networkd.service
"#;
/// The smallest size of a disk with room for it and a few servers, in bytes.
const SPACE_MIN: u64 = 1 << 30;

/// The name of what the recipe makes.
pub(super) fn name() -> String {
    let recipe = [SUITE, &SOURCES.join("\n"), PACKAGES, SETUP, std::env::consts::ARCH].join("\n");
    Digest::of(recipe.as_bytes()).to_string()[..16].to_owned()
}

/// Where the one of a name is, or will be.
pub(super) fn path(base: &Path, name: &str) -> PathBuf {
    base.join("rootfs").join(name)
}

/// Builds it unless it is there; its name. Of several commands at once, one builds. Those of other
/// recipes go when no server was made from them.
pub(super) fn ready(
    base: &Path,
    used: &dyn Fn() -> Result<BTreeSet<String>, LabError>,
    tell: &dyn Fn(Event),
) -> Result<String, LabError> {
    let name = name();
    let place = path(base, &name);
    if place.exists() {
        return Ok(name);
    }
    let lock = lock::take(&base.join("rootfs.lock"), &|| tell(Event::RootfsByAnother))?;
    if place.exists() {
        return Ok(name);
    }
    build(base, &place, &lock, tell)?;
    let used = used()?;
    for other in fs::read_dir(base.join("rootfs")).into_iter().flatten().flatten() {
        let other_name = other.file_name().to_string_lossy().into_owned();
        if other_name != name && !used.contains(&other_name) {
            remove(&other.path())?;
        }
    }
    Ok(name)
}

/// How long the build may take: a minute, where packages come fast; the slowest line is done by then.
const BUILT_WITHIN: Duration = Duration::from_secs(45 * 60);

fn build(base: &Path, place: &Path, lock: &File, tell: &dyn Fn(Event)) -> Result<(), LabError> {
    if !Path::new(KEYRING).exists() {
        let (programs, packages) = (vec![KEYRING], vec!["debian-archive-keyring"]);
        return Err(LabError::Missing { programs, packages });
    }
    let new = place.with_extension("new");
    let log = base.join("rootfs.log");
    remove(&new)?;
    fs::create_dir_all(&new).map_err(LabError::file(&new))?;
    has_space(base)?;
    tell(Event::RootfsBegun);
    let began = Instant::now();
    let output = File::create(&log).map_err(LabError::file(&log))?;
    let errors = output.try_clone().map_err(LabError::file(&log))?;
    // The lock is its input: when this command is killed, the next one waits for what it left.
    let input = lock.try_clone().map_err(LabError::file(&log))?;
    let child = program::command("mmdebstrap")
        .args(["--variant=minbase", "--mode=root", "--format=directory"])
        .arg(format!("--include={PACKAGES}"))
        .arg(format!("--customize-hook={SETUP}"))
        .arg(SUITE)
        .arg(&new)
        .args(SOURCES)
        .stdin(input)
        .stdout(output)
        .stderr(errors)
        .spawn();
    let what = "the root file system of the servers";
    let failed = |why: String| LabError::Program {
        what: what.to_owned(),
        why: format!("mmdebstrap: {why}; all it said is in {}", log.display()),
    };
    let mut child = child.map_err(|error| failed(error.to_string()))?;
    let status = program::end(&mut child, BUILT_WITHIN, what, "mmdebstrap")?;
    let status = status.map_err(|error| failed(error.to_string()))?;
    if !status.success() {
        return Err(failed(reason(&log).unwrap_or_else(|| status.to_string())));
    }
    let durable = File::open(&new).and_then(|file| Ok(rustix::fs::syncfs(&file)?));
    durable.and_then(|()| fs::rename(&new, place)).map_err(LabError::file(place))?;
    // Only of use when it fails.
    let _ = fs::remove_file(&log);
    tell(Event::RootfsBuilt { took: began.elapsed() });
    Ok(())
}

/// What a killed build left, with what it may have mounted.
fn remove(directory: &Path) -> Result<(), LabError> {
    mounts::unmount_below(directory)?;
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(LabError::file(directory)(error))
        }
        _ => Ok(()),
    }
}

/// Better said before than found out by a package half-way.
fn has_space(base: &Path) -> Result<(), LabError> {
    let disk = rustix::fs::statvfs(base).map_err(|error| LabError::file(base)(error.into()))?;
    if disk.f_bavail * disk.f_frsize < SPACE_MIN {
        return Err(LabError::file(base)(std::io::ErrorKind::StorageFull.into()));
    }
    Ok(())
}

/// The first error that was printed: what follows is a consequence.
fn reason(log: &Path) -> Option<String> {
    let text = fs::read_to_string(log).ok()?;
    let mut lines = text.lines().filter(|line| line.starts_with("E:"));
    lines.next().map(|line| line.trim_start_matches("E:").trim().to_owned())
}

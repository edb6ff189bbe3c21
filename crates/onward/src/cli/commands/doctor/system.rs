//! What the machine says of itself: the facts that [`super::machine`] judges.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use onward_server::looking::Space;

/// The space where `path` is or would be.
pub fn space(path: &Path) -> Option<Space> {
    let stat = path.ancestors().find_map(|place| {
        let place = if place.as_os_str().is_empty() { Path::new(".") } else { place };
        rustix::fs::statvfs(place).ok()
    })?;
    let of = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Some(Space { free: of(stat.f_bavail), all: of(stat.f_blocks) })
}

/// How many files a process may have open; none: no limit.
pub fn open_files_max() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum
}

/// The type of the file system that `path` is on, as `/proc/mounts` says it.
pub fn file_system(path: &Path) -> Option<String> {
    let path = path.ancestors().find_map(|place| fs::canonicalize(place).ok())?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let of = |line: &str| {
        let mut fields = line.split(' ');
        let place = fields.nth(1)?.replace("\\040", " ");
        let kind = fields.next()?.to_owned();
        path.starts_with(&place).then_some((place.len(), kind))
    };
    mounts.lines().filter_map(of).max_by_key(|(length, _)| *length).map(|(_, kind)| kind)
}

/// Whether a connection over the loopback interface comes through.
pub fn loopback_works() -> std::io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    TcpStream::connect(listener.local_addr()?)?;
    Ok(())
}

/// The first line that `git --version` prints.
pub fn git_version() -> Option<String> {
    let output =
        Command::new("git").arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output();
    let text = String::from_utf8(output.ok()?.stdout).ok()?;
    text.lines().next().map(str::to_owned)
}

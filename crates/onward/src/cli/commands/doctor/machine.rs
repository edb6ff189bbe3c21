//! This machine: space, memory, limits, the loopback interface, Git.

use std::path::Path;

use onward_server::looking::Space;
use onward_server::process::available_memory;

use super::check::Check;
use super::system;
use crate::cli::numbers;

/// Below this a deploy is likely to be refused: bundles keep a reserve free.
const SPACE_LOW: u64 = 1 << 30;
/// Below this it is refused.
const SPACE_GONE: u64 = 128 << 20;
/// Below this a new version hardly starts beside the old one.
const MEMORY_LOW: u64 = 256 << 20;
/// A busy proxy has two files open for each connection.
const FILES_LOW: u64 = 4096;

/// Looks at the machine.
pub fn checks(directory: &Path) -> Vec<Check> {
    let mut checks = Vec::new();
    checks.extend(system::space(directory).map(space));
    checks.extend(available_memory().map(memory));
    checks.push(open_files(system::open_files_max()));
    checks.push(loopback(&system::loopback_works()));
    checks.push(git(system::git_version()));
    checks
}

pub(super) fn space(found: Space) -> Check {
    let text = format!("{} free of {}", numbers::bytes(found.free), numbers::bytes(found.all));
    let fix = "free some: `onward bundle list` shows what is kept, the oldest go by themselves";
    match found.free {
        0..SPACE_GONE => Check::broken("disk", text, fix),
        SPACE_GONE..SPACE_LOW => Check::warning("disk", text, fix),
        _ => Check::fine("disk", text),
    }
}

pub(super) fn memory(available: u64) -> Check {
    let text = format!("{} available", numbers::bytes(available));
    if available < MEMORY_LOW {
        let fix = "a new version runs beside the old one for a while; with `warm = \"0s\"` it is not \
                   kept longer than that";
        return Check::warning("memory", text, fix);
    }
    Check::fine("memory", text)
}

fn open_files(limit: Option<u64>) -> Check {
    match limit {
        None => Check::fine("open files", "no limit"),
        Some(limit) if limit >= FILES_LOW => {
            Check::fine("open files", format!("up to {}", numbers::grouped(limit)))
        }
        Some(limit) => Check::warning(
            "open files",
            format!("only {} for a process", numbers::grouped(limit)),
            "raise it (`ulimit -Hn`, /etc/security/limits.conf): each connection needs two",
        ),
    }
}

fn loopback(result: &std::io::Result<()>) -> Check {
    match result {
        Ok(()) => Check::fine("loopback", "127.0.0.1 answers"),
        Err(error) => Check::broken(
            "loopback",
            format!("127.0.0.1 does not answer: {error}"),
            "bring the interface up: `ip link set lo up`",
        ),
    }
}

fn git(version: Option<String>) -> Check {
    match version {
        Some(version) => Check::fine("git", version),
        None => Check::warning(
            "git",
            "`git` is not found",
            "install it: labels of releases are commits, and `deploy --git` needs it",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict;
    use super::*;

    #[test]
    fn a_full_disk_fails_and_a_nearly_full_one_warns() {
        let verdict = |free| space(Space { free, all: 1 << 40 }).verdict;
        assert_eq!(verdict(1 << 20), Verdict::Broken);
        assert_eq!(verdict(500 << 20), Verdict::Warning);
        assert_eq!(verdict(20 << 30), Verdict::Fine);
    }

    #[test]
    fn little_of_the_rest_warns() {
        assert_eq!(memory(1 << 20).verdict, Verdict::Warning);
        assert_eq!(memory(1 << 30).verdict, Verdict::Fine);
        assert_eq!(open_files(Some(256)).verdict, Verdict::Warning);
        assert_eq!(open_files(None).verdict, Verdict::Fine);
        assert_eq!(git(None).verdict, Verdict::Warning);
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        assert_eq!(loopback(&Err(refused)).verdict, Verdict::Broken);
    }

    #[test]
    fn what_is_not_fine_says_what_to_do() {
        let found = [space(Space { free: 0, all: 1 }), memory(0), open_files(Some(1)), git(None)];
        assert!(found.iter().all(|check| check.fix.is_some()));
    }
}

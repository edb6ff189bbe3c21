//! What `/proc` says of processes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;

use serde::{Deserialize, Serialize};

/// A process for as long as the system runs: its id is given again after its end, its id with its
/// start time is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Process id.
    pub pid: u32,
    /// When it was started, in clock ticks since the system was.
    pub started: u64,
}

impl Identity {
    /// The process that has this id now; `None` when there is none, or only its remains.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = Stat::of(pid)?;
        (!stat.is_dead).then_some(Self { pid, started: stat.started })
    }
}

/// Whether exactly this process still runs.
pub fn is_running(identity: Identity) -> bool {
    Identity::of(identity.pid) == Some(identity)
}

struct Stat {
    is_dead: bool,
    group: u32,
    session: u32,
    started: u64,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name in parentheses may hold anything, so fields are counted from the last `)`.
    fn parse(text: &str) -> Option<Self> {
        let mut fields = text[text.rfind(')')? + 1..].split_ascii_whitespace();
        let is_dead = matches!(fields.next()?, "Z" | "X");
        let group = fields.nth(1)?.parse().ok()?;
        let session = fields.next()?.parse().ok()?;
        let started = fields.nth(15)?.parse().ok()?;
        Some(Self { is_dead, group, session, started })
    }
}

fn all() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The processes of a group that have not ended.
pub fn members(group: u32) -> Vec<u32> {
    let is_member = |pid: &u32| Stat::of(*pid).is_some_and(|s| s.group == group && !s.is_dead);
    all().filter(is_member).collect()
}

/// The processes of a session or group that have not ended: what a shell with job control starts is
/// in groups of its own.
pub fn session_members(leader: u32) -> Vec<u32> {
    let is_member = |pid: &u32| {
        Stat::of(*pid).is_some_and(|s| (s.session == leader || s.group == leader) && !s.is_dead)
    };
    all().filter(is_member).collect()
}

/// The leaders of all process groups of this user.
pub fn own_groups() -> Vec<Identity> {
    let user = rustix::process::geteuid().as_raw();
    let is_own = |pid: u32| fs::metadata(format!("/proc/{pid}")).is_ok_and(|m| m.uid() == user);
    all()
        .filter(|pid| is_own(*pid) && Stat::of(*pid).is_some_and(|stat| stat.group == *pid))
        .filter_map(Identity::of)
        .collect()
}

/// The environment that a process was started with; empty when it may not be read.
pub fn environment(pid: u32) -> BTreeMap<String, String> {
    let bytes = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let pairs = bytes.split(|byte| *byte == 0).filter_map(|pair| std::str::from_utf8(pair).ok());
    pairs
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Identifies the time since the system was started; empty when the system does not say.
pub fn boot_id() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

/// The memory that a process uses, in bytes.
pub fn resident_memory(pid: u32) -> u64 {
    kibibytes(&format!("/proc/{pid}/status"), "VmRSS:").unwrap_or(0)
}

/// The memory that could be given to processes, in bytes; `None` when the system does not say.
pub fn available_memory() -> Option<u64> {
    kibibytes("/proc/meminfo", "MemAvailable:")
}

fn kibibytes(path: &str, field: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

/// How many processes the system has killed for want of memory since it was started.
pub fn memory_kills() -> u64 {
    let text = fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_hold_parentheses() {
        let fields = "S 1 77 77 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4242 0";
        let stat = Stat::parse(&format!("77 (a) b (c)) {fields}")).unwrap();
        assert_eq!((stat.group, stat.started, stat.is_dead), (77, 4242, false));
    }

    #[test]
    fn this_process_runs() {
        let own = Identity::of(std::process::id()).unwrap();
        assert!(is_running(own));
        assert!(!is_running(Identity { started: own.started + 1, ..own }));
    }
}

//! What is said of an instance that was killed for want of memory.

use rustix::process::Signal;

use crate::process::Exit;

/// Why an instance was killed, when that was for want of memory; nothing of another one. Only
/// systemd tells exactly whose limit that was, and not on every system: `system_killed` says that the
/// system killed some process meanwhile.
pub(super) fn out_of_memory(exit: Exit, system_killed: bool, limit: Option<u64>) -> String {
    let is_killed = exit.signal() == Some(Signal::KILL.as_raw()) && system_killed;
    match (exit, limit) {
        (Exit::OutOfMemory(_), Some(limit)) => {
            format!(", because it needed more memory than its limit of {}", size(limit))
        }
        _ if !is_killed && !matches!(exit, Exit::OutOfMemory(_)) => String::new(),
        (_, Some(limit)) => format!(
            ", because it needed more memory than its limit of {}, or than this machine has",
            size(limit)
        ),
        (_, None) => ", because the memory of this machine ran out".to_owned(),
    }
}

/// A number of bytes in the largest unit of the project file that says it exactly.
fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 6] = [
        ("GiB", 1 << 30),
        ("GB", 1_000_000_000),
        ("MiB", 1 << 20),
        ("MB", 1_000_000),
        ("KiB", 1 << 10),
        ("KB", 1_000),
    ];
    let exact = UNITS.iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    exact.map_or_else(|| format!("{bytes}B"), |(name, unit)| format!("{}{name}", bytes / unit))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    #[test]
    fn whose_memory_ran_out_is_said_as_exactly_as_it_is_known() {
        let killed = ExitStatus::from_raw(9);
        let limit = Some(64 << 20);
        let told = out_of_memory(Exit::OutOfMemory(killed), false, limit);
        assert_eq!(told, ", because it needed more memory than its limit of 64MiB");
        let told = out_of_memory(Exit::Status(killed), true, limit);
        assert!(told.ends_with("64MiB, or than this machine has"), "{told}");
        let told = out_of_memory(Exit::Status(killed), true, None);
        assert_eq!(told, ", because the memory of this machine ran out");
        assert_eq!(out_of_memory(Exit::Status(killed), false, limit), "");
        assert_eq!(out_of_memory(Exit::Status(ExitStatus::from_raw(0)), true, limit), "");
    }

    #[test]
    fn sizes_are_said_as_they_were_written() {
        let all =
            [(512_000_000, "512MB"), (1 << 30, "1GiB"), (4 << 20, "4MiB"), (4_194_305, "4194305B")];
        all.into_iter().for_each(|(bytes, text)| assert_eq!(size(bytes), text));
    }
}

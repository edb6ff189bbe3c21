//! How a process ended, in words.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::process::Signal;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It was a child of this process, so the system told.
    Status(ExitStatus),
    /// The same, and the system killed it because it used more memory than it may.
    OutOfMemory(ExitStatus),
    /// It was not, so only the end is known.
    Unknown,
}

impl Exit {
    /// Whether it is known to have exited with status 0.
    pub fn is_success(self) -> bool {
        matches!(self, Self::Status(status) if status.success())
    }

    /// The signal that ended it.
    pub fn signal(self) -> Option<i32> {
        match self {
            Self::Status(status) | Self::OutOfMemory(status) => status.signal(),
            Self::Unknown => None,
        }
    }

    /// What follows the name of the process in a sentence.
    pub fn words(self) -> String {
        match self {
            Self::Unknown => {
                "ended; an earlier agent had started it, so its exit status is not known".into()
            }
            Self::Status(status) | Self::OutOfMemory(status) => {
                match (status.code(), status.signal()) {
                    (Some(code), _) => format!("exited with status {code}{}", hint(code)),
                    (None, Some(number)) => {
                        format!("was killed by signal {number} ({})", signal_name(number))
                    }
                    (None, None) => "ended".into(),
                }
            }
        }
    }
}

/// What a shell means by the status.
const fn hint(code: i32) -> &'static str {
    match code {
        126 => " (the command cannot be executed)",
        127 => " (command not found)",
        _ => "",
    }
}

const NAMES: [(&str, Signal); 10] = [
    ("TERM", Signal::TERM),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("HUP", Signal::HUP),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("WINCH", Signal::WINCH),
    ("KILL", Signal::KILL),
    ("SEGV", Signal::SEGV),
    ("ABRT", Signal::ABORT),
];

/// The signal of this name, with or without `SIG`.
pub fn signal_by_name(name: &str) -> Option<Signal> {
    let name = name.strip_prefix("SIG").unwrap_or(name);
    NAMES.iter().find(|(own, _)| *own == name).map(|(_, signal)| *signal)
}

/// The name of a signal, as `SIGKILL`.
pub fn signal_name(number: i32) -> String {
    let known = NAMES.iter().find(|(_, signal)| signal.as_raw() == number);
    known.map_or_else(|| format!("signal {number}"), |(name, _)| format!("SIG{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_are_told_in_words() {
        let status = |raw| Exit::Status(ExitStatus::from_raw(raw)).words();
        assert_eq!(status(1 << 8), "exited with status 1");
        assert_eq!(status(127 << 8), "exited with status 127 (command not found)");
        assert_eq!(status(9), "was killed by signal 9 (SIGKILL)");
    }

    #[test]
    fn signals_have_names() {
        assert_eq!(signal_by_name("TERM"), Some(Signal::TERM));
        assert_eq!(signal_by_name("SIGINT"), Some(Signal::INT));
        assert_eq!(signal_by_name("NOPE"), None);
    }
}

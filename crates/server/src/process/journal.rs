//! What units printed: the journal has it, and each line knows its log.
//!
//! A log is asked for by the path that its file has where there is no journal. That file is there as
//! well, empty, so that it is known which logs there are.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};

use jiff::Timestamp;
use onward_secret::Masker;
use serde_json::Value;

use super::logs;
use super::supervisor::{APP_FIELD, LOG_FIELD, RELEASE_FIELD, SOURCE_FIELD, log_name};

/// Where the journal takes lines that no program printed.
const SOCKET: &str = "/run/systemd/journal/socket";

/// The last lines of a log without secrets, oldest first; none when they cannot be read.
///
/// What was printed before this call is among them.
pub fn tail(log: &Path, lines: usize, masker: &Masker) -> Vec<String> {
    let _ = journalctl().arg("--sync").output();
    last(log, lines, masker)
}

/// The last lines of a log with their times, oldest first, without waiting for what is on its way.
pub fn recent(log: &Path, lines: usize) -> Vec<Line> {
    let output = journalctl()
        .args(["--all", "--output=json", &format!("--lines={lines}")])
        .arg(format!("--output-fields=MESSAGE,{RELEASE_FIELD},{SOURCE_FIELD}"))
        .arg(format!("{LOG_FIELD}={}", log_name(log)))
        .output();
    let bytes = output.map(|output| output.stdout).unwrap_or_default();
    bytes.split(|byte| *byte == b'\n').filter_map(read).collect()
}

fn last(log: &Path, lines: usize, masker: &Masker) -> Vec<String> {
    let output = journalctl()
        .args(["--all", "--output=cat", &format!("--lines={lines}")])
        .arg(format!("{LOG_FIELD}={}", log_name(log)))
        .output();
    let bytes = output.map(|output| output.stdout).unwrap_or_default();
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    bytes.split(|byte| *byte == b'\n').map(|line| logs::text(line, masker)).collect()
}

/// Adds a line to a log of an app.
///
/// # Errors
/// When the journal does not take it.
pub fn say(app: &str, log: &Path, source: &str, release: u64, line: &str) -> std::io::Result<()> {
    let text = format!(
        "MESSAGE={line}\nPRIORITY=6\nSYSLOG_IDENTIFIER={app}/{source}\n{APP_FIELD}={app}\n\
         {LOG_FIELD}={}\n{RELEASE_FIELD}={release}\n{SOURCE_FIELD}={source}\n",
        log_name(log)
    );
    UnixDatagram::unbound()?.send_to(text.as_bytes(), SOCKET).map(drop)
}

/// A program that prints every line of an app from now on, each as one JSON object for [`read`]. It
/// ends when nobody reads them.
///
/// It is a unit of its own: in the agent's part of the machine it is not told when the journal grows.
pub fn follower(app: &str) -> Command {
    let mut command = Command::new("systemd-run");
    command
        .args(["--quiet", "--pipe", "--wait", "--collect", "--service-type=exec", "--"])
        .args(["journalctl", "--quiet", "--no-pager"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .args(["--all", "--follow", "--lines=0", "--output=json"])
        .arg(format!("--output-fields=MESSAGE,{RELEASE_FIELD},{SOURCE_FIELD}"))
        .arg(format!("{APP_FIELD}={app}"));
    command
}

/// One line of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The number of its release.
    pub release: u64,
    /// What printed it, as `web.1`.
    pub source: String,
    /// Its bytes.
    pub message: Vec<u8>,
    /// When the journal got it.
    pub at: Option<Timestamp>,
}

/// Understands what [`follower`] prints; `None` when it is no line of an app.
pub fn read(json: &[u8]) -> Option<Line> {
    let value: Value = serde_json::from_slice(json).ok()?;
    let release = value.get(RELEASE_FIELD)?.as_str()?.parse().ok()?;
    let source = value.get(SOURCE_FIELD)?.as_str()?.to_owned();
    let message = match value.get("MESSAGE")? {
        Value::String(text) => text.clone().into_bytes(),
        // What is not text is written as its bytes.
        Value::Array(bytes) => {
            let byte = |value: &Value| value.as_u64().and_then(|byte| u8::try_from(byte).ok());
            bytes.iter().map(byte).collect::<Option<_>>()?
        }
        _ => return None,
    };
    let at = value.get("__REALTIME_TIMESTAMP").and_then(|at| at.as_str()?.parse().ok());
    let at = at.and_then(|microseconds| Timestamp::from_microsecond(microseconds).ok());
    Some(Line { release, source, message, at })
}

fn journalctl() -> Command {
    let mut command = Command::new("journalctl");
    command.args(["--quiet", "--no-pager"]).stdin(Stdio::null()).stderr(Stdio::null());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_the_journal_writes_them() {
        let text = br#"{"MESSAGE":"hello","ONWARD_RELEASE":"7","ONWARD_SOURCE":"web.1","x":null}"#;
        let line =
            Line { release: 7, source: "web.1".into(), message: b"hello".to_vec(), at: None };
        assert_eq!(read(text), Some(line));
        let bytes = br#"{"MESSAGE":[255,104],"ONWARD_RELEASE":"7","ONWARD_SOURCE":"web.1"}"#;
        assert_eq!(read(bytes).map(|line| line.message), Some(vec![255, b'h']));
        for other in [&b"{}"[..], b"", br#"{"MESSAGE":"x"}"#] {
            assert_eq!(read(other), None);
        }
    }
}

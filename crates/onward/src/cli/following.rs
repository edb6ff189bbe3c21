//! What the project's own commands print: shown as it comes, and the last of it kept for the case
//! that one fails.

use std::io::{BufRead, BufReader, Read};
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::screen::{self, Screen};

/// How many of the last lines of a command that failed are shown.
const LINES_SHOWN: usize = 20;
/// What is longer is shown in pieces: a line without an end would take all memory.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// The time that the last lines have after the end of a command; what it left behind may keep its
/// outputs open for ever.
const LAST_LINES_WITHIN: Duration = Duration::from_secs(2);
/// How often it is looked whether they are there.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Both outputs of a command.
pub struct Following {
    lines: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
    shows: bool,
}

impl Following {
    /// Begins. `label` stands before each line that is shown.
    pub fn of(child: &mut Child, label: Option<&'static str>, screen: &Screen) -> Self {
        Self::shown(child, label, screen.shows_output())
    }

    fn shown(child: &mut Child, label: Option<&'static str>, shows: bool) -> Self {
        let lines = Arc::default();
        let follow = |pipe| follow(pipe, label, shows, Arc::clone(&lines));
        let output = child.stdout.take().map(|pipe| Box::new(pipe) as Pipe);
        let errors = child.stderr.take().map(|pipe| Box::new(pipe) as Pipe);
        let readers = output.into_iter().chain(errors).map(follow).collect();
        Self { lines, readers, shows }
    }

    /// Waits for the last lines of a command that has ended.
    pub fn drain(&self) {
        let began = Instant::now();
        let is_open = || self.readers.iter().any(|reader| !reader.is_finished());
        while is_open() && began.elapsed() < LAST_LINES_WITHIN {
            thread::sleep(LOOK_EVERY);
        }
    }

    /// The last lines, when they were not shown as they came.
    pub fn unseen(&self) -> Vec<String> {
        match self.lines.lock() {
            Ok(lines) if !self.shows => lines.clone(),
            _ => Vec::new(),
        }
    }
}

type Pipe = Box<dyn Read + Send>;

fn follow(
    pipe: Pipe,
    label: Option<&'static str>,
    shows: bool,
    lines: Arc<Mutex<Vec<String>>>,
) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut bytes = Vec::new();
        let mut next = |bytes: &mut Vec<u8>| {
            bytes.clear();
            (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', bytes).is_ok_and(|read| read > 0)
        };
        while next(&mut bytes) {
            let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            match label {
                Some(label) if shows => screen::passed_on(&format!("{label}: {line}")),
                None if shows => screen::passed_on(&line),
                _ => {}
            }
            if let Ok(mut lines) = lines.lock() {
                lines.push(line);
                let surplus = lines.len().saturating_sub(LINES_SHOWN);
                lines.drain(..surplus);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn followed(script: &str) -> (Vec<String>, Duration) {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = shell.spawn().unwrap();
        let following = Following::shown(&mut child, None, false);
        child.wait().unwrap();
        let began = Instant::now();
        following.drain();
        (following.unseen(), began.elapsed())
    }

    #[test]
    fn the_last_lines_are_kept_and_none_is_endless() {
        let (lines, _) = followed("seq 1 50; echo last >&2");
        assert_eq!(lines.len(), LINES_SHOWN);
        assert!(lines.contains(&"50".to_owned()) && lines.contains(&"last".to_owned()));
        let (lines, _) = followed("head -c 300000 /dev/zero | tr '\\0' x");
        assert_eq!(lines.iter().map(String::len).max(), Some(64 * 1024));
        assert_eq!(lines.concat().len(), 300_000);
    }

    #[test]
    fn what_a_command_leaves_behind_is_not_waited_for() {
        let (lines, took) = followed("echo done; sleep 20 &");
        assert_eq!(lines, ["done"]);
        assert!(took < Duration::from_secs(15), "{took:?}");
    }
}

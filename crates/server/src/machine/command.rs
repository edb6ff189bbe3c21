//! Running the machine's own programs, with a limit of time.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use super::error::MachineError;

/// The time for a program that asks or switches something.
const SHORT: Duration = Duration::from_secs(60);
/// The last lines of a program that failed, as people are told them.
const TOLD_LINES: usize = 6;
/// Where programs are; what starts this may have no PATH, or one without the directories of root.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program with its arguments.
#[derive(Debug)]
pub(super) struct Program {
    line: String,
    command: Command,
    input: Option<String>,
    within: Duration,
}

/// How a program ended.
pub(super) struct Ended {
    /// Whether it says that all went well.
    pub(super) is_good: bool,
    /// What it printed to standard output.
    pub(super) output: String,
}

impl Program {
    pub(super) fn new(name: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(name);
        command.args(arguments).env("PATH", PATH).env("LC_ALL", "C.UTF-8");
        let line = [&[name], arguments].concat().join(" ");
        Self { line, command, input: None, within: SHORT }
    }

    pub(super) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub(super) fn input(mut self, text: &str) -> Self {
        self.input = Some(text.to_owned());
        self
    }

    pub(super) fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// Runs it; that it fails is an error with its last lines.
    pub(super) fn run(self) -> Result<String, MachineError> {
        self.run_telling(&mut |_| {})
    }

    /// Runs it; that it fails is an error with its last lines. Each line that it prints is told.
    pub(super) fn run_telling(self, tell: &mut dyn FnMut(&str)) -> Result<String, MachineError> {
        let line = self.line.clone();
        let mut last: Vec<String> = Vec::new();
        let ended = self.end(&mut |text| {
            if last.len() == TOLD_LINES {
                last.remove(0);
            }
            last.push(text.to_owned());
            tell(text);
        })?;
        if ended.is_good {
            return Ok(ended.output);
        }
        let reason = match last.is_empty() {
            true => "failed".to_owned(),
            false => format!("failed: {}", last.join("; ")),
        };
        Err(MachineError::Program { program: line, reason })
    }

    /// Runs it and says how it ended; only that it cannot be run is an error.
    pub(super) fn ask(self) -> Result<Ended, MachineError> {
        self.end(&mut |_| {})
    }

    fn end(mut self, tell: &mut dyn FnMut(&str)) -> Result<Ended, MachineError> {
        let line = self.line;
        let told = |reason: String| MachineError::Program { program: line.clone(), reason };
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            self.command.spawn().map_err(|error| told(format!("cannot be started: {error}")))?;
        if let (Some(mut stdin), Some(text)) = (child.stdin.take(), self.input) {
            // Apart, so that one that does not read has no longer than the others. That it does not
            // read to the end it says by how it ends.
            thread::spawn(move || stdin.write_all(text.as_bytes()));
        }
        let mut output = String::new();
        let lines = lines_of(&mut child);
        let end = Instant::now() + self.within;
        loop {
            match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok((text, is_output)) => {
                    tell(&text);
                    if is_output {
                        output.push_str(&text);
                        output.push('\n');
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(told(format!("did not end in {} s", self.within.as_secs())));
                }
            }
        }
        let status = child.wait().map_err(|error| told(error.to_string()))?;
        Ok(Ended { is_good: status.success(), output })
    }
}

/// The lines of both outputs as they come, and whether they are of standard output.
fn lines_of(child: &mut Child) -> mpsc::Receiver<(String, bool)> {
    let (sender, receiver) = mpsc::channel();
    if let Some(output) = child.stdout.take() {
        pass(output, true, sender.clone());
    }
    if let Some(error) = child.stderr.take() {
        pass(error, false, sender);
    }
    receiver
}

fn pass(from: impl Read + Send + 'static, is_output: bool, to: Sender<(String, bool)>) {
    thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if to.send((text, is_output)).is_err() {
                return;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_has_its_input_and_tells_its_lines() {
        let mut lines = Vec::new();
        let program = Program::new("sh", &["-c", "cat; echo two >&2; echo three"]).input("one\n");
        let output = program.run_telling(&mut |line| lines.push(line.to_owned())).unwrap();
        assert_eq!(output, "one\nthree\n");
        lines.sort();
        assert_eq!(lines, ["one", "three", "two"]);
    }

    #[test]
    fn what_fails_says_its_last_lines() {
        let error = Program::new("sh", &["-c", "echo bad >&2; exit 3"]).run().unwrap_err();
        assert_eq!(error.to_string(), "`sh -c echo bad >&2; exit 3` failed: bad");
        assert!(!Program::new("false", &[]).ask().unwrap().is_good);
        let error = Program::new("/nowhere/x", &[]).run().unwrap_err().to_string();
        assert!(error.starts_with("`/nowhere/x` cannot be started"), "{error}");
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        let program = Program::new("sleep", &["60"]).within(Duration::from_millis(50));
        let error = program.run().unwrap_err().to_string();
        assert_eq!(error, "`sleep 60` did not end in 0 s");
        // More than a pipe holds.
        let deaf = Program::new("sleep", &["60"]).input(&"x".repeat(1 << 20));
        assert!(deaf.within(Duration::from_millis(50)).run().is_err());
    }
}

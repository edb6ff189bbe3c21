//! Programs of the system: `ip`, `nft`, `mount` and others, run to their end.

use std::io::{self, Read, Write};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::LabError;

/// How long a program may take: each of them asks the kernel for something, which takes milliseconds, and
/// seconds where many servers are made on a busy machine.
const ENDS_WITHIN: Duration = Duration::from_secs(120);
/// How long one that is told to end may clear away what it made.
const CLEARS_WITHIN: Duration = Duration::from_secs(5);
/// How often it is looked whether a program has ended: at first at once.
const PAUSE_FIRST: Duration = Duration::from_micros(200);
const PAUSE_MAX: Duration = Duration::from_millis(20);

/// A command that finds programs of administrators also where `PATH` does not name their
/// directories, as for a user of Debian who became root by `su`.
pub(super) fn command(name: &str) -> Command {
    let mut command = Command::new(name);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"));
    command.env("LC_ALL", "C").stdin(Stdio::null());
    command
}

/// Whether a program can be found.
pub(super) fn exists(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"];
    std::env::split_paths(&path)
        .chain(more.map(Into::into))
        .any(|directory| directory.join(name).is_file())
}

/// Runs a program; what it printed.
pub(super) fn run(what: &str, name: &str, arguments: &[&str]) -> Result<String, LabError> {
    run_within(ENDS_WITHIN, what, name, arguments, "")
}

/// Runs a program with a text on its standard input.
pub(super) fn feed(what: &str, name: &str, arguments: &[&str], text: &str) -> Result<(), LabError> {
    run_within(ENDS_WITHIN, what, name, arguments, text).map(drop)
}

/// Runs a program whose failure means that there was nothing to do.
pub(super) fn attempt(name: &str, arguments: &[&str]) -> bool {
    run(name, name, arguments).is_ok()
}

fn run_within(
    limit: Duration,
    what: &str,
    name: &str,
    arguments: &[&str],
    text: &str,
) -> Result<String, LabError> {
    let mut command = command(name);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return finished(what, name, Err(error)),
    };
    if let Some(mut input) = child.stdin.take() {
        let text = text.to_owned();
        // One that does not read to the end says why, and one that hangs is not waited for.
        thread::spawn(move || drop(input.write_all(text.as_bytes())));
    }
    let (stdout, stderr) = (child.stdout.take().map(read), child.stderr.take().map(read));
    let status = match end(&mut child, limit, what, name)? {
        Ok(status) => status,
        Err(error) => return finished(what, name, Err(error)),
    };
    let text = |reader: Option<JoinHandle<Vec<u8>>>| {
        reader.and_then(|reader| reader.join().ok()).unwrap_or_default()
    };
    finished(what, name, Ok(Output { status, stdout: text(stdout), stderr: text(stderr) }))
}

fn read(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What is cut off is what there is.
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

/// Waits for the end of a program; one that takes longer is told to end, then killed. The inner error is
/// the system's.
///
/// # Errors
/// That it hangs. One that the kernel does not let go is left behind.
pub(super) fn end(
    child: &mut Child,
    limit: Duration,
    what: &str,
    name: &str,
) -> Result<io::Result<ExitStatus>, LabError> {
    if let Some(ended) = ended_within(child, limit) {
        return Ok(ended);
    }
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It may have children and mounts to clear away.
        let _ = kill_process(pid, Signal::TERM);
    }
    if ended_within(child, CLEARS_WITHIN).is_none() {
        let _ = child.kill();
        let _ = ended_within(child, CLEARS_WITHIN);
    }
    let (what, program) = (what.to_owned(), name.to_owned());
    Err(LabError::Hangs { what, program, seconds: limit.as_secs() })
}

fn ended_within(child: &mut Child, limit: Duration) -> Option<io::Result<ExitStatus>> {
    let (began, mut pause) = (Instant::now(), PAUSE_FIRST);
    loop {
        match child.try_wait() {
            Ok(None) if began.elapsed() < limit => thread::sleep(pause),
            Ok(None) => return None,
            Ok(Some(status)) => return Some(Ok(status)),
            Err(error) => return Some(Err(error)),
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn finished(what: &str, name: &str, output: std::io::Result<Output>) -> Result<String, LabError> {
    let failed = |why: String| LabError::Program { what: what.to_owned(), why };
    let output = output.map_err(|error| failed(format!("{name}: {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let first = errors.lines().map(str::trim).find(|line| !line.is_empty());
    Err(failed(first.map_or_else(|| format!("{name}: {}", output.status), str::to_owned)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_does_not_read_says_why() {
        // More than a pipe holds.
        let text = "x".repeat(1 << 20);
        let error = feed("the rules", "sh", &["-c", "echo no >&2; exit 1"], &text).unwrap_err();
        assert!(error.to_string().contains("no"), "{error}");
        assert!(!error.to_string().contains("pipe"), "{error}");
        feed("the rules", "cat", &[], "a little").unwrap();
    }

    #[test]
    fn a_program_that_hangs_is_ended_and_named() {
        let limit = Duration::from_secs(1);
        // Neither reads nor ends; the text is more than a pipe holds.
        let text = "x".repeat(1 << 20);
        let began = Instant::now();
        let error = run_within(limit, "the rules", "sleep", &["600"], &text).unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
        assert_eq!(error.to_string(), "the rules: `sleep` did not end within 1 s");
        // A control: what prints much and ends is not one of those.
        let much = run_within(limit * 60, "much", "sh", &["-c", "yes | head -n 200000"], "");
        assert_eq!(much.unwrap().len(), 400_000);
    }
}

//! Programs of the system: `ip`, `nft`, `mount` and others, run to their end.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use super::LabError;

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
    let output = command(name).args(arguments).output();
    finished(what, name, output)
}

/// Runs a program with a text on its standard input.
pub(super) fn feed(what: &str, name: &str, arguments: &[&str], text: &str) -> Result<(), LabError> {
    let mut command = command(name);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = command.spawn().and_then(|mut child| {
        if let Some(mut input) = child.stdin.take() {
            // One that does not read to the end says why.
            let _ = input.write_all(text.as_bytes());
        }
        child.wait_with_output()
    });
    finished(what, name, output).map(drop)
}

/// Runs a program whose failure means that there was nothing to do.
pub(super) fn attempt(name: &str, arguments: &[&str]) -> bool {
    command(name).args(arguments).output().is_ok_and(|output| output.status.success())
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
}

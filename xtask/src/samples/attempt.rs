//! One application: `init`, `up`, a request, and the end.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Sample;
use crate::steps::target;

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Redirects to the same address that are followed.
const REDIRECTS_MAX: usize = 3;
/// Variables that say where version managers keep runtimes, and where that is below the home of the
/// person: the private home has none.
const MANAGERS: [(&str, &str); 3] =
    [("PYENV_ROOT", ".pyenv"), ("NVM_DIR", ".nvm"), ("RBENV_ROOT", ".rbenv")];

/// What became of an application.
pub struct Outcome {
    /// What it was recognised as.
    pub kind: String,
    /// The status of its answer.
    pub status: Option<u16>,
    /// Whether that is what was expected.
    pub works: bool,
    /// From the beginning of `init` to the end of `up`.
    pub seconds: f64,
    /// What onward said when it did not work.
    pub said: String,
}

/// Tries an application in its directory.
pub fn attempt(sample: &Sample, project: &Path, home: &Path) -> io::Result<Outcome> {
    let began = Instant::now();
    let mut outcome = Outcome {
        kind: "–".to_owned(),
        status: None,
        works: false,
        seconds: 0.0,
        said: String::new(),
    };
    let init = onward(project, home, &["init", "--json"])?;
    if !init.status.success() {
        outcome.said = format!("`init`: {}", told(&init));
        outcome.seconds = began.elapsed().as_secs_f64();
        return Ok(outcome);
    }
    last(&init)["kind"].as_str().unwrap_or("?").clone_into(&mut outcome.kind);
    let up = onward(project, home, &["up", "--json"])?;
    outcome.seconds = began.elapsed().as_secs_f64();
    if !up.status.success() {
        outcome.said = format!("`up`: {}", told(&up));
        return Ok(outcome);
    }
    let url = last(&up)["url"].as_str().unwrap_or_default().to_owned();
    match answer(&url, &sample.path) {
        Ok(status) => {
            outcome.status = Some(status);
            outcome.works = status == sample.status;
        }
        Err(error) => outcome.said = format!("no answer: {error}"),
    }
    Ok(outcome)
}

/// Takes an application away, and ends what still runs from its place.
pub fn end(project: &Path, place: &Path) {
    let _ = onward(project, &place.join("home"), &["down", "-y", "--json"]);
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let program = fs::read_link(entry.path().join("exe")).unwrap_or_else(|_| PathBuf::new());
        let Ok(id) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        if program.starts_with(place) {
            // It may be gone by now.
            let _ = Command::new("kill").arg(id.to_string()).stderr(Stdio::null()).status();
        }
    }
}

fn onward(project: &Path, home: &Path, arguments: &[&str]) -> io::Result<Output> {
    let mut command = Command::new(target().join("debug/onward"));
    let own = std::env::home_dir().unwrap_or_default();
    for (variable, usual) in MANAGERS {
        if std::env::var_os(variable).is_none() && own.join(usual).is_dir() {
            command.env(variable, own.join(usual));
        }
    }
    command.arg("-C").arg(project).args(arguments).env("HOME", home).stdin(Stdio::null()).output()
}

/// The last JSON object that a command printed.
fn last(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().rev().find_map(|line| serde_json::from_str(line).ok()).unwrap_or_default()
}

/// What a command said about its failure, on one line.
fn told(output: &Output) -> String {
    let last = last(output);
    let text = last["error"].as_str().or_else(|| last["reason"].as_str());
    let text = text.map_or_else(|| last.to_string(), str::to_owned);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The status of a path, redirects followed.
fn answer(url: &str, path: &str) -> io::Result<u16> {
    let address = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let mut path = path.to_owned();
    for _ in 0..=REDIRECTS_MAX {
        let mut stream = TcpStream::connect(&address)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let head = text.split("\r\n\r\n").next().unwrap_or_default();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let Some(status) = status else { return Err(io::Error::other("no HTTP answer")) };
        let location = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("location").then(|| value.trim().to_owned())
        });
        let own = location.map(|to| to.strip_prefix(url).map_or(to.clone(), str::to_owned));
        match own.filter(|to| (300..400).contains(&status) && to.starts_with('/')) {
            Some(to) => path = to,
            None => return Ok(status),
        }
    }
    Err(io::Error::other("it redirects in circles"))
}

//! Sample applications: `onward init && onward up`, unedited, for each directory of a directory.
//!
//! Each is copied to a temporary directory first, and taken down and removed afterwards. The result
//! is the table of `docs/reference/sample-apps.md`, one row as soon as it is known.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::steps::{cargo, step, target};

/// How long an answer of a sample may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Redirects to the same address that are followed.
const REDIRECTS_MAX: usize = 3;

/// What became of a sample.
struct Result {
    kind: String,
    answer: String,
    is_up: bool,
    seconds: f64,
    reason: String,
}

/// Tries the samples in the directory that the arguments name.
pub fn run(arguments: &[String]) -> ExitCode {
    let [directory] = arguments else {
        eprintln!("usage: cargo xtask samples DIR, where each directory of DIR is a project");
        return ExitCode::from(2);
    };
    match all(Path::new(directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn all(directory: &Path) -> std::result::Result<(), String> {
    step("the binary", &mut cargo(&["build", "--quiet", "--package", "onward"]))?;
    let mut samples: Vec<PathBuf> = fs::read_dir(directory)
        .map_err(|error| format!("{}: {error}", directory.display()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    samples.sort();
    println!("| sample | recognised as | answer of `/` | seconds | why not |");
    println!("|---|---|---|---|---|");
    let mut up = 0;
    for sample in &samples {
        let name = sample.file_name().unwrap_or_default().to_string_lossy();
        let result = one(sample).map_err(|error| format!("{name}: {error}"))?;
        up += usize::from(result.is_up);
        println!(
            "| {name} | {} | {} | {:.1} | {} |",
            result.kind,
            result.answer,
            result.seconds,
            result.reason.replace('|', "\\|")
        );
    }
    println!("\n{up} of {} answer", samples.len());
    Ok(())
}

/// Copies a sample, tries it, and takes it away.
fn one(sample: &Path) -> std::io::Result<Result> {
    let name = sample.file_name().unwrap_or_default();
    let place = std::env::temp_dir().join(format!("onward-sample-{}", std::process::id()));
    fs::create_dir_all(&place)?;
    let project = place.join(name);
    let copied = Command::new("cp").arg("-a").arg(sample).arg(&project).status()?;
    let tried = if copied.success() { attempt(&project) } else { Err(std::io::Error::other("cp")) };
    onward(&project, &["down", "-y", "--json"])?;
    fs::remove_dir_all(&place)?;
    tried
}

fn attempt(project: &Path) -> std::io::Result<Result> {
    let began = Instant::now();
    let seconds = || began.elapsed().as_secs_f64();
    let init = onward(project, &["init", "--json"])?;
    let mut result = Result {
        kind: "–".to_owned(),
        answer: "–".to_owned(),
        is_up: false,
        seconds: 0.0,
        reason: String::new(),
    };
    if !init.status.success() {
        result.reason = format!("`init` refuses: {}", told(&init));
        result.seconds = seconds();
        return Ok(result);
    }
    result.kind = last(&init)["kind"].as_str().unwrap_or("?").to_owned();
    let up = onward(project, &["up", "--json"])?;
    result.seconds = seconds();
    if !up.status.success() {
        result.reason = format!("`up` refuses: {}", told(&up));
        return Ok(result);
    }
    let url = last(&up)["url"].as_str().unwrap_or_default().to_owned();
    match answer(&url) {
        Ok(status) => {
            result.is_up = (200..400).contains(&status);
            result.answer = status.to_string();
        }
        Err(error) => result.reason = format!("no answer: {error}"),
    }
    Ok(result)
}

fn onward(project: &Path, arguments: &[&str]) -> std::io::Result<Output> {
    Command::new(target().join("debug/onward"))
        .arg("-C")
        .arg(project)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
}

/// The last JSON object that a command printed.
fn last(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().rev().find_map(|line| serde_json::from_str(line).ok()).unwrap_or_default()
}

/// What a command said about its failure, on one line.
fn told(output: &Output) -> String {
    let last = last(output);
    let parts = ["error", "reason", "hint", "output", "printed"].iter().filter_map(|key| {
        let value = &last[*key];
        match value {
            Value::String(text) => Some(text.clone()),
            Value::Array(lines) => lines.last().and_then(Value::as_str).map(str::to_owned),
            _ => None,
        }
    });
    let text = parts.collect::<Vec<_>>().join(" · ");
    let text = if text.is_empty() { last.to_string() } else { text };
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The status of `/`, redirects followed.
fn answer(url: &str) -> std::io::Result<u16> {
    let address = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let mut path = "/".to_owned();
    for _ in 0..=REDIRECTS_MAX {
        let mut stream = TcpStream::connect(&address)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let head = text.split("\r\n\r\n").next().unwrap_or_default();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let Some(status) = status else { return Err(std::io::Error::other("no HTTP answer")) };
        let location = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("location").then(|| value.trim().to_owned())
        });
        let own = location.as_deref().map(|to| to.strip_prefix(url).unwrap_or(to).to_owned());
        match own.filter(|to| (300..400).contains(&status) && to.starts_with('/')) {
            Some(to) => path = to,
            None => return Ok(status),
        }
    }
    Err(std::io::Error::other("it redirects in circles"))
}

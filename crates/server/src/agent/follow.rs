//! The lines that processes printed, and those that they go on to print.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use onward_core::model::ReleaseNumber;
use onward_secret::Masker;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::serve::write_line;
use super::vault::Maskers;
use crate::layout::{AppTree, Tree};
use crate::process::{Supervisor, journal, logs};
use crate::protocol::{Answer, LogLine, LogsRequest};

/// How often logs are looked at that are followed.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How much of one log is read at a time, in bytes, so that a talkative process leaves the others
/// their turn.
const PIECE_BYTES: u64 = 256 << 10;
/// The most lines of each process that are given at once.
const LINES_MAX: u32 = 10_000;

/// Answers a request for lines. Following ends when the client closes.
pub(super) async fn answer(
    tree: &Tree,
    supervisor: &Supervisor,
    maskers: &Maskers,
    request: LogsRequest,
    reader: &mut BufReader<OwnedReadHalf>,
    writer: &mut OwnedWriteHalf,
) -> io::Result<()> {
    let tree = tree.app(&request.app, &request.environment);
    let app = (request.app.clone(), request.environment.clone());
    if matches!(supervisor, Supervisor::Systemd { .. }) {
        return from_journal(&tree, &maskers.of(&app), &request, reader, writer).await;
    }
    let mut places: BTreeMap<PathBuf, Place> = BTreeMap::new();
    let lines = usize::try_from(request.lines.min(LINES_MAX)).unwrap_or(usize::MAX);
    for log in logs_of(&tree, &request) {
        // The place comes first: a line that is printed in between is told twice rather than never.
        let place = Place { read: length(&log.path), part: Vec::new() };
        for text in logs::tail(&log.path, lines, &maskers.of(&app)) {
            write_line(writer, &log.line(text, None)).await?;
        }
        places.insert(log.path, place);
    }
    if !request.follow {
        return write_line(writer, &Answer::End).await;
    }
    loop {
        for log in logs_of(&tree, &request) {
            let place = places.entry(log.path.clone()).or_default();
            for text in place.new_lines(&log.path, &maskers.of(&app))? {
                // It was printed since the last look.
                write_line(writer, &log.line(text, Some(Timestamp::now()))).await?;
            }
        }
        let mut byte = [0];
        tokio::select! {
            // Whatever a client says while it follows, it wants no more lines.
            _ = reader.read(&mut byte) => return Ok(()),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// The same where the journal has the lines. Secrets that the app gets from now on are not known to
/// whoever follows already.
async fn from_journal(
    tree: &AppTree,
    masker: &Arc<Masker>,
    request: &LogsRequest,
    reader: &mut BufReader<OwnedReadHalf>,
    writer: &mut OwnedWriteHalf,
) -> io::Result<()> {
    // The follower comes first: a line that is printed in between is told twice rather than never.
    let mut follower = request.follow.then(|| follow(request)).transpose()?;
    let lines = usize::try_from(request.lines.min(LINES_MAX)).unwrap_or(usize::MAX);
    for log in logs_of(tree, request) {
        let path = log.path.clone();
        let recent = tokio::task::spawn_blocking(move || journal::recent(&path, lines));
        for own in recent.await.unwrap_or_default() {
            let text = logs::text(&own.message, masker);
            write_line(writer, &log.line(text, own.at)).await?;
        }
    }
    let Some(printed) = follower.as_mut().and_then(|own| own.stdout.take()) else {
        return write_line(writer, &Answer::End).await;
    };
    let mut printed = BufReader::new(printed);
    let (mut line, mut byte) = (Vec::new(), [0]);
    loop {
        tokio::select! {
            // Whatever a client says while it follows, it wants no more lines.
            _ = reader.read(&mut byte) => return Ok(()),
            read = printed.read_until(b'\n', &mut line) => {
                if read? == 0 {
                    return write_line(writer, &Answer::End).await;
                }
                if let Some(own) = journal::read(&line).filter(|own| is_wanted(own, request)) {
                    let text = logs::text(&own.message, masker);
                    let release = ReleaseNumber(own.release);
                    let told = Answer::Line(LogLine { release, source: own.source, text, at: own.at });
                    write_line(writer, &told).await?;
                }
                line.clear();
            }
        }
    }
}

/// What prints the lines from now on. It ends with its owner.
fn follow(request: &LogsRequest) -> io::Result<tokio::process::Child> {
    let app = format!("{}/{}", request.app, request.environment);
    let mut command = tokio::process::Command::from(journal::follower(&app));
    command.stdout(std::process::Stdio::piped()).kill_on_drop(true).spawn()
}

fn is_wanted(line: &journal::Line, request: &LogsRequest) -> bool {
    let (process, index) = line.source.split_once('.').unwrap_or((&line.source, ""));
    request.release.is_none_or(|wanted| wanted.0 == line.release)
        && request.process.as_ref().is_none_or(|wanted| wanted.as_str() == process)
        && request.instance.is_none_or(|wanted| index == wanted.to_string())
}

struct Log {
    path: PathBuf,
    release: ReleaseNumber,
    source: String,
}

impl Log {
    fn line(&self, text: String, at: Option<Timestamp>) -> Answer {
        let (release, source) = (self.release, self.source.clone());
        Answer::Line(LogLine { release, source, text, at })
    }
}

/// The logs that are asked for, of older releases first.
fn logs_of(tree: &AppTree, request: &LogsRequest) -> Vec<Log> {
    let numbers = names(&tree.logs()).into_iter().filter_map(|name| name.parse().ok());
    let mut releases: Vec<_> = numbers.map(ReleaseNumber).collect();
    releases.retain(|number| request.release.is_none_or(|wanted| wanted == *number));
    releases.sort_unstable();
    let mut found = Vec::new();
    for release in releases {
        let directory = tree.logs_of(release);
        let mut names = names(&directory);
        names.sort_unstable();
        for name in names {
            let Some(source) = name.strip_suffix(".log") else { continue };
            let (process, index) = source.split_once('.').unwrap_or((source, ""));
            let instance = request.instance.is_none_or(|wanted| index == wanted.to_string());
            if instance && request.process.as_ref().is_none_or(|wanted| wanted.as_str() == process)
            {
                found.push(Log { path: directory.join(&name), release, source: source.to_owned() });
            }
        }
    }
    found
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |meta| meta.len())
}

/// How far a log was told.
#[derive(Default)]
struct Place {
    read: u64,
    /// A line whose end is still to come.
    part: Vec<u8>,
}

impl Place {
    fn new_lines(&mut self, path: &Path, masker: &Masker) -> io::Result<Vec<String>> {
        let length = length(path);
        if length < self.read {
            // It was rotated.
            *self = Self::default();
        }
        if length == self.read {
            return Ok(Vec::new());
        }
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(self.read))?;
        let count = file.take(PIECE_BYTES).read_to_end(&mut self.part)?;
        self.read += u64::try_from(count).unwrap_or(0);
        let Some(end) = self.part.iter().rposition(|byte| *byte == b'\n') else {
            if self.part.len() > logs::LINE_BYTES_MAX {
                return Ok(vec![logs::text(&std::mem::take(&mut self.part), masker)]);
            }
            return Ok(Vec::new());
        };
        let rest = self.part.split_off(end + 1);
        let whole = std::mem::replace(&mut self.part, rest);
        let lines = whole[..end].split(|byte| *byte == b'\n');
        Ok(lines.map(|line| logs::text(line, masker)).collect())
    }
}

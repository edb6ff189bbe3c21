//! The requests that the proxy answered, as its access log has them, and those that it goes on to
//! answer.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::serve::write_line;
use crate::layout::Tree;
use crate::looking::AccessRequest;
use crate::protocol::Answer;

/// How often new lines are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The file that is written, in the directory of the proxy.
const NEWEST: &str = "access.log";
/// Files that were put aside, oldest first.
const ASIDE: [&str; 4] = ["access.log.4", "access.log.3", "access.log.2", "access.log.1"];
/// The most lines that are given at once.
const LINES_MAX: u32 = 10_000;

/// Answers a request for lines. Following ends when the client closes.
pub(super) async fn answer(
    tree: &Tree,
    request: AccessRequest,
    reader: &mut tokio::io::BufReader<OwnedReadHalf>,
    writer: &mut OwnedWriteHalf,
) -> io::Result<()> {
    let table = tree.proxy_table();
    let directory = table.parent().unwrap_or(tree.root()).to_owned();
    let wanted = Wanted::of(&request);
    let count = request.lines.min(LINES_MAX) as usize;
    let (last, at) = last(&directory, count, &wanted)?;
    for line in last {
        write_line(writer, &Answer::Access { line }).await?;
    }
    if !request.follow {
        return write_line(writer, &Answer::End).await;
    }
    let mut newest = Follow { path: directory.join(NEWEST), at };
    loop {
        let mut lines = Vec::new();
        newest.each(|line| lines.push(line))?;
        for line in lines.into_iter().filter(|line| wanted.is_met(line)) {
            write_line(writer, &Answer::Access { line }).await?;
        }
        let mut byte = [0];
        tokio::select! {
            // Whatever a client says while it follows, it wants no more lines.
            _ = reader.read(&mut byte) => return Ok(()),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// Which lines are asked for.
struct Wanted {
    route: String,
    release: Option<u64>,
}

impl Wanted {
    fn of(request: &AccessRequest) -> Self {
        let route = format!("{}/{}", request.app, request.environment);
        Self { route, release: request.release.map(|release| release.0) }
    }

    fn is_met(&self, line: &Value) -> bool {
        let is_release = |wanted| line["release"].as_u64() == Some(wanted);
        line["route"] == self.route && self.release.is_none_or(is_release)
    }
}

/// The last lines over all files, and how far the newest one was read.
fn last(directory: &Path, count: usize, wanted: &Wanted) -> io::Result<(Vec<Value>, u64)> {
    let mut all = VecDeque::new();
    let mut keep = |line: Value| {
        if wanted.is_met(&line) {
            all.push_back(line);
            if all.len() > count {
                all.pop_front();
            }
        }
    };
    for name in ASIDE {
        Follow { path: directory.join(name), at: 0 }.each(&mut keep)?;
    }
    let mut newest = Follow { path: directory.join(NEWEST), at: 0 };
    newest.each(&mut keep)?;
    Ok((all.into(), newest.at))
}

/// A file that grows, and is exchanged for a new one from time to time.
struct Follow {
    path: PathBuf,
    at: u64,
}

impl Follow {
    /// Every whole line that was not read yet.
    fn each(&mut self, mut what: impl FnMut(Value)) -> io::Result<()> {
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        if file.metadata()?.len() < self.at {
            self.at = 0;
        }
        file.seek(SeekFrom::Start(self.at))?;
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
            self.at += line.len() as u64;
            if let Ok(value) = serde_json::from_slice(&line) {
                what(value);
            }
            line.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_last_lines_come_from_all_files_and_new_ones_follow() {
        let directory = tempfile::tempdir().unwrap();
        let line = |route: &str, release: u32| {
            format!("{{\"route\":\"{route}\",\"release\":{release}}}\n")
        };
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        write("access.log.1", &line("shop/qa", 1));
        write(NEWEST, &(line("shop/qa", 2) + &line("other/qa", 2) + &line("shop/qa", 3) + "{"));
        let wanted = Wanted { route: "shop/qa".to_owned(), release: None };
        let (lines, at) = last(directory.path(), 10, &wanted).unwrap();
        let releases: Vec<_> = lines.iter().map(|line| line["release"].as_u64().unwrap()).collect();
        assert_eq!(releases, [1, 2, 3]);
        assert_eq!(last(directory.path(), 1, &wanted).unwrap().0, [lines[2].clone()]);
        let two = Wanted { release: Some(2), ..wanted };
        assert_eq!(last(directory.path(), 10, &two).unwrap().0, [lines[1].clone()]);

        let path = directory.path().join(NEWEST);
        let text = fs::read_to_string(&path).unwrap() + "\"new\":1}\n";
        fs::write(&path, text).unwrap();
        let (mut newest, mut seen) = (Follow { path, at }, Vec::new());
        newest.each(|line| seen.push(line)).unwrap();
        newest.each(|line| seen.push(line)).unwrap();
        assert_eq!(seen, [serde_json::json!({"new": 1})]);
    }
}

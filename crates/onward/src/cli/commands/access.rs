//! `onward logs --access`: the requests that the proxy answered for an app.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use onward_core::engine::Refusal;
use onward_core::ports::StateStore;
use serde_json::{Value, json};

use crate::cli::args::LogsArgs;
use crate::cli::complaint::{self, Complaint};
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::fleet;
use crate::cli::interrupt;
use crate::cli::screen::Screen;

/// How often new lines are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Files that were put aside, oldest first.
const ASIDE: [&str; 4] = ["access.log.4", "access.log.3", "access.log.2", "access.log.1"];

/// Prints the last lines of the app, and with `-f` what follows.
pub fn run(context: &Context, args: &LogsArgs, screen: &Screen) -> Result<Exit, Complaint> {
    let stored = context.store().read()?;
    let document = stored.as_ref().map(|stored| &*stored.document);
    let server = fleet::entry(context, document).ok_or(Refusal::NothingReleased)?;
    let directory = fleet::on_this_machine(&server)?.root().join("proxy");
    let path = directory.join("access.log");
    let failed = |source: io::Error| complaint::system(&path, source);
    let route = format!("{}/{}", context.app(), context.environment());
    let is_wanted = |line: &Value| {
        line["route"] == route && args.release.is_none_or(|release| line["release"] == release)
    };
    let interrupts = interrupt::watch();
    let (mut lines, at) =
        last(&directory, &path, args.lines as usize, is_wanted).map_err(failed)?;
    for line in &lines {
        show(line, screen);
    }
    let mut count = lines.len();
    let mut from = Follow { path: path.clone(), at };
    while args.follow && interrupts.count() == 0 {
        lines = from.more().map_err(failed)?.into_iter().filter(|line| is_wanted(line)).collect();
        lines.iter().for_each(|line| show(line, screen));
        count += lines.len();
        thread::sleep(LOOK_EVERY);
    }
    if count == 0 && !args.follow {
        let hint = if context.resolved.routing.access_log {
            "No request was logged"
        } else {
            "No request was logged: `access_log = true` below the environment turns it on"
        };
        screen.note(hint);
    }
    screen.finished(true, json!({"lines": count}));
    Ok(Exit::Done)
}

/// The last lines over all files, and how far the newest one was read.
fn last(
    directory: &Path,
    newest: &Path,
    count: usize,
    is_wanted: impl Fn(&Value) -> bool,
) -> io::Result<(Vec<Value>, u64)> {
    let mut all = std::collections::VecDeque::new();
    let mut keep = |line: Value| {
        if is_wanted(&line) {
            all.push_back(line);
            if all.len() > count {
                all.pop_front();
            }
        }
    };
    for name in ASIDE {
        let mut old = Follow { path: directory.join(name), at: 0 };
        old.each(&mut keep)?;
    }
    let mut from = Follow { path: newest.to_owned(), at: 0 };
    from.each(&mut keep)?;
    Ok((all.into(), from.at))
}

/// A file that grows, and is exchanged for a new one from time to time.
struct Follow {
    path: PathBuf,
    at: u64,
}

impl Follow {
    fn more(&mut self) -> io::Result<Vec<Value>> {
        let mut lines = Vec::new();
        self.each(|line| lines.push(line))?;
        Ok(lines)
    }

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

fn show(line: &Value, screen: &Screen) {
    if screen.is_json() {
        screen.event(line);
        return;
    }
    let text = |field: &str| line[field].as_str().unwrap_or("-").to_owned();
    screen.line(&format!(
        "{} {} {} {}{} {} B {} ms {}",
        text("time"),
        line["status"],
        text("method"),
        text("host"),
        text("path"),
        line["bytes"],
        line["ms"],
        text("client"),
    ));
}

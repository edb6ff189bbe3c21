//! The access log: one line of JSON for each request of the routes that want it.
//!
//! A request never waits for it: lines go through a bounded queue to a thread of their own, and what
//! finds the queue full is dropped and counted. The file is rotated, so it never fills a disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::StatusCode;
use http::request::Parts;
use serde::Serialize;

use crate::client_side::ClientSide;
use crate::reception::host;
use crate::routing::Routed;
use crate::sockets;
use crate::worker::Worker;

/// Lines that may wait to be written: what a busy proxy does in a fifth of a second.
const QUEUE: usize = 8_192;
/// A file of this size is put aside; so many are kept besides the one that is written.
const FILE_BYTES: u64 = 10 * 1024 * 1024;
const FILES_KEPT: u32 = 4;
/// Longest host, path or method in a line; what is longer is cut.
const FIELD_BYTES: usize = 1_024;

/// The way to the log.
#[derive(Debug, Default)]
pub(crate) struct AccessLog {
    queue: Option<SyncSender<String>>,
    dropped: Arc<AtomicU64>,
}

impl AccessLog {
    /// Starts to write to `path`, which is made with the first line; without a path nothing is kept.
    pub(crate) fn start(path: Option<&Path>) -> io::Result<Self> {
        let Some(path) = path.map(Path::to_owned) else { return Ok(Self::default()) };
        let (queue, lines) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let lost = dropped.clone();
        let thread = thread::Builder::new().name("access-log".to_owned());
        thread.spawn(move || Writer { path, file: None, size: 0 }.run(&lines, &lost))?;
        Ok(Self { queue: Some(queue), dropped })
    }

    /// Lines that were not written since the proxy started.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    fn write(&self, line: String) {
        if let Some(queue) = &self.queue
            && queue.try_send(line).is_err()
        {
            self.dropped.fetch_add(1, Relaxed);
        }
    }
}

struct Writer {
    path: PathBuf,
    file: Option<File>,
    size: u64,
}

impl Writer {
    fn run(mut self, lines: &Receiver<String>, dropped: &AtomicU64) {
        while let Ok(first) = lines.recv() {
            let (mut batch, mut count) = (first, 1);
            loop {
                match lines.try_recv() {
                    Ok(line) if batch.len() < 64 * 1024 => {
                        batch.push_str(&line);
                        count += 1;
                    }
                    Ok(line) => {
                        self.put(&batch, count, dropped);
                        (batch, count) = (line, 1);
                    }
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                }
            }
            self.put(&batch, count, dropped);
        }
    }

    fn put(&mut self, batch: &str, count: u64, dropped: &AtomicU64) {
        if self.try_put(batch.as_bytes()).is_err() {
            // A full disk: the next batch tries again, with the file opened anew.
            self.file = None;
            dropped.fetch_add(count, Relaxed);
        }
    }

    fn try_put(&mut self, batch: &[u8]) -> io::Result<()> {
        if self.file.is_some() && self.size + batch.len() as u64 > FILE_BYTES {
            self.rotate()?;
        }
        if self.file.is_none() {
            let mode = sockets::mode_in(self.path.parent().unwrap_or(Path::new(".")), 0o040);
            let file = OpenOptions::new().create(true).append(true).mode(mode).open(&self.path)?;
            self.size = file.metadata()?.len();
            self.file = Some(file);
        }
        if let Some(file) = &mut self.file {
            file.write_all(batch)?;
            self.size += batch.len() as u64;
        }
        Ok(())
    }

    /// `access.log` becomes `access.log.1`, and so on; the oldest goes.
    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        let aside = |number: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..FILES_KEPT).rev() {
            if aside(number).exists() {
                fs::rename(aside(number), aside(number + 1))?;
            }
        }
        fs::rename(&self.path, aside(1))
    }
}

/// One request that will be logged.
pub(crate) struct Access {
    worker: Rc<Worker>,
    client: Rc<ClientSide>,
    time: Duration,
    route: String,
    release: u64,
    host: String,
    method: String,
    path: String,
    instance: Option<String>,
    pub(crate) bytes: u64,
    pub(crate) status: u16,
}

/// A line, its fields in the order in which they are read.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    route: &'a str,
    client: &'a str,
    host: &'a str,
    method: &'a str,
    path: &'a str,
    status: u16,
    bytes: u64,
    ms: f64,
    release: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a str>,
    by: &'static str,
}

impl Access {
    /// The request, when its route wants to be logged. The query is left out: it often holds what
    /// nobody should keep.
    pub(crate) fn of(
        worker: &Rc<Worker>,
        routed: &Routed,
        parts: &Parts,
        client: &Rc<ClientSide>,
    ) -> Option<Box<Self>> {
        let route = routed.route();
        route.access_log.then(|| {
            Box::new(Self {
                worker: worker.clone(),
                client: client.clone(),
                time: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
                route: route.name.clone(),
                release: route.release,
                host: cut(host(&parts.headers)),
                method: cut(parts.method.as_str()),
                path: cut(parts.uri.path()),
                instance: None,
                bytes: 0,
                status: 0,
            })
        })
    }

    /// Another instance, or another release, has it now.
    pub(crate) fn given_to(&mut self, instance: &str, release: u64) {
        self.instance = Some(instance.to_owned());
        self.release = release;
    }

    /// The proxy answered itself.
    pub(crate) fn own(mut self, status: StatusCode, bytes: u64, took: Duration) {
        (self.status, self.bytes) = (status.as_u16(), bytes);
        self.end("proxy", took);
    }

    /// The request is over. `by`: who answered, or who broke off.
    pub(crate) fn end(&self, by: &'static str, took: Duration) {
        let line = Line {
            time: timestamp(self.time),
            route: &self.route,
            client: self.client.forwarded_for.to_str().unwrap_or("unknown"),
            host: &self.host,
            method: &self.method,
            path: &self.path,
            status: self.status,
            bytes: self.bytes,
            ms: (took.as_secs_f64() * 1e6).round() / 1e3,
            release: self.release,
            instance: self.instance.as_deref(),
            by,
        };
        if let Ok(mut text) = serde_json::to_string(&line) {
            text.push('\n');
            self.worker.shared.access.write(text);
        }
    }
}

fn cut(text: &str) -> String {
    let end = (0..=text.len().min(FIELD_BYTES)).rev().find(|at| text.is_char_boundary(*at));
    text[..end.unwrap_or(0)].to_owned()
}

/// A time since 1970 as RFC 3339 writes it, in UTC, to the millisecond.
fn timestamp(since: Duration) -> String {
    let (seconds, days) = (since.as_secs() % 86_400, since.as_secs() / 86_400);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    // Days of the proleptic Gregorian calendar, in eras of 400 years that begin in March.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let ms = since.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_what_the_calendar_says() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_795_262_401, "2026-11-21T12:00:01.000Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(timestamp(Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn long_fields_are_cut_between_characters() {
        assert_eq!(cut(&"é".repeat(600)).len(), FIELD_BYTES);
        assert_eq!(cut(&format!("a{}", "é".repeat(600))).len(), FIELD_BYTES - 1);
    }

    #[test]
    fn files_are_rotated_and_the_oldest_goes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("access.log");
        let mut writer = Writer { path, file: None, size: 0 };
        let batch = vec![b'x'; usize::try_from(FILE_BYTES).unwrap() / 2 + 1];
        for _ in 0..2 * FILES_KEPT + 2 {
            writer.try_put(&batch).unwrap();
        }
        let mut names: Vec<_> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let expected =
            ["access.log", "access.log.1", "access.log.2", "access.log.3", "access.log.4"];
        assert_eq!(names, expected);
    }
}

//! The log as a file in a directory that releases share.
//!
//! A record is `\nCHECKSUM LINE\n`, written by one `write` to a file opened for appending; the
//! kernel lets such writes follow each other. The line break in front ends a record that a crash
//! or a full disk has torn, so that it cannot swallow the next one.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::history::{Event, History};
use crate::log::{Log, Position, Snapshot};

/// How much of the log is read at once. Many times the longest record.
const READ_BYTES: usize = 64 * 1024;

/// A log in a directory.
pub struct FileLog {
    events: File,
    reader: File,
    snapshot: PathBuf,
    lock: PathBuf,
}

impl FileLog {
    /// Opens or makes the log in `dir`.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let path = dir.join("visits.log");
        let events = OpenOptions::new().create(true).append(true).open(&path)?;
        Ok(Self {
            events,
            reader: File::open(&path)?,
            snapshot: dir.join("visits.snapshot"),
            lock: dir.join("visits.lock"),
        })
    }

    fn replace_snapshot(&self, snapshot: &Snapshot) -> io::Result<()> {
        let newer = self.snapshot()?.is_some_and(|known| known.position >= snapshot.position);
        if newer {
            return Ok(());
        }
        // What the snapshot says must not be on disk before what it speaks about.
        self.events.sync_data()?;
        let text = sealed(&format!("{}\n{}", snapshot.position.0, snapshot.history.to_text()));
        let fresh = self.snapshot.with_extension("fresh");
        let mut file = File::create(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, &self.snapshot)
    }
}

impl Log for FileLog {
    fn append(&self, event: &Event) -> io::Result<()> {
        let record = format!("\n{}\n", sealed(&event.to_line()));
        let written = (&self.events).write(record.as_bytes())?;
        if written < record.len() {
            return Err(io::Error::other(
                "the log took only a part of a record: is the disk full?",
            ));
        }
        Ok(())
    }

    fn read(&self, from: Position) -> io::Result<(Vec<Event>, Position)> {
        let mut chunk = vec![0; READ_BYTES];
        let count = self.reader.read_at(&mut chunk, from.0)?;
        let chunk = &chunk[..count];
        let end = match chunk.iter().rposition(|byte| *byte == b'\n') {
            // What follows the last line break may still be under way: it is left for next time.
            Some(at) => at + 1,
            // No record is that long: this is no record.
            None if count == READ_BYTES => count,
            None => 0,
        };
        let lines = chunk[..end].split(|byte| *byte == b'\n');
        let events = lines
            .filter_map(|line| Event::from_line(unsealed(std::str::from_utf8(line).ok()?)?))
            .collect();
        Ok((events, Position(from.0 + end as u64)))
    }

    fn snapshot(&self) -> io::Result<Option<Snapshot>> {
        let text = match fs::read(&self.snapshot) {
            Ok(bytes) => String::from_utf8(bytes).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let parsed = unsealed(&text).and_then(|text| {
            let (position, history) = text.split_once('\n')?;
            let position = Position(position.parse().ok()?);
            Some(Snapshot { position, history: History::from_text(history)? })
        });
        // One that reaches further than the log belongs to another log.
        let length = self.reader.metadata()?.len();
        Ok(parsed.filter(|snapshot| snapshot.position.0 <= length))
    }

    fn offer(&self, snapshot: &Snapshot) -> io::Result<()> {
        let lock = OpenOptions::new().create(true).append(true).open(&self.lock)?;
        match lock.try_lock() {
            Ok(()) => self.replace_snapshot(snapshot),
            Err(TryLockError::WouldBlock) => Ok(()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// The text with its checksum in front.
fn sealed(text: &str) -> String {
    format!("{:016x} {text}", checksum(text.as_bytes()))
}

/// The text without its checksum, if that is right.
fn unsealed(text: &str) -> Option<&str> {
    let (sum, text) = text.split_once(' ')?;
    let right = sum.len() == 16 && u64::from_str_radix(sum, 16) == Ok(checksum(text.as_bytes()));
    right.then_some(text)
}

/// FNV-1a, 64 bits: tells a torn record from a whole one. Not against forgery.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
#[path = "file_log_tests.rs"]
mod tests;

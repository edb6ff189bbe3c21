//! Log files: their last lines, and their limit.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use onward_secret::Masker;

/// The length at which a log is copied away and cut, in bytes.
pub const LOG_BYTES_MAX: u64 = 10 << 20;
/// How many older logs are kept, as `NAME.1` (the youngest) and so on.
pub const LOGS_KEPT: u32 = 2;
/// How far back the last lines are looked for, in bytes.
const TAIL_BYTES: u64 = 256 << 10;
/// The longest line that is told, in bytes; the rest of it is left out.
pub const LINE_BYTES_MAX: usize = 16 << 10;

/// The last lines of a file without secrets, oldest first; none when it cannot be read.
pub fn tail(path: &Path, lines: usize, masker: &Masker) -> Vec<String> {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let from = file.metadata()?.len().saturating_sub(TAIL_BYTES);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        if from > 0 {
            let first_end = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            bytes.drain(..first_end);
        }
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let mut all: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    if all.last().is_some_and(|last| last.is_empty()) {
        all.pop();
    }
    let from = all.len().saturating_sub(lines);
    all[from..].iter().map(|line| text(line, masker)).collect()
}

/// A line as text without secrets, shortened to [`LINE_BYTES_MAX`].
pub fn text(line: &[u8], masker: &Masker) -> String {
    // Before it is cut: half a secret is not recognised.
    let line = masker.mask_bytes(line.strip_suffix(b"\r").unwrap_or(line));
    String::from_utf8_lossy(&line[..line.len().min(LINE_BYTES_MAX)]).into_owned()
}

/// Copies a log that is longer than [`LOG_BYTES_MAX`] away and cuts it, so that whoever writes it
/// goes on undisturbed. Returns whether it did.
///
/// # Caveats
/// What is printed between the copy and the cut is lost. Of a log that grew far beyond the limit
/// only the last part is kept.
///
/// # Errors
/// When a file cannot be read or written; the log is then as it was.
pub fn rotate(path: &Path) -> io::Result<bool> {
    let mut file = match File::options().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    if length <= LOG_BYTES_MAX {
        return Ok(false);
    }
    for number in (1..LOGS_KEPT).rev() {
        let _ = fs::rename(older(path, number), older(path, number + 1));
    }
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES_MAX)))?;
    let mut copy =
        File::options().create(true).write(true).truncate(true).mode(0o600).open(older(path, 1))?;
    io::copy(&mut (&mut file).take(LOG_BYTES_MAX), &mut copy)?;
    file.set_len(0)?;
    Ok(true)
}

fn older(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_last_lines_are_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        assert_eq!(tail(&path, 5, &Masker::default()), Vec::<String>::new());
        fs::write(&path, "a\nb\r\nc").unwrap();
        assert_eq!(tail(&path, 2, &Masker::default()), ["b", "c"]);
        fs::write(&path, format!("{}\nlast\n", "x".repeat(300 << 10))).unwrap();
        assert_eq!(tail(&path, 5, &Masker::default()), ["last"]);
    }

    #[test]
    fn a_long_log_is_cut_under_its_writer() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut writer = File::options().create(true).append(true).open(&path).unwrap();
        for round in 1..=4 {
            let length = usize::try_from(LOG_BYTES_MAX).unwrap();
            writer.write_all(&vec![b'0' + round; length]).unwrap();
            assert!(!rotate(&path).unwrap());
            writer.write_all(b"\n").unwrap();
            assert!(rotate(&path).unwrap());
            assert_eq!(fs::metadata(&path).unwrap().len(), 0);
        }
        writer.write_all(b"on\n").unwrap();
        assert_eq!(tail(&path, 1, &Masker::default()), ["on"]);
        assert_eq!(fs::read(older(&path, 1)).unwrap()[0], b'4');
        assert_eq!(fs::read(older(&path, 2)).unwrap()[0], b'3');
        assert!(!older(&path, 3).exists());
    }
}

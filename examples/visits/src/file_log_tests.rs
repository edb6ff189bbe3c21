use super::*;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use crate::clock::Seconds;
use crate::history::Release;

/// A directory of its own for each test, removed at the end.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("visits-{}-{next}", std::process::id());
        let dir = Self(std::env::temp_dir().join(name));
        fs::create_dir_all(&dir.0).unwrap();
        dir
    }

    fn log(&self) -> FileLog {
        FileLog::open(&self.0).unwrap()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn visit(release: u64) -> Event {
    Event::Visited { release }
}

fn all(log: &FileLog) -> Vec<Event> {
    after(log, Position::default()).0
}

fn after(log: &FileLog, mut position: Position) -> (Vec<Event>, Position) {
    let mut all = Vec::new();
    loop {
        let (events, next) = log.read(position).unwrap();
        if next == position {
            return (all, position);
        }
        all.extend(events);
        position = next;
    }
}

fn snapshot_at(position: u64, visits: u64) -> Snapshot {
    let history = History { visits, ..History::default() };
    Snapshot { position: Position(position), history }
}

#[test]
fn events_come_back_in_order_and_from_a_position() {
    let dir = Dir::new();
    let log = dir.log();
    let started = Event::Started { release: Release::new(1, "first one"), at: Seconds(9) };
    log.append(&started).unwrap();
    let position = after(&log, Position::default()).1;
    log.append(&visit(1)).unwrap();
    assert_eq!(all(&log), [started, visit(1)]);
    assert_eq!(after(&log, position).0, [visit(1)]);
}

#[test]
fn two_releases_append_at_once_and_nothing_is_lost() {
    const EACH: u64 = 5_000;
    let dir = Dir::new();
    thread::scope(|scope| {
        for release in [1, 2] {
            let log = dir.log();
            scope.spawn(move || (0..EACH).for_each(|_| log.append(&visit(release)).unwrap()));
        }
    });
    let events = all(&dir.log());
    for release in [1, 2] {
        let count = events.iter().filter(|event| **event == visit(release)).count();
        assert_eq!(count as u64, EACH);
    }
}

#[test]
fn a_torn_record_is_skipped_and_harms_no_other() {
    let dir = Dir::new();
    let whole = format!("\n{}\n", sealed(&visit(7).to_line()));
    for cut in 1..whole.len() {
        fs::write(dir.0.join("visits.log"), &whole.as_bytes()[..cut]).unwrap();
        let log = dir.log();
        let position = after(&log, Position::default()).1;
        log.append(&visit(8)).unwrap();
        // Without its final line break the first record is whole all the same.
        let expected =
            if cut + 1 == whole.len() { vec![visit(7), visit(8)] } else { vec![visit(8)] };
        assert_eq!(all(&log), expected, "cut at {cut}");
        assert_eq!(after(&log, position).0, expected, "cut at {cut}");
    }
}

#[test]
fn a_record_still_under_way_is_not_passed_over() {
    let dir = Dir::new();
    let log = dir.log();
    let record = format!("\n{}\n", sealed(&visit(7).to_line()));
    let (first, second) = record.as_bytes().split_at(10);
    (&log.events).write_all(first).unwrap();
    let (events, position) = after(&log, Position::default());
    assert_eq!(events, [], "not whole yet");
    (&log.events).write_all(second).unwrap();
    assert_eq!(after(&log, position).0, [visit(7)]);
}

#[test]
fn a_log_longer_than_one_read_is_whole() {
    let dir = Dir::new();
    let log = dir.log();
    let count = READ_BYTES / 20;
    (0..count).for_each(|_| log.append(&visit(3)).unwrap());
    assert_eq!(all(&log).len(), count);
}

#[test]
fn garbage_in_the_log_is_skipped() {
    let dir = Dir::new();
    let mut bytes = vec![b'x'; 3 * READ_BYTES];
    bytes.extend_from_slice(b"\xff\xfe\n\0\0\0\nhello\n0000000000000000 visited 1\n");
    bytes.extend_from_slice(format!("{}\n", sealed("unheard of")).as_bytes());
    fs::write(dir.0.join("visits.log"), bytes).unwrap();
    let log = dir.log();
    log.append(&visit(1)).unwrap();
    assert_eq!(all(&log), [visit(1)]);
}

#[test]
fn snapshots_only_move_forward() {
    let dir = Dir::new();
    let log = dir.log();
    (0..10).for_each(|_| log.append(&visit(1)).unwrap());
    assert_eq!(log.snapshot().unwrap(), None);
    log.offer(&snapshot_at(20, 2)).unwrap();
    log.offer(&snapshot_at(10, 1)).unwrap();
    log.offer(&snapshot_at(20, 99)).unwrap();
    assert_eq!(dir.log().snapshot().unwrap(), Some(snapshot_at(20, 2)));
    log.offer(&snapshot_at(30, 3)).unwrap();
    assert_eq!(log.snapshot().unwrap(), Some(snapshot_at(30, 3)));
}

#[test]
fn a_snapshot_is_left_alone_while_another_instance_writes() {
    let dir = Dir::new();
    let log = dir.log();
    (0..10).for_each(|_| log.append(&visit(1)).unwrap());
    let other = File::create(dir.0.join("visits.lock")).unwrap();
    other.lock().unwrap();
    log.offer(&snapshot_at(20, 2)).unwrap();
    assert_eq!(log.snapshot().unwrap(), None);
    drop(other);
    log.offer(&snapshot_at(20, 2)).unwrap();
    assert_eq!(log.snapshot().unwrap(), Some(snapshot_at(20, 2)));
}

#[test]
fn a_damaged_or_foreign_snapshot_is_ignored() {
    let dir = Dir::new();
    let log = dir.log();
    log.append(&visit(1)).unwrap();
    log.offer(&snapshot_at(5, 2)).unwrap();
    let path = dir.0.join("visits.snapshot");
    let good = fs::read(&path).unwrap();
    for damaged in [&good[..good.len() - 2], b"", b"\xff\xff"] {
        fs::write(&path, damaged).unwrap();
        assert_eq!(log.snapshot().unwrap(), None);
    }
    fs::write(&path, &good).unwrap();
    assert!(log.snapshot().unwrap().is_some());
    File::create(dir.0.join("visits.log")).unwrap();
    assert_eq!(log.snapshot().unwrap(), None, "reaches further than the log");
}

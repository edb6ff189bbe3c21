use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// A log in memory that can be told to fail.
#[derive(Clone, Default)]
struct Memory {
    events: Arc<Mutex<Vec<Event>>>,
    snapshots: Arc<Mutex<Vec<Snapshot>>>,
    broken: Arc<AtomicBool>,
}

impl Memory {
    fn check(&self) -> io::Result<()> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(io::Error::other("broken"));
        }
        Ok(())
    }
}

/// Each event moves the position by this much, so that snapshots come soon.
const STEP: u64 = SNAPSHOT_EVERY_BYTES / 4;

impl Log for Memory {
    fn append(&self, event: &Event) -> io::Result<()> {
        self.check()?;
        self.events.lock().unwrap().push(event.clone());
        Ok(())
    }

    fn read(&self, from: Position) -> io::Result<(Vec<Event>, Position)> {
        self.check()?;
        let events = self.events.lock().unwrap();
        let next = usize::try_from(from.0 / STEP).unwrap();
        let some: Vec<Event> = events.iter().skip(next).take(3).cloned().collect();
        let position = Position(from.0 + some.len() as u64 * STEP);
        Ok((some, position))
    }

    fn snapshot(&self) -> io::Result<Option<Snapshot>> {
        Ok(self.snapshots.lock().unwrap().last().cloned())
    }

    fn offer(&self, snapshot: &Snapshot) -> io::Result<()> {
        self.snapshots.lock().unwrap().push(snapshot.clone());
        Ok(())
    }
}

fn instance(log: &Memory, number: u64, label: &str) -> Visits {
    let release = Release::new(number, label);
    let visits = Visits::open(Box::new(log.clone()), release, "host-a".to_owned()).unwrap();
    visits.started(Seconds(number * 100)).unwrap();
    visits
}

fn ask(visits: &Visits, method: &str, path: &str) -> Answer {
    let (method, path) = (method.to_owned(), path.to_owned());
    visits.answer(&Request { method, path, close: false }, Seconds(1_000))
}

fn counted(log: &Memory) -> usize {
    let events = log.events.lock().unwrap();
    events.iter().filter(|event| matches!(event, Event::Visited { .. })).count()
}

#[test]
fn only_looking_at_the_page_counts() {
    let log = Memory::default();
    let visits = instance(&log, 1, "a");
    for (method, path, status) in [
        ("HEAD", "/", 200),
        ("GET", "/up", 200),
        ("HEAD", "/up", 200),
        ("GET", "/favicon.ico", 404),
        ("GET", "/elsewhere", 404),
        ("POST", "/", 405),
        ("DELETE", "/up", 405),
    ] {
        assert_eq!(ask(&visits, method, path).status, status, "{method} {path}");
    }
    assert_eq!(counted(&log), 0);
    assert_eq!(ask(&visits, "GET", "/").status, 200);
    assert_eq!(counted(&log), 1);
}

#[test]
fn two_releases_at_once_show_the_same_total() {
    let log = Memory::default();
    let (old, new) = (instance(&log, 1, "a"), instance(&log, 2, "b"));
    for _ in 0..3 {
        ask(&old, "GET", "/");
        ask(&new, "GET", "/");
    }
    for (visits, number) in [(&old, 1), (&new, 2)] {
        let body = ask(visits, "HEAD", "/").body;
        assert!(body.contains("<strong>6</strong>"), "{body}");
        assert!(body.contains(&format!("Release {number} ")), "{body}");
    }
}

#[test]
fn a_restart_remembers_everything_through_the_snapshot() {
    let log = Memory::default();
    let first = instance(&log, 1, "a");
    for _ in 0..20 {
        ask(&first, "GET", "/");
    }
    let taken = log.snapshots.lock().unwrap().len();
    assert!((4..=6).contains(&taken), "{taken} snapshots");
    let second = instance(&log, 2, "b");
    let body = ask(&second, "GET", "/").body;
    assert!(body.contains("<strong>21</strong>"), "{body}");
    assert!(body.contains("1970-01-01 00:01:40 UTC"), "the first start of release 1: {body}");
}

#[test]
fn a_broken_store_is_said_and_fails_the_probe() {
    let log = Memory::default();
    let visits = instance(&log, 1, "a");
    log.broken.store(true, Ordering::Relaxed);
    assert_eq!(ask(&visits, "GET", "/").status, 503);
    assert_eq!(ask(&visits, "GET", "/up").status, 503);
    log.broken.store(false, Ordering::Relaxed);
    assert_eq!(ask(&visits, "GET", "/up").status, 200);
    assert_eq!(counted(&log), 0);
}

//! What every [`StateStore`] must do.
//!
//! ```no_run
//! onward_testkit::contract::state_store::all(|| {
//!     Box::new(onward_testkit::fake::MemoryStore::new())
//! });
//! ```
//!
//! Each function takes a maker of empty stores and panics with what was broken. A maker is called
//! anew by each function, so that they can run in any order and at once.

use std::sync::Arc;
use std::thread;

use jiff::Timestamp;
use onward_core::document::Document;
use onward_core::model::{Generation, ServerName, WriteId};
use onward_core::outcome::Outcome;
use onward_core::ports::{StateStore, Stored, WriteRefused};
use onward_core::report::Report;

/// How many threads count at once.
pub const THREADS: u64 = 8;
/// How often each of them counts.
pub const INCREMENTS: u64 = 50;

/// A store as the suite takes it. It is used from several threads at once.
pub type Made = Box<dyn StateStore + Send + Sync>;

/// How many parts the suite has.
pub const PARTS: usize = 12;

/// One part of the suite with its name.
pub type Part = (&'static str, fn(&dyn Fn() -> Made));

/// The parts by name.
pub fn parts() -> [Part; PARTS] {
    [
        ("an_empty_store_has_nothing", an_empty_store_has_nothing),
        ("the_first_write_creates", the_first_write_creates),
        ("a_second_create_conflicts", a_second_create_conflicts),
        ("a_write_replaces_what_it_names", a_write_replaces_what_it_names),
        ("a_late_write_conflicts_and_changes_nothing", a_late_write_conflicts_and_changes_nothing),
        ("a_write_twice_conflicts_the_second_time", a_write_twice_conflicts_the_second_time),
        ("every_generation_can_be_read_again", every_generation_can_be_read_again),
        ("the_chain_holds", the_chain_holds),
        ("of_many_creates_one_happens", of_many_creates_one_happens),
        ("concurrent_writers_lose_no_update", concurrent_writers_lose_no_update),
        ("a_reader_never_goes_back", a_reader_never_goes_back),
        ("reports_are_apart", reports_are_apart),
    ]
}

/// The whole suite.
pub fn all(make: impl Fn() -> Made) {
    for (_, part) in parts() {
        part(&make);
    }
}

fn first(by: &str) -> Arc<Document> {
    let app = "shop".parse().expect("a legal name");
    let environment = "local".parse().expect("a legal name");
    Arc::new(Document::first(app, environment, WriteId::new(by), Timestamp::UNIX_EPOCH))
}

/// The document that follows.
fn next(current: &Stored, by: &str) -> Arc<Document> {
    let mut next = Document::clone(&current.document);
    next.generation = next.generation.next();
    next.parent = Some(current.digest);
    next.write_id = WriteId::new(by);
    Arc::new(next)
}

fn done(outcome: Outcome<Stored, WriteRefused>) -> Stored {
    match outcome {
        Outcome::Done(stored) => stored,
        other => panic!("the write should have happened: {other:?}"),
    }
}

fn conflicts(outcome: &Outcome<Stored, WriteRefused>) {
    assert_eq!(*outcome, Outcome::Refused(WriteRefused::Conflict), "the write should conflict");
}

fn current(store: &dyn StateStore) -> Stored {
    store.read().expect("the store can be read").expect("there is a document")
}

fn create(store: &dyn StateStore) -> Stored {
    done(store.write(None, &first("create")))
}

/// Nothing is there before the first write, and reading it makes nothing.
pub fn an_empty_store_has_nothing(make: &dyn Fn() -> Made) {
    let store = make();
    for _ in 0..2 {
        assert_eq!(store.read(), Ok(None));
        assert_eq!(store.read_generation(Generation(1)), Ok(None));
    }
}

/// What was created is read, whole.
pub fn the_first_write_creates(make: &dyn Fn() -> Made) {
    let store = make();
    let document = first("one");
    let stored = done(store.write(None, &document));
    assert_eq!(*stored.document, *document);
    assert_eq!(current(&*store), stored);
}

/// Creating conflicts when there is a document.
pub fn a_second_create_conflicts(make: &dyn Fn() -> Made) {
    let store = make();
    let stored = create(&*store);
    conflicts(&store.write(None, &first("two")));
    assert_eq!(current(&*store), stored);
}

/// A write that names the current generation replaces it.
pub fn a_write_replaces_what_it_names(make: &dyn Fn() -> Made) {
    let store = make();
    let one = create(&*store);
    let two = done(store.write(Some(Generation(1)), &next(&one, "two")));
    assert_eq!(two.document.generation, Generation(2));
    assert_eq!(current(&*store), two);
}

/// A write that names an older generation, or one that never was, conflicts; nothing changes.
pub fn a_late_write_conflicts_and_changes_nothing(make: &dyn Fn() -> Made) {
    let store = make();
    conflicts(&store.write(Some(Generation(1)), &next(&stored_nowhere(), "early")));
    let one = create(&*store);
    let two = done(store.write(Some(Generation(1)), &next(&one, "two")));
    conflicts(&store.write(Some(Generation(1)), &next(&one, "late")));
    assert_eq!(current(&*store), two);
    assert_eq!(store.read_generation(Generation(2)), Ok(Some(two)));
    assert_eq!(store.read_generation(Generation(3)), Ok(None));
}

fn stored_nowhere() -> Stored {
    let document = first("nowhere");
    let digest = onward_core::model::Digest::of(&document.encode());
    Stored { document, digest }
}

/// The same write again, as a client library repeats it, conflicts: the caller finds its
/// `write_id` in the document and knows that it was its own.
pub fn a_write_twice_conflicts_the_second_time(make: &dyn Fn() -> Made) {
    let store = make();
    let one = create(&*store);
    let write = next(&one, "mine");
    done(store.write(Some(Generation(1)), &write));
    conflicts(&store.write(Some(Generation(1)), &write));
    assert_eq!(current(&*store).document.write_id, WriteId::new("mine"));
}

/// Every generation that was written can be read again, unchanged.
pub fn every_generation_can_be_read_again(make: &dyn Fn() -> Made) {
    let store = make();
    let mut written = vec![create(&*store)];
    for n in 2..=12 {
        let last = written.last().expect("at least one");
        let document = next(last, &format!("write-{n}"));
        written.push(done(store.write(Some(Generation(n - 1)), &document)));
    }
    for stored in written {
        assert_eq!(store.read_generation(stored.document.generation), Ok(Some(stored)));
    }
}

/// The digest that a store gives is that of the document's bytes, and each document names the
/// digest of the one before.
pub fn the_chain_holds(make: &dyn Fn() -> Made) {
    let store = make();
    let mut last = create(&*store);
    for n in 2..=6 {
        assert_eq!(last.digest, onward_core::model::Digest::of(&last.document.encode()));
        let document = next(&last, &format!("write-{n}"));
        let stored = done(store.write(Some(Generation(n - 1)), &document));
        assert_eq!(stored.document.parent, Some(last.digest));
        last = stored;
    }
}

/// Of many creates at once exactly one happens.
pub fn of_many_creates_one_happens(make: &dyn Fn() -> Made) {
    for _ in 0..5 {
        let store = make();
        let happened = at_once(|thread| {
            let outcome = store.write(None, &first(&format!("thread-{thread}")));
            matches!(outcome, Outcome::Done(_))
        });
        assert_eq!(happened.into_iter().filter(|won| *won).count(), 1);
    }
}

fn at_once<T: Send>(what: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let what = &what;
    thread::scope(|scope| {
        let threads: Vec<_> =
            (0..THREADS).map(|thread| scope.spawn(move || what(thread))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread panics")).collect()
    })
}

/// Several threads count in one document, each by reading and replacing; every count is there.
pub fn concurrent_writers_lose_no_update(make: &dyn Fn() -> Made) {
    let store = make();
    create(&*store);
    let acknowledged: u64 = at_once(|thread| {
        (0..INCREMENTS).map(|n| count_up(&*store, &format!("{thread}-{n}"))).sum::<u64>()
    })
    .into_iter()
    .sum();
    let last = current(&*store).document;
    assert_eq!(last.last_operation.0, THREADS * INCREMENTS, "an update was lost");
    assert_eq!(last.generation.0, 1 + THREADS * INCREMENTS);
    assert_eq!(acknowledged, THREADS * INCREMENTS);
}

/// Counts up by one, however often somebody else is faster.
fn count_up(store: &dyn StateStore, by: &str) -> u64 {
    loop {
        let read = current(store);
        let mut document = Document::clone(&next(&read, by));
        document.last_operation = document.last_operation.next();
        let expected = Some(read.document.generation);
        // Somebody else gets a chance to be faster, also in a store that takes no time.
        thread::yield_now();
        match store.write(expected, &Arc::new(document)) {
            Outcome::Done(_) => return 1,
            Outcome::Refused(WriteRefused::Conflict) => thread::yield_now(),
            other => panic!("nothing is wrong with the store: {other:?}"),
        }
    }
}

/// A reader beside writers sees whole documents, and never an older one after a newer one.
pub fn a_reader_never_goes_back(make: &dyn Fn() -> Made) {
    let store = make();
    create(&*store);
    at_once(|thread| {
        if thread % 2 == 0 {
            (0..INCREMENTS / 5).for_each(|n| {
                count_up(&*store, &format!("{thread}-{n}"));
            });
            return;
        }
        let mut seen = Generation(0);
        for _ in 0..INCREMENTS {
            let read = current(&*store).document;
            assert!(read.generation >= seen, "{} was read after {seen}", read.generation);
            assert_eq!(read.last_operation.0 + 1, read.generation.0, "a document in part");
            seen = read.generation;
        }
    });
}

/// The report of each server is its own, the last one counts, and none touches the document.
pub fn reports_are_apart(make: &dyn Fn() -> Made) {
    let store = make();
    let stored = create(&*store);
    let (one, two): (ServerName, ServerName) =
        ("one".parse().expect("a legal name"), "two".parse().expect("a legal name"));
    assert_eq!(store.report(&one), Ok(None));
    let report = |n| Report { accepted: Generation(n), ..Report::default() };
    for (server, n) in [(&one, 1), (&two, 2), (&one, 3)] {
        assert_eq!(store.put_report(server, &report(n)), Ok(()));
    }
    assert_eq!(store.report(&one), Ok(Some(report(3))));
    assert_eq!(store.report(&two), Ok(Some(report(2))));
    assert_eq!(current(&*store), stored);
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::fake::{MemoryStore, WeakStore};

    #[test]
    fn the_fake_passes() {
        all(|| Box::new(MemoryStore::new()));
    }

    /// The control: a store that ignores conditions fails every part that is about them.
    #[test]
    fn a_store_that_ignores_conditions_fails() {
        let fails = |part: fn(&dyn Fn() -> Made)| {
            let make = || -> Made { Box::new(WeakStore::default()) };
            catch_unwind(AssertUnwindSafe(|| part(&make))).is_err()
        };
        let failed: Vec<&str> =
            parts().into_iter().filter(|(_, part)| fails(*part)).map(|(name, _)| name).collect();
        for name in [
            "a_second_create_conflicts",
            "a_late_write_conflicts_and_changes_nothing",
            "a_write_twice_conflicts_the_second_time",
            "of_many_creates_one_happens",
            "concurrent_writers_lose_no_update",
            "reports_are_apart",
        ] {
            assert!(failed.contains(&name), "{name} does not notice: {failed:?}");
        }
    }
}

//! Moving documents between a directory and a bucket, dying at every request.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use onward_core::model::{Generation, ServerName};
use onward_core::ports::{StateStore, StoreError, Stored};
use onward_core::report::Report;
use onward_store::state::cloud::CloudStore;
use onward_store::state::{DirectoryStore, Documents, Transfer, TransferRefused, transfer};
use onward_testkit::bucket::{Bucket, Dialect, Trouble};

use super::{app, environment, next, store, written};

fn directory(root: &Path) -> Documents {
    Documents::Directory(DirectoryStore::new(root, &app(), &environment()))
}

fn cloud(bucket: &Bucket) -> Documents {
    Documents::Cloud(Arc::new(store(bucket, "state")))
}

fn server() -> ServerName {
    "one".parse().expect("a legal name")
}

fn report(place: &Documents) {
    let report = Report { accepted: Generation(3), ..Report::default() };
    place.put_report(&server(), &report).expect("kept");
}

/// Three generations and a report in a directory.
fn in_directory(root: &Path) -> Stored {
    let from = Bucket::start(Dialect::S3);
    let there = cloud(&from);
    written(&store(&from, "state"), 3);
    report(&there);
    transfer(&there, &directory(root)).expect("moved");
    directory(root).read().expect("readable").expect("there")
}

fn everything_is_in(place: &Documents, last: &Stored, what: &str) {
    assert_eq!(place.read(), Ok(Some(last.clone())), "{what}");
    for n in 1..=3 {
        let read = place.read_generation(Generation(n)).expect(what);
        assert!(read.is_some(), "{what}: generation {n}");
    }
    let report = place.report(&server()).expect(what);
    assert_eq!(report.map(|report| report.accepted), Some(Generation(3)), "{what}");
}

#[test]
fn a_directory_and_a_bucket_either_way() {
    for dialect in [Dialect::S3, Dialect::Google, Dialect::Azure] {
        let root = tempfile::tempdir().expect("a temporary directory");
        let bucket = Bucket::start(dialect);
        let here = directory(root.path());
        let last = in_directory(root.path());
        let moved = transfer(&here, &cloud(&bucket)).expect("moved");
        assert_eq!(
            moved,
            Transfer::Moved { generation: Generation(3), generations: 3, reports: 1 }
        );
        everything_is_in(&cloud(&bucket), &last, "in the bucket");
        assert!(matches!(here.read(), Err(StoreError::Moved { .. })));
        assert_eq!(transfer(&here, &cloud(&bucket)), Ok(Transfer::Already(Generation(3))));
        transfer(&cloud(&bucket), &here).expect("and back");
        everything_is_in(&here, &last, "in the directory");
        let closed = cloud(&bucket).read();
        assert!(matches!(closed, Err(StoreError::Moved { .. })), "{closed:?}");
    }
}

fn another_environment(bucket: &Bucket) -> CloudStore {
    let url = bucket.url("state").parse().expect("a legal URL");
    let name = "other".parse().expect("a legal name");
    CloudStore::open_with(&url, &app(), &name, &Bucket::variable).expect("it can be used")
}

/// The mover dies at the n-th request, before or after the bucket has carried it out: whatever
/// comes after it never happens.
fn dies_at_every_request(to_the_bucket: bool) -> u64 {
    let mut deaths = 0;
    for after in [false, true] {
        for n in 1.. {
            let root = tempfile::tempdir().expect("a temporary directory");
            let here = directory(root.path());
            let last = in_directory(root.path());
            let bucket = Bucket::start(Dialect::S3);
            // So that the store is known to be fit: the probe is not what dies here.
            written(&another_environment(&bucket), 1);
            if !to_the_bucket {
                transfer(&here, &cloud(&bucket)).expect("moved");
            }
            let moving = |here: &Documents, there: &Documents| match to_the_bucket {
                true => transfer(here, there),
                false => transfer(there, here),
            };
            let count = AtomicU64::new(0);
            bucket.plan(move |_| match count.fetch_add(1, Ordering::Relaxed) + 1 {
                now if now < n => Trouble::None,
                now if now == n && after => Trouble::DoneAndAnswered(400),
                _ => Trouble::OnlyAnswered(400),
            });
            let first = moving(&here, &cloud(&bucket));
            bucket.plan(|_| Trouble::None);
            let what = format!("request {n}, after {after}: {first:?}");
            let open = [here.read(), cloud(&bucket).read()];
            let open = open.iter().filter(|read| matches!(read, Ok(Some(_)))).count();
            assert!(open <= 1, "{what}: two truths");
            let again = moving(&here, &cloud(&bucket));
            assert!(again.is_ok(), "{what}: {again:?}");
            let (new, old) = match to_the_bucket {
                true => (cloud(&bucket), here),
                false => (here, cloud(&bucket)),
            };
            everything_is_in(&new, &last, &what);
            assert!(matches!(old.read(), Err(StoreError::Moved { .. })), "{what}");
            if first.is_ok() {
                break;
            }
            deaths += 1;
        }
    }
    deaths
}

#[test]
fn a_move_to_a_bucket_dies_anywhere_and_the_same_move_finishes_it() {
    let deaths = dies_at_every_request(true);
    assert!(deaths > 30, "only {deaths}");
}

#[test]
fn a_move_from_a_bucket_dies_anywhere_and_the_same_move_finishes_it() {
    let deaths = dies_at_every_request(false);
    assert!(deaths > 20, "only {deaths}");
}

/// Somebody deploys while the documents are copied: that is moved too, or the move is refused.
#[test]
fn what_is_written_meanwhile_is_not_lost() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let here = directory(root.path());
    let last = in_directory(root.path());
    let bucket = Bucket::start(Dialect::S3);
    let writer = directory(root.path());
    let mut written = false;
    bucket.plan(move |asked| {
        if !written && asked.key.contains("history/00000003") {
            written = true;
            let _ = writer.write(Some(Generation(3)), &next(&last, "meanwhile"));
        }
        Trouble::None
    });
    let moved = transfer(&here, &cloud(&bucket)).expect("moved");
    assert!(matches!(moved, Transfer::Moved { generation: Generation(4), .. }), "{moved:?}");
}

#[test]
fn two_who_move_to_two_places_leave_one_truth() {
    let root = tempfile::tempdir().expect("a temporary directory");
    in_directory(root.path());
    let (one, two) = (Bucket::start(Dialect::S3), Bucket::start(Dialect::S3));
    let results = std::thread::scope(|scope| {
        let both = [&one, &two].map(|bucket| {
            let here = directory(root.path());
            scope.spawn(move || transfer(&here, &cloud(bucket)))
        });
        both.map(|mover| mover.join().expect("no panic"))
    });
    let moved = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(moved, 1, "{results:?}");
    let other = results.iter().find_map(|result| result.as_ref().err());
    assert!(matches!(other, Some(TransferRefused::MovedElsewhere { .. })), "{other:?}");
    let open = [&one, &two].into_iter().filter(|bucket| cloud(bucket).read().is_ok()).count();
    assert_eq!(open, 1);
}

//! Moving documents between directories: every refusal, and killed at every system call.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use onward_core::document::Document;
use onward_core::model::{Generation, ServerName, WriteId};
use onward_core::outcome::Outcome;
use onward_core::ports::{StateStore, StoreError, Stored, WriteRefused};
use onward_core::report::Report;
use onward_store::state::{
    Address, DirectoryStore, Documents, Sign, Transfer, TransferRefused, transfer,
};
use onward_testkit::killed::{at_every_call, can_trace, example};

fn place(root: &Path) -> Documents {
    let app = "shop".parse().expect("a legal name");
    let environment = "local".parse().expect("a legal name");
    Documents::Directory(DirectoryStore::new(root, &app, &environment))
}

fn state_file(root: &Path) -> std::path::PathBuf {
    root.join("shop/local/state.json")
}

fn server() -> ServerName {
    "one".parse().expect("a legal name")
}

fn first(by: &str) -> Document {
    let app = "shop".parse().expect("a legal name");
    let environment = "local".parse().expect("a legal name");
    Document::first(app, environment, WriteId::new(by), Timestamp::UNIX_EPOCH)
}

/// One more generation.
fn write(place: &Documents, by: &str) -> Stored {
    let current = place.read().expect("readable");
    let mut next = current.as_ref().map_or_else(|| first(by), |c| (*c.document).clone());
    if let Some(current) = &current {
        next.generation = next.generation.next();
        next.parent = Some(current.digest);
        next.write_id = WriteId::new(by);
    }
    let expected = current.map(|current| current.document.generation);
    match place.write(expected, &Arc::new(next)) {
        Outcome::Done(stored) => stored,
        other => panic!("{other:?}"),
    }
}

/// A place with three generations and a report.
fn three(place: &Documents) -> Stored {
    write(place, "one");
    write(place, "two");
    let last = write(place, "three");
    let report = Report { accepted: Generation(3), ..Report::default() };
    place.put_report(&server(), &report).expect("kept");
    last
}

#[test]
fn everything_is_moved_and_the_old_place_says_where() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let (a, b) = (place(&root.path().join("a")), place(&root.path().join("b")));
    let last = three(&a);
    let moved = transfer(&a, &b).expect("moved");
    assert_eq!(moved, Transfer::Moved { generation: Generation(3), generations: 3, reports: 1 });
    assert_eq!(b.read(), Ok(Some(last.clone())));
    assert_eq!(b.report(&server()).expect("readable").map(|r| r.accepted), Some(Generation(3)));
    for n in 1..=3 {
        assert_eq!(a.read_generation(Generation(n)), b.read_generation(Generation(n)));
    }
    let to = b.address().to_string();
    assert!(matches!(a.read(), Err(StoreError::Moved { to: there, .. }) if there == to));
    let outcome = a.write(Some(Generation(3)), &last.document);
    assert!(
        matches!(&outcome, Outcome::Refused(WriteRefused::Store(StoreError::Moved { .. }))),
        "{outcome:?}"
    );
    assert_eq!(transfer(&a, &b), Ok(Transfer::Already(Generation(3))), "the same again");
    assert_eq!(transfer(&b, &b), Ok(Transfer::Already(Generation(3))), "where it is");
    write(&b, "four");
    assert_eq!(transfer(&a, &b), Ok(Transfer::Already(Generation(4))), "long after");
}

#[test]
fn there_and_back_again() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let (a, b) = (place(&root.path().join("a")), place(&root.path().join("b")));
    three(&a);
    transfer(&a, &b).expect("there");
    let four = write(&b, "four");
    transfer(&b, &a).expect("and back");
    assert_eq!(a.read(), Ok(Some(four)));
    assert!(matches!(b.read(), Err(StoreError::Moved { .. })));
    write(&a, "five");
    transfer(&a, &b).expect("there again");
    assert_eq!(b.read().expect("readable").expect("there").document.generation, Generation(5));
}

#[test]
fn what_cannot_be_moved_is_refused_and_changes_nothing() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| place(&root.path().join(name));
    assert_eq!(
        transfer(&at("empty"), &at("b")),
        Err(TransferRefused::Nothing(at("empty").address()))
    );
    let last = three(&at("a"));
    write(&at("other"), "elsewhere");
    assert_eq!(
        transfer(&at("a"), &at("other")),
        Err(TransferRefused::Foreign { to: at("other").address() })
    );
    assert_eq!(at("a").read(), Ok(Some(last.clone())));
    assert_eq!(
        at("other").read().expect("readable").expect("there").document.write_id,
        WriteId::new("elsewhere")
    );
    // A place that another move has claimed.
    let sign = Sign::Arriving { from: Address::new("/somewhere") };
    std::fs::create_dir_all(root.path().join("claimed/shop/local")).expect("made");
    std::fs::write(state_file(&root.path().join("claimed")), sign.encode()).expect("written");
    let refused = transfer(&at("a"), &at("claimed"));
    assert!(
        matches!(&refused, Err(TransferRefused::Store(StoreError::Arriving { from, .. })) if from == "/somewhere"),
        "{refused:?}"
    );
    // A place with generations of another truth, and no document.
    write(&at("rest"), "elsewhere");
    std::fs::remove_file(state_file(&root.path().join("rest"))).expect("removed");
    assert_eq!(
        transfer(&at("a"), &at("rest")),
        Err(TransferRefused::Foreign { to: at("rest").address() })
    );
    assert_eq!(at("a").read(), Ok(Some(last)));
    // What was moved to one place is not moved to another.
    transfer(&at("a"), &at("b")).expect("moved");
    assert_eq!(
        transfer(&at("a"), &at("c")),
        Err(TransferRefused::MovedElsewhere { from: at("a").address(), to: at("b").address() })
    );
    // The new place was lost: the old one is not opened again by itself.
    std::fs::remove_dir_all(root.path().join("b")).expect("removed");
    assert_eq!(
        transfer(&at("a"), &at("b")),
        Err(TransferRefused::Gone { to: at("b").address(), generation: Generation(3) })
    );
}

#[test]
fn damage_and_a_broken_chain_are_not_moved() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let (a, b) = (place(&root.path().join("a")), place(&root.path().join("b")));
    three(&a);
    let history = root.path().join("a/shop/local/history/00000002.json");
    let good = std::fs::read_to_string(&history).expect("readable");
    std::fs::write(&history, good.replace("\"two\"", "\"2wo\"")).expect("written");
    assert_eq!(
        transfer(&a, &b),
        Err(TransferRefused::Broken { from: a.address(), generation: Generation(3) })
    );
    std::fs::write(&history, good).expect("written");
    std::fs::write(state_file(&root.path().join("a")), "{}").expect("written");
    let refused = transfer(&a, &b);
    assert!(
        matches!(&refused, Err(TransferRefused::Store(StoreError::Damaged { .. }))),
        "{refused:?}"
    );
}

#[test]
fn a_move_is_killed_anywhere_and_the_same_move_finishes_it() {
    if !can_trace() {
        return;
    }
    let root = tempfile::tempdir().expect("a temporary directory");
    let (from, to) = (root.path().join("a"), root.path().join("b"));
    let kept = root.path().join("kept");
    write(&place(&kept), "one");
    write(&place(&kept), "three");
    let report = Report { accepted: Generation(3), ..Report::default() };
    place(&kept).put_report(&server(), &report).expect("kept");
    let prepare = || {
        let _ = std::fs::remove_dir_all(&from);
        let _ = std::fs::remove_dir_all(&to);
        for directory in ["history", "reports"] {
            std::fs::create_dir_all(from.join("shop/local").join(directory)).expect("made");
        }
        for file in
            ["state.json", "history/00000001.json", "history/00000002.json", "reports/one.json"]
        {
            let path = Path::new("shop/local").join(file);
            std::fs::copy(kept.join(&path), from.join(&path)).expect("copied");
        }
    };
    let check = |what: &str| {
        let open = [&from, &to].map(|root| place(root).read().is_ok_and(|read| read.is_some()));
        assert!(open != [true, true], "{what}: two truths");
        transfer(&place(&from), &place(&to)).unwrap_or_else(|error| panic!("{what}: {error}"));
        let read = place(&to).read().expect(what).expect(what);
        assert_eq!(read.document.write_id, WriteId::new("three"), "{what}");
        let reports = place(&to).report(&server()).expect(what);
        assert_eq!(reports.map(|report| report.accepted), Some(Generation(3)), "{what}");
    };
    let text = |path: &Path| path.to_str().expect("a plain name").to_owned();
    let program = example("move_state");
    let kills = at_every_call(&program, &[&text(&from), &text(&to)], &prepare, &check);
    eprintln!("{kills} kills");
    assert!(kills >= 60, "only {kills} kills");
}

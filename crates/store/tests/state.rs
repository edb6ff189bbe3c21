//! The directory store: edits of people, damage, what a crash leaves, and a full disk.

#![allow(clippy::unwrap_used)] // a test that cannot unwrap has failed

use std::fs;
use std::path::Path;
use std::sync::Arc;

use onward_core::document::Document;
use onward_core::model::{Generation, OperationNumber, RequestId, WriteId};
use onward_core::outcome::Outcome;
use onward_core::ports::{StateStore, StoreError, Stored, WriteRefused};
use onward_store::state::DirectoryStore;

fn store(root: &Path) -> DirectoryStore {
    DirectoryStore::new(root, &"shop".parse().unwrap(), &"local".parse().unwrap())
}

fn first() -> Document {
    let id = WriteId::new("w1");
    Document::first(
        "shop".parse().unwrap(),
        "local".parse().unwrap(),
        id,
        jiff::Timestamp::UNIX_EPOCH,
    )
}

fn after(stored: &Stored, id: &str) -> Document {
    let mut next = (*stored.document).clone();
    next.generation = next.generation.next();
    next.parent = Some(stored.digest);
    next.write_id = WriteId::new(id);
    next.last_operation = OperationNumber(next.last_operation.0 + 1);
    next.requests.push((RequestId::new(id), next.last_operation));
    next
}

fn write(store: &DirectoryStore, expected: Option<u64>, next: Document) -> Stored {
    match store.write(expected.map(Generation), &Arc::new(next)) {
        Outcome::Done(stored) => stored,
        other => panic!("{other:?}"),
    }
}

/// Two generations, as onward writes them.
fn two(store: &DirectoryStore) -> Stored {
    let one = write(store, None, first());
    write(store, Some(1), after(&one, "w2"))
}

fn edit(store: &DirectoryStore, change: impl FnOnce(String) -> String) {
    let path = store.state_file();
    let text = fs::read_to_string(&path).unwrap();
    fs::write(path, change(text)).unwrap();
}

#[test]
fn a_valid_edit_that_raises_the_generation_is_obeyed_chained_and_recorded() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    let good = two(&store);
    edit(&store, |text| {
        text.replace("\"generation\": 2", "\"generation\": 3")
            .replace("\"last_release\": 0", "\"last_release\": 7")
    });
    let read = store.read().unwrap().unwrap();
    assert_eq!(read.document.generation, Generation(3));
    assert_eq!(read.document.last_release.0, 7);
    assert_eq!(read.document.parent, Some(good.digest));
    assert_eq!(read.document.write_id.as_str(), "edit-3");
    assert_eq!(store.read_generation(Generation(3)).unwrap().unwrap(), read);
    write(&store, Some(3), after(&read, "w4"));
}

#[test]
fn an_edit_that_does_not_raise_the_generation_is_damage_and_nothing_is_lost() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    let good = two(&store);
    edit(&store, |text| text.replace("\"last_release\": 0", "\"last_release\": 7"));
    let edited = fs::read(store.state_file()).unwrap();
    let Err(StoreError::Damaged { last_good, .. }) = store.read() else { panic!("taken") };
    assert_eq!(last_good, Generation(2));
    let refused = store.write(Some(Generation(2)), &Arc::new(after(&good, "w3")));
    assert!(matches!(refused, Outcome::Refused(WriteRefused::Store(StoreError::Damaged { .. }))));
    assert_eq!(fs::read(store.state_file()).unwrap(), edited, "the edit is still there");
    let difference = store.difference().unwrap().unwrap();
    assert_eq!(difference.good, good);
    assert_eq!(difference.found, Some(edited));
}

#[test]
fn every_kind_of_damage_keeps_the_last_good_generation() {
    type Change = fn(String) -> String;
    let damages: [(&str, Change); 6] = [
        ("cut", |text| text[..text.len() / 2].to_owned()),
        ("empty", |_| String::new()),
        ("not JSON", |text| text.replacen('{', "[", 1)),
        ("an unknown field", |text| text.replacen('{', "{\"colour\": 1,", 1)),
        ("a generation too many", |text| text.replace("\"generation\": 2", "\"generation\": 4")),
        ("a newer schema", |text| {
            text.replace("\"schema\": 1", "\"schema\": 2")
                .replace("\"generation\": 2", "\"generation\": 3")
        }),
    ];
    for (what, change) in damages {
        let root = tempfile::tempdir().unwrap();
        let store = store(root.path());
        two(&store);
        edit(&store, change);
        let read = store.read();
        assert!(
            matches!(read, Err(StoreError::Damaged { last_good: Generation(2), .. })),
            "{what}: {read:?}"
        );
    }
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    two(&store);
    fs::remove_file(store.state_file()).unwrap();
    assert!(matches!(store.read(), Err(StoreError::Damaged { .. })), "the file is missing");
}

#[test]
fn a_crash_between_the_document_and_its_copy_is_mended_by_the_next_reader() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    let good = two(&store);
    let copy = store.state_file().with_file_name("history").join("00000002.json");
    fs::remove_file(&copy).unwrap();
    assert_eq!(store.read().unwrap().unwrap(), good);
    assert_eq!(fs::read(copy).unwrap(), good.document.encode());
}

#[test]
fn a_half_written_temporary_file_is_no_document() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    let good = two(&store);
    fs::write(store.state_file().with_extension("new"), b"{\"half").unwrap();
    assert_eq!(store.read().unwrap().unwrap(), good);
    write(&store, Some(2), after(&good, "w3"));
}

#[test]
fn settling_puts_a_decision_in_the_place_of_damage() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    let good = two(&store);
    edit(&store, |text| text[..10].to_owned());
    let document = (*good.document).clone();
    let Outcome::Done(settled) = store.settle(&good, document, WriteId::new("undo")) else {
        panic!("not settled")
    };
    assert_eq!(settled.document.generation, Generation(3));
    assert_eq!(settled.document.parent, Some(good.digest));
    assert_eq!(store.read().unwrap().unwrap(), settled);
}

//! The directory store passes the suite that every state store passes.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use onward_store::state::DirectoryStore;
use onward_testkit::contract::state_store;

fn store(root: &Path) -> DirectoryStore {
    let app = "shop".parse().expect("a legal name");
    DirectoryStore::new(root, &app, &"local".parse().expect("a legal name"))
}

#[test]
fn the_directory_store_keeps_the_contract() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let next = AtomicU32::new(0);
    state_store::all(|| {
        let number = next.fetch_add(1, Ordering::Relaxed);
        Box::new(store(&root.path().join(number.to_string())))
    });
}

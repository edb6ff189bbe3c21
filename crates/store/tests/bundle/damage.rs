//! Every damaged bit is found, and named.

use std::fs;
use std::path::PathBuf;

use onward_store::bundle::{Error, Source, StageMode, TreeSource};
use proptest::prelude::*;

use crate::world::{World, noise, now};

fn filled() -> (World, onward_core::model::Digest) {
    let world = World::new();
    world.write("a", "some text that compresses, that compresses");
    world.write("b", noise(1, 3000));
    world.write("big", noise(2, (1 << 20) + 5));
    let digest = world.add().digest;
    (world, digest)
}

/// The manifest and the packs.
fn files(world: &World) -> Vec<PathBuf> {
    ["manifests", "packs"]
        .iter()
        .flat_map(|name| fs::read_dir(world.store.root().join(name)).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect()
}

fn damaged(error: &Error) -> Option<&PathBuf> {
    match error {
        Error::Damaged { path, .. } => Some(path),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]
    #[test]
    fn a_flipped_bit_is_found(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), bit in 0..8) {
        thread_local!(static STORE: (World, onward_core::model::Digest) = filled());
        STORE.with(|(world, digest)| {
            let files = files(world);
            let path = which.get(&files);
            let good = fs::read(path).unwrap();
            let mut bad = good.clone();
            bad[at.index(good.len())] ^= 1_u8 << bit;
            fs::write(path, &bad).unwrap();
            let verified = world.store.verify(*digest);
            let staged = world.store.stage(*digest, &world.path("r/1"), StageMode::Copy, None);
            fs::write(path, &good).unwrap();
            let (verified, staged) = (verified.unwrap_err(), staged.unwrap_err());
            prop_assert_eq!(damaged(&verified), Some(path));
            prop_assert_eq!(damaged(&staged), Some(path));
            // The directory beside which it would be staged is made after the manifest is read.
            let left = fs::read_dir(world.path("r")).map_or(0, Iterator::count);
            prop_assert_eq!(left, 0);
            world.store.verify(*digest).unwrap();
            Ok(())
        })?;
    }
}

#[test]
fn a_truncated_file_is_found() {
    let (world, digest) = filled();
    for path in files(&world) {
        let good = fs::read(&path).unwrap();
        for len in [0, 1, 40, good.len() / 2, good.len() - 1] {
            fs::write(&path, &good[..len]).unwrap();
            assert_eq!(damaged(&world.store.verify(digest).unwrap_err()), Some(&path), "{len}");
        }
        fs::write(&path, [&good[..], b"more"].concat()).unwrap();
        assert_eq!(damaged(&world.store.verify(digest).unwrap_err()), Some(&path));
        fs::write(&path, &good).unwrap();
    }
    world.store.verify(digest).unwrap();
}

#[test]
fn damaged_packs_are_set_aside_and_made_anew() {
    let (world, digest) = filled();
    let pack = files(&world).pop().unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    bytes[20] ^= 1;
    fs::write(&pack, bytes).unwrap();
    let aside = world.store.set_damaged_aside().unwrap();
    assert_eq!(aside, [world.store.root().join("damaged").join(pack.file_name().unwrap())]);
    assert!(matches!(world.store.verify(digest), Err(Error::Incomplete { .. })));
    let source = TreeSource { root: world.tree(), include: vec![] };
    assert_eq!(world.store.add(&Source::Tree(source), now()).unwrap().digest, digest);
    world.store.verify(digest).unwrap();
    assert!(world.store.set_damaged_aside().unwrap().is_empty());
}

#[test]
fn a_changed_object_is_not_linked() {
    let (world, digest) = filled();
    world.store.stage(digest, &world.path("r/1"), StageMode::Link, None).unwrap();
    // The file of the release is the object.
    fs::write(world.path("r/1/a"), "some text that compresses, that COMPRESSES").unwrap();
    world.store.stage(digest, &world.path("r/2"), StageMode::Link, None).unwrap();
    world.store.verify_tree(digest, &world.path("r/2")).unwrap();
    assert!(world.store.verify_tree(digest, &world.path("r/1")).is_err());
}

#[test]
fn a_changed_object_that_was_linked_unread_differs_and_is_mended_when_staged_anew() {
    let (world, digest) = filled();
    world.store.stage(digest, &world.path("r/1"), StageMode::LinkUnread, None).unwrap();
    let text = fs::read_to_string(world.path("r/1/a")).unwrap();
    fs::write(world.path("r/1/a"), text.to_uppercase()).unwrap();
    world.store.stage(digest, &world.path("r/2"), StageMode::LinkUnread, None).unwrap();
    assert!(world.store.verify_tree(digest, &world.path("r/2")).is_err(), "it was not read");
    fs::remove_dir_all(world.path("r/2")).unwrap();
    world.store.stage(digest, &world.path("r/2"), StageMode::Link, None).unwrap();
    world.store.verify_tree(digest, &world.path("r/2")).unwrap();
    // One of another size is noticed at once.
    fs::write(world.path("r/2/a"), "short").unwrap();
    world.store.stage(digest, &world.path("r/3"), StageMode::LinkUnread, None).unwrap();
    world.store.verify_tree(digest, &world.path("r/3")).unwrap();
}

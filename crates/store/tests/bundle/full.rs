//! A full disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use onward_store::bundle::{Error, Source, StageMode, Store, TreeSource};

use crate::world::{World, noise, now};

/// A small file system in memory; unmounted in the end.
struct Small(PathBuf);

impl Small {
    /// `None`, said aloud, where mounting is not allowed.
    fn mount(at: &Path, size: &str) -> Option<Self> {
        fs::create_dir(at).unwrap();
        let size = format!("size={size}");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]).arg(at).output();
        if mount.is_ok_and(|output| output.status.success()) {
            return Some(Self(at.to_owned()));
        }
        eprintln!("left out: mounting a small tmpfs is not allowed here");
        None
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

fn add(store: &Store, world: &World) -> Result<onward_core::model::Digest, Error> {
    let source = Source::Tree(TreeSource { root: world.tree(), include: vec![] });
    store.add(&source, now()).map(|added| added.digest)
}

#[test]
fn too_little_space_is_found_before_and_while_writing() {
    let world = World::new();
    let Some(small) = Small::mount(&world.path("small"), "20M") else { return };
    let store = Store::open(small.0.join("store")).unwrap();
    world.write("a", noise(1, 2 << 20));
    let old = add(&store, &world).unwrap();
    let packs = || fs::read_dir(store.root().join("packs")).unwrap().count();
    let before = packs();

    world.write("b", noise(2, 30 << 20));
    let error = add(&store, &world).unwrap_err();
    let Error::NoSpace { needed, free, .. } = error else { panic!("{error}") };
    assert!(needed == 30 << 20 && free < 12 << 20, "needed {needed}, free {free}");
    assert_eq!((packs(), fs::read_dir(store.root().join("tmp")).unwrap().count()), (before, 0));

    // What the store has needs no space, however full the disk is.
    fs::remove_file(world.tree().join("b")).unwrap();
    fs::write(small.0.join("filler"), noise(3, 9 << 20)).unwrap();
    assert_eq!(add(&store, &world).unwrap(), old);

    let dest = small.0.join("release");
    let error = store.stage(old, &dest, StageMode::Copy, None).unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    assert!(!dest.exists());

    // Somebody else takes the space meanwhile: the reserve is there for the state, not for this.
    let mut filler = vec![0; 1 << 20];
    let mut number = 0;
    while fs::write(small.0.join(format!("filler{number}")), &filler).is_ok() {
        number += 1;
    }
    filler.truncate(1);
    world.write("c", "a little more");
    let error = add(&store, &world).unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    store.verify(old).unwrap();
}

/// The control: with space, all of that is done.
#[test]
fn enough_space_is_enough() {
    let world = World::new();
    let Some(small) = Small::mount(&world.path("small"), "100M") else { return };
    let store = Store::open(small.0.join("store")).unwrap();
    world.write("b", noise(2, 30 << 20));
    let bundle = add(&store, &world).unwrap();
    store.stage(bundle, &small.0.join("release"), StageMode::Copy, None).unwrap();
}

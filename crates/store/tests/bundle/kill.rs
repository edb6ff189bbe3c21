//! Killed at every system call that changes something on disk: adding, staging by copies, staging by links.

use std::fs;
use std::path::Path;

use onward_store::bundle::{Retention, StageMode, Store};
use onward_testkit::killed::{at_every_call, can_trace, example};

use crate::world::{World, noise, snapshot};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

struct Scene {
    world: World,
    old: onward_core::model::Digest,
}

impl Scene {
    fn new() -> Self {
        let world = World::new();
        world.write("a", "old");
        world.write("d/b", noise(1, 10_000));
        std::os::unix::fs::symlink("a", world.tree().join("l")).unwrap();
        let old = world.add().digest;
        Self { world, old }
    }
}

#[test]
fn adding_killed_anywhere() {
    if !can_trace() {
        return;
    }
    let Scene { world, old } = Scene::new();
    let number = std::cell::Cell::new(0);
    let prepare = || {
        // New content each time, so that there is always something to write.
        number.set(number.get() + 1);
        world.write("a", format!("new {}", number.get()));
        world.write("big", noise(number.get() + 1, (1 << 20) + 100_000));
    };
    let check = |what: &str| {
        let store = Store::open(world.store.root()).unwrap();
        store.verify(old).unwrap();
        // A bundle that is listed is whole, whatever was killed.
        for listed in store.list().unwrap() {
            store.verify(listed.digest).unwrap_or_else(|error| panic!("{what}: {error}"));
        }
        let added = world.add();
        store.verify(added.digest).unwrap();
        let keep = [old, added.digest];
        let newer_than = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
        store.retain(Retention { keep: &keep, newer_than, last: 0 }).unwrap();
        store.verify(added.digest).unwrap_or_else(|error| panic!("{what}, swept: {error}"));
        assert_eq!(fs::read_dir(store.root().join("tmp")).unwrap().count(), 0);
    };
    let tree = world.tree();
    let args = ["add", text(world.store.root()), text(&tree)];
    let kills = at_every_call(&example("add"), &args, &prepare, &check);
    eprintln!("{kills} kills");
    assert!(kills >= 20, "only {kills} kills");
}

#[test]
fn staging_killed_anywhere() {
    if !can_trace() {
        return;
    }
    for (mode, word) in [(StageMode::Copy, "stage"), (StageMode::Link, "link")] {
        let Scene { world, old } = Scene::new();
        let (dest, objects) = (world.path("r/1"), world.store.root().join("objects"));
        let prepare = || {
            for path in [&dest, &objects] {
                if path.exists() {
                    fs::remove_dir_all(path).unwrap();
                }
            }
        };
        let check = |what: &str| {
            let store = Store::open(world.store.root()).unwrap();
            // There is nothing, or everything.
            if dest.exists() {
                assert_eq!(snapshot(&dest), snapshot(&world.tree()), "{what}");
            }
            store.stage(old, &dest, mode, None).unwrap_or_else(|error| panic!("{what}: {error}"));
            store.verify_tree(old, &dest).unwrap();
            if fs::read_dir(world.path("r")).unwrap().count() > 1 {
                // Killed after the rename, the directory is there and nothing looked beside it.
                fs::remove_dir_all(&dest).unwrap();
                store.stage(old, &dest, mode, None).unwrap();
            }
            assert_eq!(fs::read_dir(world.path("r")).unwrap().count(), 1, "{what}");
        };
        let kills = at_every_call(
            &example("add"),
            &[word, text(world.store.root()), &old.to_string(), text(&dest)],
            &prepare,
            &check,
        );
        eprintln!("{kills} kills");
        assert!(kills >= 20, "only {kills} kills");
    }
}

//! From a tree to a bundle to a tree.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use onward_store::bundle::{Error, StageMode, Staged};

use crate::world::{World, noise, plant, snapshot};

fn with_everything() -> World {
    let world = World::new();
    world.write("app/main.js", "console.log(1)\n");
    world.write("Procfile", "web: node app/main.js\n");
    world.write("empty", "");
    world.write("big.bin", noise(1, 3 << 20));
    world.write("big.txt", "The same line again and again.\n".repeat(100_000));
    world.write("bin/run", "#!/bin/sh\n");
    fs::set_permissions(world.tree().join("bin/run"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::create_dir_all(world.tree().join("tmp/empty")).unwrap();
    symlink("app/main.js", world.tree().join("link")).unwrap();
    symlink("../nowhere", world.tree().join("app/dangling")).unwrap();
    world
}

#[test]
fn a_staged_tree_is_the_tree() {
    for mode in [StageMode::Copy, StageMode::Link, StageMode::LinkUnread] {
        let world = with_everything();
        let added = world.add();
        let dest = world.path("releases/1");
        assert_eq!(world.store.stage(added.digest, &dest, mode, None).unwrap(), Staged::Made);
        assert_eq!(snapshot(&dest), snapshot(&world.tree()));
        // Whatever the umask and the modes of the tree: another user can read it, nobody else can write it.
        for (path, mode) in [
            ("", 0o755),
            ("app", 0o755),
            ("tmp/empty", 0o755),
            ("Procfile", 0o644),
            ("bin/run", 0o755),
        ] {
            let found = fs::metadata(dest.join(path)).unwrap().permissions().mode() & 0o7777;
            assert_eq!(found, mode, "`{path}` has {found:o}");
        }
        world.store.verify_tree(added.digest, &dest).unwrap();
        let verified = world.store.verify(added.digest).unwrap();
        assert_eq!((verified.files, verified.bytes), (added.files, added.bytes));
        let again = world.store.stage(added.digest, &dest, mode, None).unwrap();
        assert_eq!(again, Staged::AlreadyThere);
        assert_eq!(fs::read_dir(world.path("releases")).unwrap().count(), 1, "nothing beside it");
    }
}

#[test]
fn the_same_tree_has_the_same_digest_anywhere() {
    let (one, two) = (with_everything(), World::new());
    plant(&two.tree(), &snapshot(&one.tree()));
    let private = fs::Permissions::from_mode(0o600);
    fs::set_permissions(two.tree().join("Procfile"), private).unwrap();
    assert_eq!(one.add().digest, two.add().digest);
    fs::set_permissions(two.tree().join("Procfile"), fs::Permissions::from_mode(0o744)).unwrap();
    assert_ne!(one.add().digest, two.add().digest);
}

#[test]
fn what_is_known_is_not_written_again() {
    let world = with_everything();
    let first = world.add();
    let again = world.add();
    assert_eq!((again.digest, again.new_bytes, again.stored_bytes), (first.digest, 0, 0));
    let mut big = noise(1, 3 << 20);
    big[1 << 20] ^= 1;
    world.write("big.bin", big);
    let changed = world.add();
    assert_ne!(changed.digest, first.digest);
    assert!((1..1 << 20).contains(&changed.new_bytes), "one chunk of it: {}", changed.new_bytes);
    world.store.verify(first.digest).unwrap();
    world.store.verify(changed.digest).unwrap();
}

#[test]
fn linked_releases_share_their_files() {
    let world = with_everything();
    let bundle = world.add().digest;
    for release in ["r/1", "r/2"] {
        world.store.stage(bundle, &world.path(release), StageMode::Link, None).unwrap();
    }
    let inode = |release| fs::metadata(world.path(release).join("app/main.js")).unwrap().ino();
    assert_eq!(inode("r/1"), inode("r/2"));
    world.store.stage(bundle, &world.path("r/3"), StageMode::Copy, None).unwrap();
    assert_ne!(inode("r/1"), inode("r/3"));
}

#[test]
fn a_changed_release_is_found() {
    let world = with_everything();
    let bundle = world.add().digest;
    let dest = world.path("r/1");
    let refuse = |why: &str| {
        let Err(Error::Mismatch(mismatch)) = world.store.verify_tree(bundle, &dest) else {
            panic!("`{why}` was not found")
        };
        assert_eq!(mismatch.why, why, "{mismatch}");
        let error = world.store.stage(bundle, &dest, StageMode::Copy, None).unwrap_err();
        assert!(matches!(error, Error::DestinationDiffers { .. }), "{error}");
        fs::remove_dir_all(&dest).unwrap();
        world.store.stage(bundle, &dest, StageMode::Copy, None).unwrap();
    };
    world.store.stage(bundle, &dest, StageMode::Copy, None).unwrap();
    fs::write(dest.join("written-by-the-app"), "fine").unwrap();
    world.store.verify_tree(bundle, &dest).unwrap();

    fs::write(dest.join("Procfile"), "web: node app/evil.js\n").unwrap();
    refuse("its content was changed");
    fs::write(dest.join("Procfile"), "shorter").unwrap();
    refuse("it has 7 bytes instead of 22");
    fs::remove_file(dest.join("empty")).unwrap();
    refuse("it is missing");
    fs::set_permissions(dest.join("bin/run"), fs::Permissions::from_mode(0o644)).unwrap();
    refuse("it is not executable");
    fs::remove_file(dest.join("link")).unwrap();
    symlink("Procfile", dest.join("link")).unwrap();
    refuse("it leads to `Procfile` instead of `app/main.js`");
    fs::rename(dest.join("app"), dest.join("moved")).unwrap();
    symlink("moved", dest.join("app")).unwrap();
    refuse("it is not a directory");
    fs::remove_file(dest.join("Procfile")).unwrap();
    symlink("empty", dest.join("Procfile")).unwrap();
    refuse("it is not a regular file");
    fs::remove_dir(dest.join("tmp/empty")).unwrap();
    refuse("it is missing");
}

#[test]
fn a_destination_that_is_something_else_is_kept() {
    let world = with_everything();
    let bundle = world.add().digest;
    let dest = world.path("mine");
    fs::write(&dest, "not a directory").unwrap();
    let error = world.store.stage(bundle, &dest, StageMode::Copy, None).unwrap_err();
    assert!(matches!(error, Error::DestinationDiffers { .. }), "{error}");
    assert_eq!(fs::read(&dest).unwrap(), b"not a directory");
}

//! What of a working tree belongs to its bundle.

use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use onward_store::bundle::{Error, Fault, Skipped};

use crate::world::{World, git};

#[test]
fn without_git_its_rules_hold_too() {
    let world = World::new();
    for path in
        ["a", "b.log", "keep.log", "sub/c.log", "sub/d", "build/x", "deep/build/y", "Dockerfile"]
    {
        world.write(path, "x");
    }
    world.write(".gitignore", "*.log\n!keep.log\n/build\n");
    world.write("sub/.gitignore", "!c.log\nd\n");
    let expected = [
        ".gitignore",
        "Dockerfile",
        "a",
        "deep/build/y",
        "keep.log",
        "sub/.gitignore",
        "sub/c.log",
    ];
    assert_eq!(world.bundled(&[]), expected);
}

#[test]
fn rules_above_the_tree_hold_only_inside_a_repository() {
    let world = World::new();
    fs::write(world.path(".gitignore"), "a\n").unwrap();
    world.write("a", "x");
    assert_eq!(world.bundled(&[]), ["a"]);
    git(&world.path(""), &["init", "-q"]);
    assert!(world.bundled(&[]).is_empty());
}

#[test]
fn history_and_own_files_are_never_taken() {
    let world = World::new();
    for path in
        [".git/config", ".onward/state", "sub/.git", "vendor/x/.onward/y", ".gitkeep", ".env"]
    {
        world.write(path, "x");
    }
    world.write(".onwardignore", "!.git\n!.onward\n");
    // A directory that holds only such things is not an empty one.
    assert_eq!(world.bundled(&["."]), [".env", ".gitkeep", ".onwardignore"]);
}

#[test]
fn the_exclude_file_holds_also_in_a_linked_worktree() {
    let world = World::new();
    git(&world.tree(), &["init", "-q"]);
    world.write(".git/info/exclude", "local\n");
    world.write("local", "x");
    world.write("a", "x");
    assert_eq!(world.bundled(&[]), ["a"]);
    git(&world.tree(), &["add", "."]);
    git(&world.tree(), &["commit", "-q", "-m", "one"]);
    let linked = world.path("linked");
    git(&world.tree(), &["worktree", "add", "-q", linked.to_str().unwrap()]);
    fs::write(linked.join("local"), "x").unwrap();
    assert_eq!(world.bundled_from(&linked, &[]), ["a"]);
}

#[test]
fn tracked_files_are_taken_although_ignored() {
    let world = World::new();
    git(&world.tree(), &["init", "-q"]);
    world.write(".gitignore", "dist\n*.cfg\n");
    world.write("dist/tracked", "x");
    world.write("dist/other", "x");
    world.write("a.cfg", "x");
    git(&world.tree(), &["add", "-f", "dist/tracked"]);
    assert_eq!(world.bundled(&[]), [".gitignore", "dist/tracked"]);
}

#[test]
fn includes_bring_back_what_git_ignores() {
    let world = World::new();
    world.write(".gitignore", "build\nnode_modules\n*.map\n.env\n");
    for path in ["build/out/app.js", "build/out/app.js.map", "build/tmp/x", ".env"] {
        world.write(path, "x");
    }
    world.write("node_modules/p/.gitignore", "lib\n");
    world.write("node_modules/p/lib/index.js", "x");
    world.write("node_modules/p/test.js", "x");
    world.write(".onwardignore", "node_modules/*/test.js\n");
    let expected = [
        ".gitignore",
        ".onwardignore",
        "build/out/app.js",
        "build/out/app.js.map",
        "node_modules/p/.gitignore",
        "node_modules/p/lib/index.js",
    ];
    assert_eq!(world.bundled(&["build/out", "./node_modules/"]), expected);
    assert_eq!(world.bundled(&[".env"]), [".env", ".gitignore", ".onwardignore"]);
}

#[test]
fn an_include_that_is_not_there_is_an_error() {
    let world = World::new();
    let error = world.try_add(&["dits"]).unwrap_err();
    assert!(matches!(&error, Error::NoInclude { include, .. } if include == "dits"), "{error}");
    for outside in ["../x", "/etc"] {
        assert!(matches!(world.try_add(&[outside]), Err(Error::Unfit { .. })), "{outside}");
    }
}

#[test]
fn own_rules_win() {
    let world = World::new();
    world.write(".gitignore", "dist\n");
    world.write("dist/a", "x");
    world.write("docs/b", "x");
    world.write("docs/.onwardignore", "!b\n");
    world.write(".onwardignore", "docs/*\n!dist\n!docs/.onwardignore\n");
    let expected = [".gitignore", ".onwardignore", "dist/a", "docs/.onwardignore", "docs/b"];
    assert_eq!(world.bundled(&[]), expected);
}

#[test]
fn a_directory_is_empty_when_nothing_is_in_it() {
    let world = World::new();
    fs::create_dir_all(world.tree().join("empty/inner")).unwrap();
    world.write("ignored/x.log", "x");
    world.write(".gitignore", "*.log\n");
    // `ignored` has something in it, none of which belongs to the bundle.
    assert_eq!(world.bundled(&[]), [".gitignore", "empty/inner"]);
}

#[test]
fn what_no_bundle_holds_is_left_out_and_told() {
    let world = World::new();
    world.write("a", "x");
    let _listener = UnixListener::bind(world.tree().join("sock")).unwrap();
    let added = world.add();
    assert_eq!(added.files, 1);
    assert_eq!(added.skipped, [Skipped { path: "sock".into(), what: "a socket" }]);
}

#[test]
fn trees_that_no_bundle_can_hold() {
    let refused = |prepare: &dyn Fn(&World)| {
        let world = World::new();
        prepare(&world);
        match world.try_add(&[]) {
            Err(Error::Unfit { source, .. }) => source.fault,
            other => panic!("{other:?}"),
        }
    };
    let to = |target: &'static str| {
        move |world: &World| {
            symlink(target, world.tree().join("l")).unwrap();
        }
    };
    assert_eq!(refused(&to("/etc/passwd")), Fault::LinkEscapes("/etc/passwd".into()));
    assert_eq!(refused(&to("../store")), Fault::LinkEscapes("../store".into()));
    assert_eq!(refused(&|world| world.write("a\nb", "x")), Fault::Control);
    assert_eq!(refused(&|world| world.write(&["d"; 33].join("/"), "x")), Fault::TooDeep(33));
    let name = std::ffi::OsString::from_vec(b"\xff".into());
    assert_eq!(refused(&|world| fs::write(world.tree().join(&name), "x").unwrap()), Fault::NotUtf8);
}

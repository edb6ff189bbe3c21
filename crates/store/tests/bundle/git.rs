//! Bundles of commits.

use std::fs;

use onward_store::bundle::{Error, GitSource, Revision, Source, StageMode};

use crate::world::{World, git, now, snapshot};

fn repository() -> World {
    let world = World::new();
    git(&world.tree(), &["init", "-q", "-b", "main"]);
    world.write("apps/shop/main.js", "1");
    world.write("apps/shop/secret.md", "x");
    world.write("apps/shop/docs/a.md", "x");
    world.write("apps/shop/docs/.onwardignore", "*.md\n");
    world.write("apps/shop/.onwardignore", "secret.md\n");
    world.write("other", "x");
    git(&world.tree(), &["add", "."]);
    git(&world.tree(), &["commit", "-q", "-m", "one"]);
    world
}

fn of(world: &World, below: &str, reference: &str) -> Result<Vec<String>, Error> {
    let root = world.tree().join(below);
    let source = Source::Git(GitSource { root, reference: reference.to_owned() });
    let added = world.store.add(&source, now())?;
    let manifest = world.store.manifest(added.digest)?;
    Ok(manifest.entries().iter().map(|entry| entry.path.to_string()).collect())
}

#[test]
fn a_commit_and_its_checkout_are_the_same_bundle() {
    let world = repository();
    let source = GitSource { root: world.tree(), reference: "main".into() };
    let commit = world.store.add(&Source::Git(source), now()).unwrap();
    assert_eq!(commit.digest, world.add().digest);
    let dest = world.path("r/1");
    world.store.stage(commit.digest, &dest, StageMode::Copy, None).unwrap();
    assert!(!dest.join("apps/shop/secret.md").exists() && dest.join("other").exists());
}

#[test]
fn the_working_tree_does_not_matter() {
    let world = repository();
    let expected = [".onwardignore", "docs/.onwardignore", "main.js"];
    assert_eq!(of(&world, "apps/shop", "HEAD").unwrap(), expected);
    world.write("apps/shop/main.js", "changed");
    world.write("apps/shop/new.js", "new");
    let untouched = snapshot(&world.tree());
    assert_eq!(of(&world, "apps/shop", "HEAD").unwrap(), expected);
    assert_eq!(snapshot(&world.tree()), untouched);
}

#[test]
fn a_reference_is_never_an_option() {
    let world = repository();
    for reference in ["nowhere", "--output=/tmp/x", "-h", "", "HEAD:apps", "main --all"] {
        let error = of(&world, "", reference).unwrap_err();
        assert!(matches!(error, Error::NoSuchCommit { .. }), "{reference}: {error}");
    }
    git(&world.tree(), &["tag", "-a", "v1", "-m", "v1"]);
    assert_eq!(of(&world, "apps/shop", "v1").unwrap().len(), 3);
}

#[test]
fn the_revision_of_a_tree() {
    let world = repository();
    let shop = world.tree().join("apps/shop");
    let clean = Revision::of_tree(&shop).unwrap().unwrap();
    assert!(!clean.dirty && clean.commit.len() >= 7);
    world.write("other", "changed outside the project");
    assert_eq!(Revision::of_tree(&shop).unwrap(), Some(clean.clone()));
    world.write("apps/shop/new.js", "x");
    assert!(Revision::of_tree(&shop).unwrap().unwrap().dirty);
    fs::create_dir(world.path("plain")).unwrap();
    assert_eq!(Revision::of_tree(&world.path("plain")).unwrap(), None);
    git(&world.path("plain"), &["init", "-q"]);
    assert_eq!(Revision::of_tree(&world.path("plain")).unwrap(), None, "no commit yet");
}

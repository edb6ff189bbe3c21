//! Labels.

use onward_store::bundle::{Error, Revision};

use crate::world::World;

#[test]
fn one_label_means_one_content_for_ever() {
    let world = World::new();
    world.write("a", "1");
    let one = world.add().digest;
    world.write("a", "2");
    let two = world.add().digest;
    world.store.label("1.4.2", one).unwrap();
    world.store.label("1.4.2", one).unwrap();
    let error = world.store.label("1.4.2", two).unwrap_err();
    assert!(matches!(error, Error::LabelTaken { owner, .. } if owner == one), "{error}");
    assert_eq!(world.store.find("1.4.2").unwrap(), one);
    assert_eq!(world.store.find(&two.short()).unwrap(), two);
    assert!(matches!(world.store.find("nothing"), Err(Error::NoSuchName(_))));
    let listed = world.store.list().unwrap();
    assert_eq!(listed.iter().find(|it| it.digest == one).unwrap().labels, ["1.4.2"]);
}

#[test]
fn labels_are_names_and_not_paths() {
    let world = World::new();
    let digest = world.add().digest;
    let long = "x".repeat(101);
    for label in ["", ".", "..", "a/b", "../x", "-v", "a b", "é", "a\n", &long] {
        let error = world.store.label(label, digest).unwrap_err();
        assert!(matches!(error, Error::BadLabel(_)), "{label}: {error}");
    }
}

#[test]
fn labels_nobody_gave() {
    let world = World::new();
    let name = |commit: Option<(&str, bool)>, digest| {
        let revision = commit.map(|(commit, dirty)| Revision { commit: commit.into(), dirty });
        world.store.name(None, revision.as_ref(), digest).unwrap()
    };
    world.write("a", "1");
    let one = world.add().digest;
    world.write("a", "2");
    let two = world.add().digest;
    assert_eq!(name(None, one), one.short());
    assert_eq!(name(Some(("abc1234", false)), one), "abc1234");
    assert_eq!(name(Some(("abc1234", false)), one), "abc1234");
    // The same commit built anew gave something else.
    assert_eq!(name(Some(("abc1234", false)), two), format!("abc1234+{}", two.short()));
    assert_eq!(name(Some(("abc1234", true)), two), format!("abc1234+dirty.{}", two.short()));
    assert_eq!(world.store.name(Some("v1"), None, two).unwrap(), "v1");
    assert!(matches!(world.store.name(Some("v1"), None, one), Err(Error::LabelTaken { .. })));
}

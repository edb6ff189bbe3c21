//! What stays, and what a sweep gives back.

use std::fs;
use std::time::{Duration, SystemTime};

use onward_core::model::Digest;
use onward_store::bundle::{Error, Retention, Source, StageMode, TreeSource};

use crate::world::{World, at, noise};

fn second(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Adds a bundle as of so many seconds.
fn add(world: &World, seconds: u64) -> Digest {
    let source = TreeSource { root: world.tree(), include: Vec::new() };
    world.store.add(&Source::Tree(source), at(seconds)).unwrap().digest
}

/// Six bundles, of the seconds 1 to 6, with a file in common and a large one of their own.
fn six(world: &World) -> Vec<Digest> {
    world.write("common", noise(1, 500_000));
    (1..=6)
        .map(|number| {
            world.write("own", noise(number + 10, 300_000));
            add(world, number)
        })
        .collect()
}

fn sizes(world: &World) -> u64 {
    let packs = fs::read_dir(world.store.root().join("packs")).unwrap();
    packs.map(|pack| pack.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn each_rule_keeps_its_bundles() {
    let world = World::new();
    let bundles = six(&world);
    let before = sizes(&world);
    let kept = [bundles[0]];
    let swept =
        world.store.retain(Retention { keep: &kept, newer_than: second(6), last: 2 }).unwrap();
    let mut removed = swept.bundles.clone();
    removed.sort();
    let mut expected = bundles[1..4].to_vec();
    expected.sort();
    assert_eq!(removed, expected);
    for bundle in [bundles[0], bundles[4], bundles[5]] {
        world.store.verify(bundle).unwrap();
    }
    assert!(matches!(world.store.verify(bundles[1]), Err(Error::NoBundle(_))));
    assert_eq!(before - sizes(&world), swept.bytes);
    assert!(swept.bytes > 890_000, "three files of their own: {}", swept.bytes);
}

#[test]
fn adding_again_makes_it_young() {
    let world = World::new();
    let bundles = six(&world);
    world.write("own", noise(11, 300_000));
    assert_eq!(add(&world, 9), bundles[0]);
    world.store.retain(Retention { keep: &[], newer_than: second(100), last: 1 }).unwrap();
    let left: Vec<_> = world.store.list().unwrap().iter().map(|it| it.digest).collect();
    assert_eq!(left, [bundles[0]]);
}

#[test]
fn little_left_of_a_pack_is_written_anew() {
    let world = World::new();
    for number in 0..10 {
        world.write(&format!("f{number}"), noise(number + 1, 200_000));
    }
    let all = add(&world, 1);
    for number in 1..10 {
        fs::remove_file(world.tree().join(format!("f{number}"))).unwrap();
    }
    let one = add(&world, 2);
    let before = sizes(&world);
    let swept =
        world.store.retain(Retention { keep: &[one], newer_than: second(100), last: 0 }).unwrap();
    assert_eq!(swept.bundles, [all]);
    assert!(before > 1_900_000 && sizes(&world) < 210_000, "{before} to {}", sizes(&world));
    world.store.verify(one).unwrap();
}

#[test]
fn large_files_stay_whole() {
    let world = World::new();
    world.write("big", noise(5, 5 << 20));
    world.write("small", "x");
    let bundle = add(&world, 1);
    world.write("big", noise(6, 5 << 20));
    add(&world, 2);
    world.store.retain(Retention { keep: &[bundle], newer_than: second(100), last: 0 }).unwrap();
    world.store.verify(bundle).unwrap();
    assert!(sizes(&world) < 6 << 20);
}

#[test]
fn nothing_kept_leaves_nothing_but_labels() {
    let world = World::new();
    let bundles = six(&world);
    world.store.label("v1", bundles[0]).unwrap();
    world.store.stage(bundles[0], &world.path("r"), StageMode::Link, None).unwrap();
    let none = Retention { keep: &[], newer_than: second(100), last: 0 };
    world.store.retain(none).unwrap();
    assert_eq!((world.store.list().unwrap(), sizes(&world)), (vec![], 0));
    assert!(matches!(world.store.label("v1", bundles[1]), Err(Error::LabelTaken { .. })));
    // Objects that a release still has stay; the rest goes with the last release.
    let objects = || walk(&world.store.root().join("objects"));
    assert_eq!(objects(), 2);
    fs::remove_dir_all(world.path("r")).unwrap();
    world.store.retain(none).unwrap();
    assert_eq!(objects(), 0);
}

#[test]
fn what_a_killed_process_left_goes() {
    let world = World::new();
    let bundle = add(&world, 1);
    let tmp = world.store.root().join("tmp");
    fs::create_dir(tmp.join("dead")).unwrap();
    fs::write(tmp.join("dead/pack"), noise(1, 1000)).unwrap();
    fs::write(world.store.root().join("packs").join("0".repeat(64)), "not a pack").unwrap();
    let keep = Retention { keep: &[bundle], newer_than: second(100), last: 0 };
    let swept = world.store.retain(keep).unwrap();
    assert_eq!((swept.bundles.len(), swept.bytes), (0, 1000));
    assert_eq!(fs::read_dir(tmp).unwrap().count(), 0);
    world.store.verify(bundle).unwrap();
}

fn walk(path: &std::path::Path) -> usize {
    let entries = fs::read_dir(path).unwrap().map(Result::unwrap);
    entries.map(|entry| if entry.path().is_dir() { walk(&entry.path()) } else { 1 }).sum()
}

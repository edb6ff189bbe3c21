//! Several at once on one store.

use std::time::{Duration, SystemTime};

use onward_store::bundle::{Error, Retention, Source, StageMode, Staged, TreeSource};

use crate::world::{World, noise, now, snapshot};

#[test]
fn adding_and_sweeping_at_once_loses_nothing() {
    let world = World::new();
    for tree in 0..4 {
        for file in 0..20 {
            let path = world.path(&format!("trees/{tree}/f{file}"));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            // Half of it in common, so that they find each other's content.
            let seed = if file % 2 == 0 { file } else { tree * 100 + file };
            std::fs::write(path, noise(seed + 1, 20_000)).unwrap();
        }
    }
    let swept = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for tree in 0..4 {
            let (world, swept) = (&world, &swept);
            scope.spawn(move || {
                for _ in 0..10 {
                    let root = world.path(&format!("trees/{tree}"));
                    let source = Source::Tree(TreeSource { root, include: vec![] });
                    let added = world.store.add(&source, now()).unwrap();
                    let keep = [added.digest];
                    // Sweeps away what the others just added, or finds them adding.
                    let newer_than = SystemTime::now() + Duration::from_secs(60);
                    let retention = Retention { keep: &keep, newer_than, last: 0 };
                    let bundles = world.store.retain(retention).unwrap().bundles.len();
                    swept.fetch_add(bundles, std::sync::atomic::Ordering::Relaxed);
                    // Whatever is listed while the others go on is whole, or was swept meanwhile.
                    match world.store.verify(added.digest) {
                        Ok(_) | Err(Error::NoBundle(_)) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    // The control: they did get into each other's way.
    assert!(swept.into_inner() > 0);
    for tree in 0..4 {
        let root = world.path(&format!("trees/{tree}"));
        let source = Source::Tree(TreeSource { root, include: vec![] });
        let added = world.store.add(&source, now()).unwrap();
        world.store.verify(added.digest).unwrap();
    }
}

#[test]
fn staging_one_destination_at_once_makes_it_once() {
    let world = World::new();
    for file in 0..30 {
        world.write(&format!("d/f{file}"), noise(file + 1, 10_000));
    }
    let bundle = world.add().digest;
    for round in 0..10 {
        let dest = world.path(&format!("r/{round}"));
        let made = std::thread::scope(|scope| {
            let all: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| world.store.stage(bundle, &dest, StageMode::Copy, None).unwrap())
                })
                .collect();
            all.into_iter()
                .map(|one| one.join().unwrap())
                .filter(|one| *one == Staged::Made)
                .count()
        });
        assert_eq!(made, 1);
        assert_eq!(snapshot(&dest), snapshot(&world.tree()));
    }
    assert_eq!(std::fs::read_dir(world.path("r")).unwrap().count(), 10, "nothing beside them");
}

#[test]
fn progress_ends_where_it_said() {
    let world = World::new();
    for file in 0..100 {
        world.write(&format!("f{file}"), noise(file + 1, 1000));
    }
    let last = std::sync::Mutex::new(None);
    let tell = |progress: onward_store::bundle::Progress| {
        let mut last = last.lock().unwrap();
        if last.is_none_or(|(files, _)| progress.files > files) {
            *last = Some((progress.files, progress));
        }
    };
    let source = Source::Tree(TreeSource { root: world.tree(), include: vec![] });
    let options = onward_store::bundle::AddOptions { progress: Some(&tell), ..now() };
    world.store.add(&source, options).unwrap();
    let (files, progress) = last.lock().unwrap().unwrap();
    assert_eq!((files, progress.files_total), (100, 100));
    assert_eq!((progress.bytes, progress.bytes_total), (100_000, 100_000));
}

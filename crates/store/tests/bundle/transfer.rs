//! Bundles from one store to another.

use std::fs;
use std::time::SystemTime;

use onward_core::model::Digest;
use onward_store::bundle::{
    AddOptions, Arrival, Error, Source, StageMode, Store, TreeSource, verify_tree,
};
use tempfile::TempDir;

struct Sides {
    directory: TempDir,
    here: Store,
    there: Store,
}

impl Sides {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let here = Store::open(directory.path().join("here")).unwrap();
        let there = Store::open(directory.path().join("there")).unwrap();
        fs::create_dir(directory.path().join("tree")).unwrap();
        Self { directory, here, there }
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.directory.path().join("tree").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn add(&self) -> Digest {
        let root = self.directory.path().join("tree");
        let source = Source::Tree(TreeSource { root, include: Vec::new() });
        let options = AddOptions { now: SystemTime::now(), progress: None };
        self.here.add(&source, options).unwrap().digest
    }

    /// Brings a bundle over; returns the bytes that travelled.
    fn bring(&self, bundle: Digest, base: Option<Digest>) -> usize {
        let manifest = self.here.packed_manifest(bundle, base).unwrap();
        let mut travelled = manifest.len();
        let arrival = Arrival::begin(&self.there, bundle, base, &manifest).unwrap();
        for _ in 0..3 {
            let lacks = arrival.lacks().unwrap();
            let mut packs = Vec::new();
            let mut keep = |pack: &[u8]| {
                packs.push(pack.to_vec());
                Ok(())
            };
            self.here.send(bundle, &lacks, &mut keep).unwrap();
            for pack in packs {
                travelled += pack.len();
                arrival.take(&pack).unwrap();
            }
            if arrival.complete(SystemTime::now()).unwrap() {
                return travelled;
            }
        }
        panic!("it does not become complete");
    }

    fn is_whole(&self, bundle: Digest) {
        let to = self.directory.path().join("staged");
        let _ = fs::remove_dir_all(&to);
        self.there.stage(bundle, &to, StageMode::Copy, None).unwrap();
        verify_tree(&self.here.manifest(bundle).unwrap(), &to).unwrap();
    }
}

/// Bytes that do not compress.
fn noise(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn a_changed_line_moves_little_and_nothing_moves_twice() {
    let sides = Sides::new();
    for number in 0..500 {
        sides.write(&format!("src/module-{number}/index.js"), noise(8_000, number));
    }
    let first = sides.add();
    assert!(sides.bring(first, None) > 3_900_000);
    sides.is_whole(first);
    sides.write("src/module-7/index.js", "one line\n");
    let second = sides.add();
    let moved = sides.bring(second, Some(first));
    sides.is_whole(second);
    assert!(moved < 2_000, "{moved} bytes for one line");
    assert!(sides.bring(second, Some(first)) < 200);
}

#[test]
fn of_a_large_file_only_the_chunks_that_differ_move() {
    let sides = Sides::new();
    let mut content = noise(8 << 20, 1);
    sides.write("large.bin", &content);
    let first = sides.add();
    sides.bring(first, None);
    content.splice(4_000_000..4_000_000, *b"inserted");
    sides.write("large.bin", &content);
    let second = sides.add();
    let moved = sides.bring(second, Some(first));
    sides.is_whole(second);
    assert!(moved < 600_000, "{moved} bytes for eight");
}

#[test]
fn a_transfer_that_broke_off_goes_on_where_it_was() {
    let sides = Sides::new();
    for number in 0..40 {
        sides.write(&format!("{number}.bin"), noise(500_000, number));
    }
    let bundle = sides.add();
    let manifest = sides.here.packed_manifest(bundle, None).unwrap();
    let lacked = {
        let arrival = Arrival::begin(&sides.there, bundle, None, &manifest).unwrap();
        let lacks = arrival.lacks().unwrap();
        let mut left = 2;
        let mut some = |pack: &[u8]| {
            if left > 0 {
                left -= 1;
                arrival.take(pack)?;
            }
            Ok(())
        };
        sides.here.send(bundle, &lacks, &mut some).unwrap();
        assert!(!arrival.complete(SystemTime::now()).unwrap());
        lacks.len()
    };
    assert!(!sides.there.has(bundle).unwrap());
    let arrival = Arrival::begin(&sides.there, bundle, None, &manifest).unwrap();
    assert!(arrival.lacks().unwrap().len() < lacked);
    drop(arrival);
    sides.bring(bundle, None);
    sides.is_whole(bundle);
}

#[test]
fn what_is_not_what_it_says_is_refused() {
    let sides = Sides::new();
    sides.write("a.txt", "content");
    let bundle = sides.add();
    let manifest = sides.here.packed_manifest(bundle, None).unwrap();
    // Of another bundle, and of none.
    let other = Digest::of(b"other");
    for packed in [&manifest[..], b"", &manifest[..manifest.len() / 2]] {
        let begun = Arrival::begin(&sides.there, other, None, packed);
        assert!(matches!(begun, Err(Error::Damaged { .. })), "{begun:?}");
    }
    let arrival = Arrival::begin(&sides.there, bundle, None, &manifest).unwrap();
    let mut packs = Vec::new();
    let mut keep = |pack: &[u8]| {
        packs.push(pack.to_vec());
        Ok(())
    };
    sides.here.send(bundle, &arrival.lacks().unwrap(), &mut keep).unwrap();
    let mut changed = packs[0].clone();
    changed[20] ^= 1;
    for bad in [&changed[..], b"", &packs[0][..40]] {
        assert!(arrival.take(bad).is_err());
    }
    assert!(!arrival.complete(SystemTime::now()).unwrap());
    arrival.take(&packs[0]).unwrap();
    assert!(arrival.complete(SystemTime::now()).unwrap());
}

#[test]
fn a_base_that_is_not_there_is_said() {
    let sides = Sides::new();
    sides.write("a.txt", "content");
    let first = sides.add();
    sides.write("b.txt", "more");
    let second = sides.add();
    let packed = sides.here.packed_manifest(second, Some(first)).unwrap();
    let begun = Arrival::begin(&sides.there, second, Some(first), &packed);
    assert!(matches!(begun, Err(Error::NoBundle(missing)) if missing == first), "{begun:?}");
}

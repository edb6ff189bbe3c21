//! Archives with random changes: each is read or refused, never anything else.

use std::fs;

use onward_store::bundle::{Error, Source};
use proptest::prelude::*;

use crate::rawtar::{bz2, dir, entry, file, gz, hard, link, long, pax, tar, zst};
use crate::rawzip::{self, Part, part, zip, zip64};
use crate::world::{World, now, snapshot};

/// Archives that use every feature that is read.
fn seeds() -> Vec<Vec<u8>> {
    let good = tar(&[
        dir("d/"),
        file("d/a", "some content"),
        entry("run", b'0', 0o755, &[7; 700], ""),
        link("l", "d/a"),
        hard("h", "d/a"),
        long(b'L', &[b'n'; 120]),
        file("n", "x"),
        pax(b'x', &[("path", b"p/q"), ("size", b"1"), ("mtime", b"1.5")]),
        file("p", "y"),
    ]);
    let parts = [
        part("d/", 0o040_755, b""),
        rawzip::file("d/a", "some content"),
        rawzip::deflated("b", &[b'b'; 3000]),
        part("l", 0o120_777, b"d/a"),
        Part { extra: vec![0; 3], ..rawzip::dos("w\\x", "x") },
    ];
    let mut all = vec![zip(&parts), zip64(&parts, 0)];
    all.extend([gz(&good), bz2(&good), zst(&good), good]);
    all
}

/// With the files that the first operation makes.
fn begun() -> World {
    let world = World::new();
    world.add();
    world
}

#[derive(Debug, Clone)]
enum Change {
    Set(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Double(prop::sample::Index, usize),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        8 => (any::<prop::sample::Index>(), prop_oneof![Just(0), Just(0xff), any::<u8>()])
            .prop_map(|(at, byte)| Change::Set(at, byte)),
        1 => any::<prop::sample::Index>().prop_map(Change::Cut),
        1 => (any::<prop::sample::Index>(), 1..600_usize).prop_map(|(at, len)| Change::Double(at, len)),
    ]
}

/// Headers of tar with a wrong checksum say nothing about what lies behind: it is made right.
fn mend(bytes: &mut [u8]) {
    for block in bytes.chunks_exact_mut(512) {
        if block[257..262] == *b"ustar" {
            crate::rawtar::sum(block);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..Default::default() })]
    #[test]
    fn changed_archives_are_read_or_refused(
        seed in any::<prop::sample::Index>(),
        changes in prop::collection::vec(change(), 1..4),
    ) {
        thread_local!(static WORLD: (World, Vec<Vec<u8>>) = (begun(), seeds()));
        WORLD.with(|(world, seeds)| {
            let mut bytes = seed.get(seeds).clone();
            for change in changes {
                if bytes.is_empty() {
                    break;
                }
                match change {
                    Change::Set(at, byte) => {
                        let at = at.index(bytes.len());
                        bytes[at] = byte;
                    }
                    Change::Cut(at) => bytes.truncate(at.index(bytes.len())),
                    Change::Double(at, len) => {
                        let at = at.index(bytes.len());
                        let piece = bytes[at..(at + len).min(bytes.len())].to_vec();
                        bytes.splice(at..at, piece);
                    }
                }
            }
            mend(&mut bytes);
            fs::write(world.path("archive"), &bytes).unwrap();
            let before = snapshot(&world.path("store"));
            match world.store.add(&Source::Archive(world.path("archive")), now()) {
                Ok(added) => {
                    world.store.verify(added.digest).unwrap();
                }
                Err(Error::Refused { .. } | Error::NotAnArchive { .. }) => {
                    prop_assert!(snapshot(&world.path("store")) == before, "the store changed");
                }
                Err(other) => prop_assert!(false, "{}", other),
            }
            Ok(())
        })?;
    }
}

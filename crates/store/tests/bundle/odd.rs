//! Archives that are odd but legal: each gives exactly the right tree.

use std::fs;

use onward_store::bundle::{Source, StageMode};

use crate::rawtar::{dir, entry, file, gz, hard, header, link, long, pax, sum, tar, zst};
use crate::rawzip::{self, Part, part, zip};
use crate::world::{Node, Tree, World, now, snapshot};

fn node(content: &str) -> Node {
    Node::File(content.into(), false)
}

fn tree(nodes: &[(&str, Node)]) -> Tree {
    nodes.iter().map(|(path, node)| ((*path).to_owned(), node.clone())).collect()
}

fn names() -> Vec<(&'static str, Vec<u8>, Tree)> {
    let part = "long-component-of-a-path-that-is-not-too-long".repeat(3);
    let long_path = format!("{part}/{part}");
    let long_tree = tree(&[(&part, Node::Dir), (&long_path, node("x"))]);
    let mut prefixed = header(b"name", b'0', 0o644, 0, b"");
    prefixed[345..351].copy_from_slice(b"prefix");
    sum(&mut prefixed);
    // GNU's own format has other things where POSIX has the prefix.
    let mut gnu = header(b"name", b'0', 0o644, 0, b"");
    gnu[257..265].copy_from_slice(b"ustar  \0");
    gnu[345..356].copy_from_slice(b"14000000000");
    sum(&mut gnu);
    let target = "t".repeat(200);
    vec![
        (
            "GNU long name",
            tar(&[long(b'L', long_path.as_bytes()), file("cut", "x")]),
            long_tree.clone(),
        ),
        (
            "pax long name",
            tar(&[
                pax(b'x', &[("path", long_path.as_bytes()), ("mtime", b"1.5")]),
                file("cut", "x"),
            ]),
            long_tree,
        ),
        (
            "long link target",
            tar(&[long(b'K', target.as_bytes()), link("l", "cut")]),
            tree(&[("l", Node::Link(target))]),
        ),
        (
            "ustar prefix",
            tar(&[prefixed]),
            tree(&[("prefix", Node::Dir), ("prefix/name", node(""))]),
        ),
        ("GNU without prefix", tar(&[gnu]), tree(&[("name", node(""))])),
        (
            "Unicode",
            tar(&[file("日本/ü", "x"), file("u\u{308}", "y")]),
            tree(&[("日本", Node::Dir), ("日本/ü", node("x")), ("u\u{308}", node("y"))]),
        ),
        (
            "leading ./ and the root itself",
            tar(&[dir("./"), file("./a", "1"), file(".//b", "2")]),
            tree(&[("a", node("1")), ("b", node("2"))]),
        ),
        (
            "blanks, backslashes, a leading dash",
            tar(&[file("a b", "1"), file("c\\d", "2"), file("-rf", "3")]),
            tree(&[("a b", node("1")), ("c\\d", node("2")), ("-rf", node("3"))]),
        ),
        (
            "names that differ in case alone",
            tar(&[file("Makefile", "1"), file("makefile", "2")]),
            tree(&[("Makefile", node("1")), ("makefile", node("2"))]),
        ),
        ("no dot", tar(&[file("LICENSE", "x")]), tree(&[("LICENSE", node("x"))])),
    ]
}

fn kinds() -> Vec<(&'static str, Vec<u8>, Tree)> {
    let mut old = header(b"old", 0, 0o644, 0, b"");
    old[257..265].fill(0);
    sum(&mut old);
    vec![
        (
            "executable",
            tar(&[entry("run", b'0', 0o755, b"x", ""), entry("own", b'0', 0o700, b"y", "")]),
            tree(&[("run", Node::File(b"x".into(), true)), ("own", Node::File(b"y".into(), true))]),
        ),
        ("no permission at all", tar(&[entry("a", b'0', 0, b"x", "")]), tree(&[("a", node("x"))])),
        (
            "empty directories",
            tar(&[dir("a/"), dir("a/b/"), dir("a/b/")]),
            tree(&[("a", Node::Dir), ("a/b", Node::Dir)]),
        ),
        (
            "no directory entries",
            tar(&[file("a/b/c", "x")]),
            tree(&[("a", Node::Dir), ("a/b", Node::Dir), ("a/b/c", node("x"))]),
        ),
        (
            "directory after its content",
            tar(&[file("a/b", "x"), dir("a")]),
            tree(&[("a", Node::Dir), ("a/b", node("x"))]),
        ),
        ("setgid directory", tar(&[entry("d", b'5', 0o2775, b"", "")]), tree(&[("d", Node::Dir)])),
        ("old header", tar(&[old]), tree(&[("old", node(""))])),
        ("old directory", tar(&[entry("d/", 0, 0o755, b"", "")]), tree(&[("d", Node::Dir)])),
        (
            "links that stay",
            tar(&[
                file("a/x", "1"),
                link("l", "a/x"),
                link("a/up", "../l"),
                link("none", "a/nothing"),
            ]),
            tree(&[
                ("a", Node::Dir),
                ("a/x", node("1")),
                ("l", Node::Link("a/x".into())),
                ("a/up", Node::Link("../l".into())),
                ("none", Node::Link("a/nothing".into())),
            ]),
        ),
        (
            "links in a circle",
            tar(&[link("a", "b"), link("b", "a")]),
            tree(&[("a", Node::Link("b".into())), ("b", Node::Link("a".into()))]),
        ),
        (
            "hard link inside",
            tar(&[entry("a", b'0', 0o755, b"x", ""), hard("b", "./a"), hard("c", "b")]),
            ["a", "b", "c"].map(|name| (name.to_owned(), Node::File(b"x".into(), true))).into(),
        ),
        (
            "same size in pax",
            tar(&[pax(b'x', &[("size", b"1")]), file("a", "x")]),
            tree(&[("a", node("x"))]),
        ),
        (
            "comment of git archive",
            tar(&[pax(b'g', &[("comment", b"0123456789")]), file("a", "x")]),
            tree(&[("a", node("x"))]),
        ),
        ("nothing", tar(&[]), Tree::new()),
    ]
}

fn streams() -> Vec<(&'static str, Vec<u8>, Tree)> {
    let good = tar(&[file("a", "x")]);
    let one = tree(&[("a", node("x"))]);
    let mut padded = good.clone();
    padded.resize(10240, 0);
    let half = good.len() / 2;
    let members = [gz(&good[..half]), gz(&good[half..])].concat();
    let frames = [zst(&good[..half]), zst(&good[half..])].concat();
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4][..], &zst(&good)].concat();
    vec![
        ("padded to a record", padded, one.clone()),
        ("one zero block", good[..good.len() - 512].to_vec(), one.clone()),
        ("gzip members", members, one.clone()),
        ("zstd frames", frames, one.clone()),
        ("zstd with a skippable frame", skippable, one),
    ]
}

fn zips() -> Vec<(&'static str, Vec<u8>, Tree)> {
    let content = rawzip::file("a", "content");
    let [crc, len] = [content.crc, 7].map(u32::to_le_bytes);
    let streamed = |signature: &[u8]| Part {
        flags: 8,
        descriptor: [signature, &crc, &len, &len].concat(),
        ..content.clone()
    };
    let one = tree(&[("a", node("content"))]);
    vec![
        (
            "zip from Windows",
            zip(&[
                rawzip::dos("d\\e\\f.txt", "x"),
                Part { attributes: 0x10, ..rawzip::dos("g\\", "") },
            ]),
            tree(&[
                ("d", Node::Dir),
                ("d/e", Node::Dir),
                ("d/e/f.txt", node("x")),
                ("g", Node::Dir),
            ]),
        ),
        ("zip with modes of zero", zip(&[part("a", 0, b"content")]), one.clone()),
        (
            "zip modes and links",
            zip(&[
                part("d/", 0o040_755, b""),
                part("x", 0o100_755, b"1"),
                part("l", 0o120_777, b"d/y"),
            ]),
            tree(&[
                ("d", Node::Dir),
                ("x", Node::File(b"1".into(), true)),
                ("l", Node::Link("d/y".into())),
            ]),
        ),
        ("zip with descriptor", zip(&[streamed(b"PK\x07\x08")]), one.clone()),
        ("zip with unsigned descriptor", zip(&[streamed(b"")]), one.clone()),
        ("zip deflated", zip(&[rawzip::deflated("a", b"content")]), one.clone()),
        ("zip64", rawzip::zip64(std::slice::from_ref(&content), 0), one.clone()),
        ("zip aligned", zip(&[Part { local_extra: vec![0; 3], ..content }]), one),
        ("zip of nothing", zip(&[]), Tree::new()),
    ]
}

#[test]
fn odd_but_legal_archives_give_the_right_tree() {
    let world = World::new();
    let cases: Vec<_> = [names(), kinds(), streams(), zips()].into_iter().flatten().collect();
    assert!(cases.len() >= 35, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for (number, (what, bytes, expected)) in cases.into_iter().enumerate() {
        // A name that says nothing: the content decides.
        let archive = world.path("archive");
        fs::write(&archive, bytes).unwrap();
        let dest = world.path(&format!("r/{number}"));
        let added = world.store.add(&Source::Archive(archive), now());
        let staged =
            added.and_then(|added| world.store.stage(added.digest, &dest, StageMode::Copy, None));
        match staged {
            Err(error) => wrong.push(format!("{what}: {error}")),
            Ok(_) if snapshot(&dest) != expected => {
                wrong.push(format!("{what}: {:?} instead of {expected:?}", snapshot(&dest)));
            }
            Ok(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

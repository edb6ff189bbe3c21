//! Hostile archives: each is refused whole, names its entry and reason, and changes nothing on disk.

use std::fs;
use std::time::{Duration, Instant};

use onward_store::bundle::{Error, Fault, Source};

use crate::rawtar::{bz2, dir, entry, file, gz, hard, header, link, long, pax, sum, tar, zst};
use crate::rawzip::{self, Part, part, zip, zip_with};
use crate::world::{World, now, snapshot};

struct Case {
    what: &'static str,
    bytes: Vec<u8>,
    entry: Option<String>,
    fault: Fault,
}

fn case(what: &'static str, bytes: Vec<u8>, entry: &str, fault: Fault) -> Case {
    let entry = (!entry.is_empty() || what == "no name").then(|| entry.to_owned());
    Case { what, bytes, entry, fault }
}

fn corrupt() -> Fault {
    Fault::Corrupt(String::new())
}

fn ambiguous(why: &str) -> Fault {
    Fault::Ambiguous(why.into())
}

/// The same reason; what a library says about a corrupt stream is not compared.
fn same(a: &Fault, b: &Fault) -> bool {
    a == b || matches!((a, b), (Fault::Corrupt(_), Fault::Corrupt(why)) if why.is_empty())
}

fn names() -> Vec<Case> {
    let deep = vec!["d"; 33].join("/");
    let long_name = "n".repeat(256);
    let long_path = vec!["p".repeat(200); 16].join("/");
    let one = |name: &[u8]| tar(&[file(name, "x")]);
    vec![
        case("absolute", one(b"/etc/cron.d/x"), "/etc/cron.d/x", Fault::Absolute),
        case("parent", one(b"../x"), "../x", Fault::Parent),
        case("parent inside", one(b"a/../../x"), "a/../../x", Fault::Parent),
        case("parent that stays", one(b"a/../x"), "a/../x", Fault::Parent),
        case("line break", one(b"a\nb"), "a\\nb", Fault::Control),
        case("escape sequence", one(b"a\x1b[2J"), "a\\u{1b}[2J", Fault::Control),
        case(
            "NUL",
            tar(&[pax(b'x', &[("path", b"a\0b")]), file("a", "x")]),
            "a\\u{0}b",
            Fault::Control,
        ),
        case("not UTF-8", one(b"a\xff"), "a\\xff", Fault::NotUtf8),
        case("no name", tar(&[file("a", "x"), file("", "x")]), "", Fault::EmptyName),
        case("a file called .", one(b"."), ".", Fault::EmptyName),
        case("deep", one(deep.as_bytes()), &deep, Fault::TooDeep(33)),
        case(
            "long name",
            tar(&[long(b'L', long_name.as_bytes()), file("n", "x")]),
            &long_name,
            Fault::NameTooLong(256),
        ),
        case(
            "long path",
            tar(&[long(b'L', long_path.as_bytes()), file("p", "x")]),
            &long_path,
            Fault::PathTooLong(long_path.len()),
        ),
    ]
}

fn trees() -> Vec<Case> {
    let below = |path: &str| Fault::BelowNonDirectory(path.into());
    let escapes = |target: &str| Fault::LinkEscapes(target.into());
    let chain = [link("a/b/deep", "../.."), dir("a/b"), link("out", "a/b/deep/..")];
    let through = [link("lib", "../../../etc"), file("lib/passwd", "x")];
    vec![
        case("twice", tar(&[file("a", "1"), file("a", "2")]), "a", Fault::Duplicate),
        case("twice, spelt apart", tar(&[file("a", "1"), file("./a", "2")]), "a", Fault::Duplicate),
        case("file and directory", tar(&[file("a", "1"), dir("a/")]), "a", Fault::Duplicate),
        case("directory, then link", tar(&[dir("a"), link("a", "b")]), "a", Fault::Duplicate),
        case("below a file", tar(&[file("a", "1"), file("a/b", "2")]), "a/b", below("a")),
        case(
            "through a link",
            tar(&[link("l", "d"), dir("d"), file("l/x", "1")]),
            "l/x",
            below("l"),
        ),
        case("through a link outside", tar(&through), "lib/passwd", below("lib")),
        case("content, then link", tar(&[file("d/x", "1"), link("d", "/etc")]), "d/x", below("d")),
        case("link to /", tar(&[link("l", "/etc/shadow")]), "l", escapes("/etc/shadow")),
        case("link to ..", tar(&[link("a/l", "../../x")]), "a/l", escapes("../../x")),
        case("link out and back", tar(&[link("l", "../tree/x")]), "l", escapes("../tree/x")),
        case("link by a chain", tar(&chain), "out", escapes("a/b/deep/..")),
        case("link to nothing", tar(&[link("l", "")]), "l", Fault::BadTarget),
        case("link with control", tar(&[link("l", "a\tb")]), "l", Fault::BadTarget),
        case("link not UTF-8", tar(&[long(b'K', b"a\xff"), link("l", "a")]), "l", Fault::BadTarget),
        case(
            "hard link to /",
            tar(&[hard("h", "/etc/shadow")]),
            "h",
            Fault::HardLink("/etc/shadow".into()),
        ),
        case("hard link to ..", tar(&[hard("h", "../x")]), "h", Fault::HardLink("../x".into())),
        case(
            "hard link to nothing",
            tar(&[hard("h", "a"), file("a", "1")]),
            "h",
            Fault::HardLink("a".into()),
        ),
        case(
            "hard link to a link",
            tar(&[link("l", "a"), hard("h", "l")]),
            "h",
            Fault::HardLink("l".into()),
        ),
    ]
}

fn kinds() -> Vec<Case> {
    let of = |kind: u8, mode| tar(&[entry("e", kind, mode, b"", "")]);
    vec![
        case("character device", of(b'3', 0o644), "e", Fault::Device),
        case("block device", of(b'4', 0o644), "e", Fault::Device),
        case("pipe", of(b'6', 0o644), "e", Fault::Fifo),
        case("setuid", of(b'0', 0o4755), "e", Fault::Setuid),
        case("setgid", of(b'0', 0o2755), "e", Fault::Setuid),
        case("sparse", of(b'S', 0o644), "e", Fault::Sparse),
        case(
            "sparse by pax",
            tar(&[pax(b'x', &[("GNU.sparse.major", b"1")]), file("a", "")]),
            "PaxHeader",
            Fault::Sparse,
        ),
        case("unknown", of(b'V', 0o644), "e", Fault::UnknownKind("tar type 'V'".into())),
        case(
            "link with content",
            tar(&[entry("l", b'2', 0o777, b"hidden", "a")]),
            "l",
            ambiguous("it has content although it is no file"),
        ),
        case(
            "directory with content",
            tar(&[entry("d", b'5', 0o755, b"hidden", "")]),
            "d",
            ambiguous("it has content although it is no file"),
        ),
    ]
}

fn headers() -> Vec<Case> {
    let mut wrong_sum = file("b", "x");
    wrong_sum[0] = b'c';
    let mut negative = header(b"n", b'0', 0o644, 0, b"");
    negative[124..136].fill(0xff);
    sum(&mut negative);
    let mut letters = header(b"n", b'0', 0o644, 0, b"");
    letters[124..128].copy_from_slice(b"0xff");
    sum(&mut letters);
    // What one program sees as the content of `a` is an entry for the other.
    let hidden = file("hidden", "x");
    let desync = [pax(b'x', &[("size", b"1024")]), file("a", ""), hidden].concat();
    vec![
        case("checksum", tar(&[file("a", "x"), wrong_sum]), "a", corrupt()),
        case("negative size", tar(&[negative]), "n", corrupt()),
        case("size in letters", tar(&[letters]), "n", corrupt()),
        case("sizes disagree", tar(&[desync]), "a", ambiguous("its pax header gives another size")),
        case(
            "names disagree",
            tar(&[long(b'L', b"one"), pax(b'x', &[("path", b"two")]), file("a", "x")]),
            "",
            ambiguous("its GNU and pax headers give two names"),
        ),
        case(
            "two long names",
            tar(&[long(b'L', b"one"), long(b'L', b"two"), file("a", "x")]),
            "././@LongLink",
            ambiguous("two extension headers of one kind precede it"),
        ),
        case(
            "two pax headers",
            tar(&[pax(b'x', &[("path", b"1")]), pax(b'x', &[("path", b"2")]), file("a", "x")]),
            "PaxHeader",
            ambiguous("two extension headers of one kind precede it"),
        ),
        case(
            "one key twice",
            tar(&[pax(b'x', &[("path", b"1"), ("path", b"2")]), file("a", "x")]),
            "PaxHeader",
            ambiguous("a pax header gives one key twice"),
        ),
        case(
            "global name",
            tar(&[pax(b'g', &[("path", b"1")]), file("a", "x")]),
            "PaxHeader",
            ambiguous("a global header names or sizes all entries"),
        ),
        case(
            "malformed pax",
            tar(&[entry("PaxHeader", b'x', 0o644, b"99 path=a\n", ""), file("a", "x")]),
            "PaxHeader",
            corrupt(),
        ),
        case(
            "huge long name",
            tar(&[long(b'L', &[b'n'; 5000]), file("a", "x")]),
            "././@LongLink",
            Fault::PathTooLong(5001),
        ),
    ]
}

fn streams() -> Vec<Case> {
    let good = tar(&[file("a", &"content ".repeat(500)), file("b", "x")]);
    let cut = |bytes: &[u8], at: usize| bytes[..at].to_vec();
    let flipped = |mut bytes: Vec<u8>, at: usize| {
        bytes[at] ^= 0x55;
        bytes
    };
    let noisy = tar(&[entry("a", b'0', 0o644, &crate::world::noise(3, 100_000), "")]);
    let (gzip, bzip, zstandard) = (gz(&noisy), bz2(&noisy), zst(&noisy));
    vec![
        case("cut in a header", cut(&good, 4608 + 100), "a", Fault::Truncated),
        case("cut in content", cut(&good, 2000), "a", Fault::Truncated),
        case("cut between entries", cut(&good, 4608), "a", Fault::Truncated),
        case("no end", cut(&good, good.len() - 1024), "b", Fault::Truncated),
        case(
            "end after a long name",
            tar(&[file("a", "x"), long(b'L', b"b")]),
            "a",
            Fault::Truncated,
        ),
        case("more after the end", [&good[..], &file("c", "x")].concat(), "b", Fault::StrayBytes),
        case("two archives", [&good[..], &good[..]].concat(), "b", Fault::StrayBytes),
        case("gzip cut", cut(&gzip, gzip.len() / 2), "a", Fault::Truncated),
        case("gzip without checksum", cut(&gzip, gzip.len() - 8), "a", Fault::Truncated),
        case("gzip checksum", flipped(gzip.clone(), gzip.len() - 6), "a", corrupt()),
        case("gzip flipped", flipped(gzip.clone(), gzip.len() / 2), "a", corrupt()),
        case("more after gzip", [&gzip[..], b"garbage after it"].concat(), "a", corrupt()),
        case("bzip2 cut", cut(&bzip, bzip.len() / 2), "", Fault::Truncated),
        case("bzip2 flipped", flipped(bzip.clone(), bzip.len() / 2), "", corrupt()),
        case("zstd cut", cut(&zstandard, zstandard.len() / 2), "a", Fault::Truncated),
        case("more after zstd", [&zstandard[..], b"garbage"].concat(), "a", corrupt()),
    ]
}

fn bombs() -> Vec<Case> {
    let zeros = vec![0; 64 << 20];
    let giant = header(b"zeros", b'0', 0o644, 8 << 30, b"");
    let frames =
        |pack: fn(&[u8]) -> Vec<u8>, times| [pack(&giant), pack(&zeros).repeat(times)].concat();
    let too_many = header(b"zeros", b'0', 0o644, 20 << 30, b"");
    let mut lies = rawzip::deflated("zeros", &zeros);
    let honest = lies.clone();
    lies.size = 1000;
    vec![
        case("gzip bomb", frames(gz, 160), "zeros", Fault::Bomb),
        case("bzip2 bomb", frames(bz2, 2), "zeros", Fault::Bomb),
        case("zstd bomb", frames(zst, 160), "zeros", Fault::Bomb),
        case("20 GiB", tar(&[too_many]), "zeros", Fault::TooManyBytes),
        case("zip bomb", zip(&[honest]), "zeros", Fault::Bomb),
        case(
            "zip that lies",
            zip(&[lies]),
            "zeros",
            ambiguous("it expands to more than the directory says"),
        ),
    ]
}

fn zips() -> Vec<Case> {
    let one = |part: Part| zip(&[part]);
    let a = rawzip::file("a", "content");
    let overlap = Part { offset: Some(0), ..rawzip::file("b", "content") };
    let differs = |what: &str| {
        ambiguous(&format!("its local header gives another {what} than the directory"))
    };
    let unicode = [&[0x75, 0x70, 6, 0, 1, 0, 0, 0, 0][..], b"b"].concat();
    vec![
        case("zip absolute", one(rawzip::file("/x", "1")), "/x", Fault::Absolute),
        case("zip parent", one(rawzip::file("../x", "1")), "../x", Fault::Parent),
        case("zip backslashes", one(rawzip::dos("..\\..\\x", "1")), "..\\..\\x", Fault::Parent),
        case("zip drive", one(rawzip::dos("C:\\x", "1")), "C:\\x", Fault::Absolute),
        case("zip NUL", one(rawzip::file("a\0.txt", "1")), "a\\u{0}.txt", Fault::Control),
        case("zip not UTF-8", one(rawzip::file(b"a\x81", "1")), "a\\x81", Fault::NotUtf8),
        case(
            "zip link",
            one(part("l", 0o120_777, b"../../etc/passwd")),
            "l",
            Fault::LinkEscapes("../../etc/passwd".into()),
        ),
        case("zip long link", one(part("l", 0o120_777, &[b'a'; 5000])), "l", Fault::BadTarget),
        case("zip device", one(part("d", 0o020_644, b"")), "d", Fault::Device),
        case("zip pipe", one(part("d", 0o010_644, b"")), "d", Fault::Fifo),
        case("zip setuid", one(part("s", 0o104_755, b"x")), "s", Fault::Setuid),
        case("zip twice", zip(&[a.clone(), a.clone()]), "a", Fault::Duplicate),
        case(
            "zip overlap",
            zip(&[a.clone(), overlap]),
            "a",
            ambiguous("it overlaps what follows it"),
        ),
        case(
            "zip names",
            one(Part { local_name: Some(b"b".into()), ..a.clone() }),
            "a",
            differs("name"),
        ),
        case("zip sizes", one(Part { local_size: Some(3), ..a.clone() }), "a", differs("size")),
        case(
            "zip unicode name",
            one(Part { extra: unicode, ..a.clone() }),
            "a",
            ambiguous("it has two names"),
        ),
    ]
}

fn zip_contents() -> Vec<Case> {
    let one = |part: Part| zip(&[part]);
    let a = rawzip::file("a", "content");
    let mut extends = a.clone();
    extends.data.truncate(3);
    let good = zip(&[a.clone(), rawzip::file("b", "x")]);
    let mut comment = good.clone();
    let at = comment.len() - 2;
    comment[at] = 22;
    comment.extend(&good[good.len() - 22..]);
    let mut shifted = good.clone();
    shifted.splice(0..0, good[..38].to_vec());
    vec![
        case("bytes before a zip", shifted, "", Fault::StrayBytes),
        case("zip encrypted", one(Part { flags: 1, ..a.clone() }), "a", Fault::Encrypted),
        case(
            "zip method",
            one(Part { method: 14, ..a.clone() }),
            "a",
            Fault::Unsupported("zip method 14".into()),
        ),
        case("zip checksum", one(Part { crc: 1, ..a.clone() }), "a", corrupt()),
        case("zip short content", one(extends), "a", Fault::Truncated),
        case(
            "zip descriptor",
            one(Part { flags: 8, descriptor: b"PK\x07\x08wrong1234567".into(), ..a.clone() }),
            "a",
            ambiguous("its data descriptor gives other values"),
        ),
        case(
            "zip directory content",
            one(part("d/", 0o040_755, b"x")),
            "d/",
            ambiguous("it has content although it is no file"),
        ),
        case(
            "zip gap",
            zip_with(std::slice::from_ref(&a), b"hidden bytes", 0),
            "a",
            Fault::StrayBytes,
        ),
        case(
            "zip count",
            zip_with(std::slice::from_ref(&a), b"", 1),
            "",
            ambiguous("its directory has another number of entries"),
        ),
        case("zip cut", good[..good.len() - 5].to_vec(), "", Fault::Truncated),
        case("zip and more", [&good[..], b"more"].concat(), "", Fault::StrayBytes),
        case("zip two ends", comment, "", ambiguous("there are two ends of the directory")),
        case(
            "zip64 disagrees",
            rawzip::zip64(std::slice::from_ref(&a), 7),
            "",
            ambiguous("its two ends of the directory disagree"),
        ),
    ]
}

fn all() -> Vec<Case> {
    [names(), trees(), kinds(), headers(), streams(), bombs(), zips(), zip_contents()]
        .into_iter()
        .flatten()
        .collect()
}

#[test]
fn hostile_archives_are_refused_whole() {
    let world = World::new();
    world.write("a", "a bundle that was there before");
    let before = world.add().digest;
    let archive = world.path("archive");
    let mut wrong = Vec::new();
    let cases = all();
    assert!(cases.len() >= 90, "{} cases", cases.len());
    for Case { what, bytes, entry, fault } in cases {
        fs::write(&archive, &bytes).unwrap();
        let untouched = snapshot(&world.path(""));
        let started = Instant::now();
        match world.store.add(&Source::Archive(archive.clone()), now()) {
            Err(Error::Refused { entry: found, fault: why, .. })
                if found == entry && same(&why, &fault) => {}
            other => wrong.push(format!("{what}: {other:?} instead of {entry:?} {fault:?}")),
        }
        if started.elapsed() > Duration::from_secs(10) {
            wrong.push(format!("{what}: took {:?}", started.elapsed()));
        }
        if snapshot(&world.path("")) != untouched {
            wrong.push(format!("{what}: something changed on disk"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    world.store.verify(before).unwrap();
}

/// The control of the test above: what is not refused changes the disk.
#[test]
fn a_harmless_archive_is_seen() {
    let world = World::new();
    world.add();
    fs::write(world.path("archive"), tar(&[file("b", "x")])).unwrap();
    let untouched = snapshot(&world.path(""));
    world.store.add(&Source::Archive(world.path("archive")), now()).unwrap();
    assert_ne!(snapshot(&world.path("")), untouched);
}

#[test]
fn too_many_entries() {
    let world = World::new();
    let mut bytes = Vec::new();
    for number in 0..=100_000 {
        bytes.extend(header(format!("f{number}").as_bytes(), b'0', 0o644, 0, b""));
    }
    fs::write(world.path("archive"), tar(&[bytes])).unwrap();
    let error = world.store.add(&Source::Archive(world.path("archive")), now()).unwrap_err();
    let Error::Refused { entry, fault, .. } = error else { panic!("{error}") };
    assert_eq!((entry.as_deref(), fault), (Some("f100000"), Fault::TooManyEntries));
}

#[test]
fn what_is_no_archive_is_said() {
    let world = World::new();
    for (bytes, why) in [
        (&b""[..], "it is empty"),
        (b"\xfd7zXZ\0", "it is compressed with xz, which is not supported"),
        (b"#!/bin/sh\n", "neither tar (plain, gzip, bzip2, zstd) nor zip is recognised"),
    ] {
        fs::write(world.path("archive.tar"), bytes).unwrap();
        let error =
            world.store.add(&Source::Archive(world.path("archive.tar")), now()).unwrap_err();
        assert!(matches!(&error, Error::NotAnArchive { why: said, .. } if said == why), "{error}");
    }
}

//! Proposals for small projects of every kind: the file passes, and says what it assumed.

use std::path::Path;

use super::super::init::{CannotTell, Kind, Proposal, detect, write};
use super::super::{FILE_NAME, load, parse};

/// Makes a project of (path, text) in a directory called `my-app`.
fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
    let outer = tempfile::tempdir().expect("a directory");
    let dir = outer.path().join("My App");
    std::fs::create_dir(&dir).expect("made");
    for (path, text) in files {
        let path = dir.join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, text).expect("written");
    }
    outer
}

pub(super) fn proposed(files: &[(&str, &str)]) -> Proposal {
    let outer = project(files);
    let proposal = detect(&outer.path().join("My App")).expect("recognised");
    parse(&proposal.text).unwrap_or_else(|found| {
        panic!("{}\n{}", proposal.text, super::drawn(&proposal.text, found))
    });
    assert!(parse(&uncommented(&proposal.text)).is_ok(), "{}", uncommented(&proposal.text));
    assert!(!proposal.assumptions.is_empty());
    proposal
}

/// The file as it is when every suggestion in it is taken.
fn uncommented(text: &str) -> String {
    let taken = |line: &str| match line.strip_prefix("# ") {
        Some(rest) if rest.starts_with('[') || rest.contains(" = ") => rest.to_owned(),
        _ => line.to_owned(),
    };
    text.lines().map(|line| taken(line) + "\n").collect()
}

pub(super) fn shown(files: &[(&str, &str)]) -> String {
    let proposal = proposed(files);
    let told = |word: &str, all: &[String]| -> String {
        all.iter().map(|one| format!("{word}: {one}\n")).collect()
    };
    format!(
        "{}\n{}{}{}---\n{}",
        proposal.kind,
        told("found", &proposal.found),
        told("assumed", &proposal.assumptions),
        told("look at this", &proposal.cautions),
        proposal.text
    )
}

pub(super) fn refused(files: &[(&str, &str)]) -> String {
    let outer = project(files);
    let error = detect(&outer.path().join("My App")).expect_err("refused");
    let dir = outer.path().to_str().expect("a plain path").to_owned();
    format!("{error}\n{}", error.help()).replace(&dir, "DIR")
}

const CRATE: &str = "[package]\nname = \"Shop_Server\"\nversion = \"1.0.0\"\nedition = \"2024\"\n";

#[test]
fn a_procfile_gives_its_processes() {
    let procfile =
        "# comment\n\nweb: ./server --port $PORT \"x\"\r\nWorker_1: ./work\nrelease:  ./migrate \n";
    insta::assert_snapshot!("procfile", shown(&[("Procfile", procfile)]));
    insta::assert_snapshot!(
        "procfile-node",
        shown(&[
            ("Procfile", "web: node server.js\n"),
            (
                "package.json",
                "{\"dependencies\": {\"express\": \"5\"}, \"scripts\": {\"test\": \"x\"}}"
            ),
            ("package-lock.json", "{}"),
        ])
    );
    insta::assert_snapshot!(
        "procfile-cargo",
        shown(&[
            ("Procfile", "web: ./target/release/a\nworker: target/release/b -v\n"),
            ("Cargo.toml", CRATE),
            ("Cargo.lock", ""),
        ])
    );
    assert_eq!(proposed(&[("Procfile", "clock: x\n")]).kind, Kind::Procfile);
}

#[test]
fn node_projects_are_recognised() {
    insta::assert_snapshot!(
        "node-start",
        shown(&[(
            "package.json",
            "{\"name\": \"@me/Hello\", \"scripts\": {\"start\": \"node server.js\"}}"
        )])
    );
    insta::assert_snapshot!(
        "node-build",
        shown(&[
            (
                "package.json",
                "{\"name\": \"shop\", \"dependencies\": {\"a\": \"1\"}, \"devDependencies\": {\"t\": \"1\"},\
                 \"scripts\": {\"start\": \"node dist/server.js\", \"build\": \"tsc\", \"test\": \"node --test\"}}"
            ),
            ("package-lock.json", "{}"),
        ])
    );
    insta::assert_snapshot!(
        "node-next",
        shown(&[
            (
                "package.json",
                "{\"dependencies\": {\"next\": \"15\"}, \"scripts\": {\"start\": \"next start\", \
                 \"build\": \"next build\"}}"
            ),
            ("pnpm-lock.yaml", ""),
        ])
    );
    insta::assert_snapshot!(
        "node-site",
        shown(&[
            (
                "package.json",
                "{\"name\": \"page\", \"devDependencies\": {\"vite\": \"7\"}, \
                 \"scripts\": {\"dev\": \"vite\", \"build\": \"vite build\"}}"
            ),
            ("yarn.lock", ""),
            ("index.html", ""),
        ])
    );
    insta::assert_snapshot!(
        "node-main",
        shown(&[("package.json", "{\"main\": \"app.js\"}"), ("app.js", "")])
    );
    let server = proposed(&[("package.json", "{\"main\": \"gone.js\"}"), ("server.js", "")]);
    assert!(server.text.contains("run = \"node server.js\""), "{}", server.text);
    let quoted =
        proposed(&[("package.json", "{\"scripts\": {\"start\": \"node -e \\\"1\\\" && x\"}}")]);
    assert!(quoted.text.contains("run = \"npm start\""), "{}", quoted.text);
}

#[test]
fn cargo_projects_are_recognised() {
    insta::assert_snapshot!(
        "cargo",
        shown(&[("Cargo.toml", CRATE), ("src/main.rs", ""), ("Cargo.lock", "")])
    );
    let several = [
        ("Cargo.toml", CRATE),
        ("src/main.rs", ""),
        ("src/bin/tool.rs", ""),
        ("src/bin/big/main.rs", ""),
    ];
    insta::assert_snapshot!("cargo-several", shown(&several));
    insta::assert_snapshot!(
        "cargo-workspace",
        shown(&[
            ("Cargo.toml", "[workspace]\nmembers = [\"crates/*\"]\n"),
            ("crates/lib/Cargo.toml", &CRATE.replace("Shop_Server", "shop-lib")),
            ("crates/lib/src/lib.rs", ""),
            ("crates/web/Cargo.toml", &CRATE.replace("Shop_Server", "shop-web")),
            ("crates/web/src/main.rs", ""),
        ])
    );
    let run = format!("{CRATE}default-run = \"tool\"\n");
    let default_run =
        proposed(&[("Cargo.toml", &run), ("src/main.rs", ""), ("src/bin/tool.rs", "")]);
    assert!(default_run.text.contains("run = \"target/release/tool\""), "{}", default_run.text);
    let named = format!("{CRATE}[[bin]]\nname = \"other\"\npath = \"src/main.rs\"\n");
    let named = proposed(&[("Cargo.toml", &named), ("src/main.rs", "")]);
    assert!(named.text.contains("run = \"target/release/other\""), "{}", named.text);
    let config = "[build]\ntarget = \"x86_64-unknown-linux-musl\"\n";
    let musl =
        proposed(&[("Cargo.toml", CRATE), ("src/main.rs", ""), (".cargo/config.toml", config)]);
    let path = "run = \"target/x86_64-unknown-linux-musl/release/Shop_Server\"";
    assert!(musl.text.contains(path), "{}", musl.text);
}

#[test]
fn static_sites_are_recognised() {
    insta::assert_snapshot!("site", shown(&[("index.html", ""), ("public/index.html", "")]));
    for place in ["public", "dist", "build", "_site"] {
        let text = proposed(&[(&format!("{place}/index.html"), "")]).text;
        assert!(text.contains(&format!("static = \"{place}\"")), "{text}");
        assert_eq!(text.contains("include"), place != "public", "{text}");
    }
}

#[test]
fn a_refusal_says_what_was_looked_for_and_what_to_do() {
    let two = [
        ("Cargo.toml", "[workspace]\nmembers = [\"a\", \"b\"]\n"),
        ("a/Cargo.toml", &CRATE.replace("Shop_Server", "a")),
        ("a/src/main.rs", ""),
        ("b/Cargo.toml", &CRATE.replace("Shop_Server", "b")),
        ("b/src/main.rs", ""),
    ];
    let all = [
        refused(&[]),
        refused(&[("requirements.txt", "")]),
        refused(&[("go.mod", "")]),
        refused(&[("go.mod", "module example.com/x\n")]),
        refused(&[("Gemfile", "")]),
        refused(&[("Dockerfile", "FROM scratch\n")]),
        refused(&[("pom.xml", "")]),
        refused(&[("pyproject.toml", "[project\n")]),
        refused(&[("package.json", "{}")]),
        refused(&[("package.json", "{,}")]),
        refused(&[("package.json", "[]")]),
        refused(&[("Cargo.toml", CRATE), ("src/lib.rs", "")]),
        refused(&[("Cargo.toml", "[package\n")]),
        refused(&two),
        refused(&[("Procfile", "web ./server\n")]),
        refused(&[("Procfile", "web: a\nweb: b\n")]),
        refused(&[("Procfile", "release: a\n")]),
        refused(&[("Procfile", "___: a\n")]),
        refused(&[(FILE_NAME, ""), ("Procfile", "web: a\n")]),
    ];
    insta::assert_snapshot!("refusals", all.join("\n\n"));
    let error = detect(Path::new("/nonexistent/dir")).expect_err("refused");
    assert!(matches!(error, CannotTell::NoDirectory { .. }));
}

#[test]
fn a_file_is_written_once_and_never_replaced() {
    let outer = project(&[("Procfile", "web: a\n")]);
    let dir = outer.path().join("My App");
    let proposal = detect(&dir).expect("recognised");
    let path = write(&dir, &proposal).expect("written");
    assert_eq!(path, dir.join(FILE_NAME));
    let (project, text) = load(&dir).expect("passes");
    assert_eq!((project.app.as_str(), &text), ("my-app", &proposal.text));
    let other = Proposal { text: "other".to_owned(), ..proposal };
    assert!(matches!(write(&dir, &other), Err(CannotTell::AlreadyThere { .. })));
    assert!(matches!(detect(&dir), Err(CannotTell::AlreadyThere { .. })));
    assert_eq!(std::fs::read_to_string(path).expect("there"), text);
}

/// The examples have files of their own; without them `init` proposes one that runs the same.
#[test]
fn the_examples_would_be_recognised() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    for name in ["hello", "node", "visits"] {
        let (own, _) = load(&examples.join(name)).expect("the example's own file");
        let copy = tempfile::tempdir().expect("a directory");
        let files = ["Cargo.toml", "Cargo.lock", "package.json", "server.js", "src/main.rs"];
        for file in files.iter().filter(|file| examples.join(name).join(file).is_file()) {
            let to = copy.path().join(file);
            std::fs::create_dir_all(to.parent().expect("a parent")).expect("made");
            std::fs::copy(examples.join(name).join(file), to).expect("copied");
        }
        let proposal = detect(copy.path()).expect("recognised");
        let proposed = parse(&proposal.text).expect("passes");
        assert_eq!(proposed.app, own.app);
        assert_eq!(proposed.processes[0].serves, own.processes[0].serves);
        assert_eq!(proposed.include, own.include);
        assert_eq!(proposed.build.run, own.build.run);
    }
}

//! No text makes the reader panic, and what it says about a text can be drawn.

use proptest::prelude::*;

use super::super::{Colour, Findings, Project, Severity, parse, resolve};
use super::files_in;

/// Reads, draws and resolves; returns whether the text is a legal file.
fn survive(text: &str) -> bool {
    let (found, legal): (_, Option<Project>) = match parse(text) {
        Ok(project) => (project.warnings.clone(), Some(project)),
        Err(found) => {
            assert!(found.iter().any(|found| found.severity == Severity::Error));
            (found, None)
        }
    };
    for (span, _) in found.iter().flat_map(|found| &found.labels) {
        assert!(text.get(span.clone()).is_some(), "{span:?} in {text:?}");
    }
    let findings = Findings { file: "f".to_owned(), text: text.to_owned(), diagnostics: found };
    findings.render(Colour::Off);
    findings.to_json();
    if let Some(project) = &legal {
        resolve(project, None).expect("a default");
    }
    legal.is_some()
}

fn seeds() -> Vec<String> {
    ["valid", "invalid"].into_iter().flat_map(files_in).map(|(_, text)| text).collect()
}

/// Pieces of TOML and of this file's grammar, so that random texts get past the first line.
fn piece() -> impl Strategy<Value = String> {
    let known = [
        "app",
        "process",
        "web",
        "run",
        "static",
        "probe",
        "path",
        "stop",
        "signal",
        "release",
        "values",
        "environment",
        "local",
        "servers",
        "schedule",
        "at",
        "secrets",
        "names",
    ];
    let marks =
        [" = ", ".", "[", "]", "[[", "]]", "{", "}", ",", "\n", "\r\n", "\"", "'", "\"\"\"", "#"];
    let values =
        ["\"a\"", "'/up'", "1", "-0x7", "1.5", "nan", "true", "1979-05-27", "\"30s\"", "é"];
    let all: Vec<String> =
        known.into_iter().chain(marks).chain(values).map(str::to_owned).collect();
    prop_oneof![9 => proptest::sample::select(all), 1 => any::<String>()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in any::<String>()) {
        survive(&text);
    }

    #[test]
    fn no_mixture_of_pieces_panics(pieces in prop::collection::vec(piece(), 0..40)) {
        survive(&pieces.concat());
    }

    #[test]
    fn no_change_of_a_known_file_panics(
        seed in proptest::sample::select(seeds()),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..8_usize, piece()), 1..6),
    ) {
        let mut text: Vec<char> = seed.chars().collect();
        for (at, length, with) in cuts {
            let at = at.index(text.len() + 1);
            let end = (at + length).min(text.len());
            text.splice(at..end, with.chars());
        }
        survive(&text.into_iter().collect::<String>());
    }
}

#[test]
fn every_prefix_of_a_known_file_is_survived() {
    for text in seeds() {
        for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
            survive(&text[..end]);
        }
    }
}

#[test]
fn deep_and_long_files_are_survived() {
    let lines: String = (0..5_000).map(|i| format!("[process.p{i}]\nrnu = \"a\"\n")).collect();
    for text in [
        "a.".repeat(10_000) + "a = 1",
        "a = ".to_owned() + &"[".repeat(10_000),
        "a = ".to_owned() + &"{a=".repeat(10_000),
        format!("app = \"{}\"", "é".repeat(100_000)),
        format!("[{}]", "x.".repeat(100) + "y"),
    ] {
        assert!(!survive(&text));
    }
    assert!(parse(&lines).is_err());
}

//! `docs/reference/project-file.md` says what the reader does.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::*;

fn reference() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/project-file.md");
    std::fs::read_to_string(path).expect("the reference")
}

fn example(reference: &str) -> &str {
    let (_, rest) = reference.split_once("```toml\n").expect("an example");
    rest.split_once("```").expect("its end").0
}

/// The keys of the table in `text`, as an unknown key in it is told.
fn known_keys(text: &str) -> Vec<String> {
    let found = parse(text).expect_err("an unknown key");
    let help = found
        .iter()
        .filter(|found| found.code == Code::UnknownKey)
        .filter_map(|found| found.help.as_deref());
    let list = help.filter_map(|help| help.strip_prefix("known here: ")).next().expect(text);
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

const UNKNOWN: &str = "qqqqqqqqqqqq = 1";

#[test]
fn the_example_is_a_legal_file_with_every_part() {
    let reference = reference();
    let text = example(&reference);
    let project = parse(text).unwrap_or_else(|found| panic!("{}", super::drawn(text, found)));
    assert_eq!(project.warnings, []);
    let qa = resolve(&project, None).expect("a default");
    assert_eq!((qa.environment.as_str(), qa.release.watch), ("qa", Duration::from_secs(10)));
    assert_eq!(qa.values.values().collect::<Vec<_>>(), ["debug"]);
}

#[test]
fn every_key_is_in_the_reference() {
    let reference = reference();
    let mentioned: BTreeSet<&str> =
        reference.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_').collect();
    for text in [
        UNKNOWN.to_owned(),
        format!("[build]\n{UNKNOWN}"),
        format!("[bundle]\n{UNKNOWN}"),
        format!("[process.web]\n{UNKNOWN}"),
        format!("[process.web.probe]\n{UNKNOWN}"),
        format!("[process.web.stop]\n{UNKNOWN}"),
        format!("[release]\n{UNKNOWN}"),
        format!("[shared]\n{UNKNOWN}"),
        format!("[schedule.a]\n{UNKNOWN}"),
        format!("[task.a]\n{UNKNOWN}"),
        format!("[hooks]\n{UNKNOWN}"),
        format!("[admin.a]\n{UNKNOWN}"),
        format!("[environment.a]\n{UNKNOWN}"),
    ] {
        let keys = known_keys(&text);
        let once: BTreeSet<&String> = keys.iter().collect();
        assert_eq!(once.len(), keys.len(), "a key of {text:?} is told twice: {keys:?}");
        for key in keys {
            assert!(
                mentioned.contains(key.as_str()),
                "`{key}` of {text:?} is not in the reference"
            );
        }
    }
}

#[test]
fn defaults_are_as_the_reference_says() {
    let reference = reference();
    let row = |key: &str, value: String| {
        let starts = format!("| `{key}` |");
        let ends = format!("| `{value}` |");
        let found = reference.lines().any(|line| line.starts_with(&starts) && line.contains(&ends));
        assert!(found, "{key} {value}");
    };
    for (key, duration) in [
        ("within", PROBE_WITHIN),
        ("interval", PROBE_INTERVAL),
        ("timeout", PROBE_TIMEOUT),
        ("within", STOP_WITHIN),
        ("warm", WARM),
    ] {
        row(key, duration_text(duration));
    }
    row("signal", STOP_SIGNAL.to_string());
    for (duration, whose) in [(WATCH_LOCAL, "with the provider `local`"), (WATCH_ELSEWHERE, "|")] {
        assert!(reference.contains(&format!("`{}` {whose}", duration_text(duration))), "{whose}");
    }
}

//! Each finding as a person reads it. One snapshot per file in `data/invalid`.

use std::collections::BTreeSet;

use super::super::{Code, Colour, Severity, parse};
use super::{drawn, files_in, findings};

#[test]
fn every_invalid_file_is_refused_and_drawn() {
    for (name, text) in files_in("invalid") {
        let found = parse(&text).expect_err(&name);
        insta::assert_snapshot!(name, drawn(&text, found));
    }
}

/// The file `CODE.toml` or `CODE-….toml` shows the code that it is named after.
#[test]
fn every_code_has_a_file_and_so_a_snapshot() {
    let mut shown = BTreeSet::new();
    for (name, text) in files_in("invalid") {
        let found = parse(&text).expect_err(&name);
        let codes: BTreeSet<Code> = found.iter().map(|found| found.code).collect();
        let named: Vec<&Code> =
            codes.iter().filter(|code| name.starts_with(code.as_str())).collect();
        assert!(!named.is_empty(), "{name} shows {codes:?}");
        shown.extend(named.into_iter().copied());
    }
    // What is wrong with a template or a certificate is found in another file.
    shown.extend([Code::InvalidTemplate, Code::InvalidCertificate]);
    let missing: Vec<Code> = Code::ALL.into_iter().filter(|code| !shown.contains(code)).collect();
    assert!(missing.is_empty(), "no file in data/invalid shows {missing:?}");
}

#[test]
fn every_code_is_listed_once() {
    let texts: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(texts.len(), Code::ALL.len());
}

#[test]
fn findings_come_in_file_order_and_each_says_what_to_do() {
    for (name, text) in files_in("invalid") {
        let found = parse(&text).expect_err(&name);
        assert!(found.is_sorted_by_key(|found| found.labels[0].0.start), "{name}");
        for found in found {
            assert!(!found.message.is_empty() && !found.labels[0].1.is_empty(), "{name}");
            assert!(!found.message.ends_with('.'), "{name}: {}", found.message);
            let quiet = matches!(found.code, Code::InvalidNumber | Code::InvalidPath);
            assert!(found.help.is_some() || quiet, "{name}: {} has no help", found.message);
        }
    }
}

#[test]
fn warnings_do_not_refuse_a_file() {
    for (name, text) in files_in("valid") {
        let project =
            parse(&text).unwrap_or_else(|found| panic!("{name}: {}", drawn(&text, found)));
        assert_eq!(!project.warnings.is_empty(), name.starts_with("warnings"), "{name}");
        assert!(project.warnings.iter().all(|found| found.severity == Severity::Warning));
        if name.starts_with("warnings") {
            insta::assert_snapshot!(name, drawn(&text, project.warnings));
        }
    }
}

#[test]
fn json_counts_lines_and_characters() {
    let text = "app = \"shop\"\r\n\r\n[process.web]\r\nrun = \"é\" \r\nünknown = 1\r\n";
    let text = text.replace("ünknown", "\"ü\".unknown");
    let json = findings(&text, parse(&text).expect_err("an unknown key")).to_json();
    insta::assert_snapshot!(serde_json::to_string_pretty(&json).expect("JSON"));
}

#[test]
fn colours_are_only_drawn_when_asked_for() {
    let findings = findings("", parse("").expect_err("nothing there"));
    assert!(!findings.render(Colour::Off).contains('\u{1b}'));
    assert!(findings.render(Colour::On).contains('\u{1b}'));
    assert_eq!(findings.summary(), "onward.toml: 2 errors");
}

//! Legal files, however odd, are taken as they are.

use std::time::Duration;

use super::super::{ProbeKind, Project, Serves, Signal, parse};
use super::{drawn, files_in};

fn read(text: &str) -> Project {
    parse(text).unwrap_or_else(|found| panic!("{}", drawn(text, found)))
}

fn valid(name: &str) -> Project {
    let files = files_in("valid");
    let (_, text) = files.iter().find(|(stem, _)| stem == name).expect(name);
    read(text)
}

#[test]
fn odd_but_legal_toml_is_taken_unchanged() {
    let project = valid("odd-but-legal");
    assert_eq!(project.app.as_str(), "odd-1");
    let names: Vec<&str> = project.processes.iter().map(|process| process.name.as_str()).collect();
    assert_eq!(names, ["web", "worker"]);
    let Serves::Command(run) = &project.processes[0].serves else { panic!("a command") };
    assert_eq!(run.as_str(), "cd app && exec ./server --title \"Grüße, 世界 🚀\"\n");
    let Serves::Command(run) = &project.processes[1].serves else { panic!("a command") };
    assert_eq!(run.as_str(), "echo 'one' \"two\" \\n");
    assert_eq!(project.processes[1].stop.signal, Some(Signal::Quit));
    assert_eq!(project.processes[1].stop.within, Some(Duration::from_secs(90)));
    let probe = project.processes[0].probe.as_ref().expect("a probe");
    assert_eq!(
        probe.how,
        ProbeKind::Http {
            path: "/up?deep=1&x=%20".to_owned(),
            status: vec![200, 204],
            body: Some("ok ✓".to_owned())
        }
    );
    let shared: Vec<&str> = project.shared.iter().map(super::super::ProjectPath::as_str).collect();
    assert_eq!(shared, ["storage", "a b/ü"]);
    let values: Vec<(&str, &str)> =
        project.values.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        values,
        [
            ("EMPTY", ""),
            ("ESCAPED", "tab\t nul-like \\u0000 quote\" é é 🚀"),
            ("MULTI", "line one\nline two"),
            ("QUOTED", "a=b=c, {d} %s $HOME `x`"),
            ("_", ""),
        ]
    );
}

#[test]
fn line_ends_and_byte_order_marks_change_nothing() {
    assert_eq!(valid("bom-and-crlf").app.as_str(), "bom");
    for (name, text) in files_in("valid").into_iter().filter(|(name, _)| name != "odd-but-legal") {
        let unix = read(&text.replace("\r\n", "\n"));
        let windows = read(&text.replace("\r\n", "\n").replace('\n', "\r\n"));
        assert_eq!(
            Project { warnings: vec![], ..unix },
            Project { warnings: vec![], ..windows },
            "{name}"
        );
    }
}

#[test]
fn the_file_says_nothing_that_it_does_not_say() {
    let project = valid("minimal");
    assert_eq!(project.processes.len(), 1);
    assert_eq!(project.processes[0].probe, None);
    assert_eq!(project.release.watch, None);
    assert!(project.environments.is_empty() && project.values.is_empty());
}

#[test]
fn every_signal_has_a_name() {
    let project = valid("signals");
    let signals: Vec<Signal> =
        project.processes.iter().filter_map(|process| process.stop.signal).collect();
    assert_eq!(signals, Signal::ALL);
}

#[test]
fn processes_keep_the_order_of_the_file() {
    let project = read(
        "app = \"a\"\n[process.z]\nrun = \"1\"\n[process.web]\nrun = \"2\"\n[process.b]\nrun = \"3\"\n",
    );
    let names: Vec<&str> = project.processes.iter().map(|process| process.name.as_str()).collect();
    assert_eq!(names, ["z", "web", "b"]);
}

#[test]
fn what_an_environment_answers_to() {
    let project = valid("domains");
    let Serves::Static(dir, rules) = &project.processes[0].serves else { panic!("a site") };
    assert_eq!(
        (dir.as_str(), rules.spa, &rules.immutable[..]),
        ("dist", true, &["assets".into()][..])
    );
    let production = &project.environments[0].routing;
    assert_eq!(production.hosts, ["shop.example.com", "shop.example.org", "*.shop.example.net"]);
    assert_eq!(production.aliases, ["www.shop.example.com"]);
    assert_eq!((production.body_bytes, production.requests), (Some(10_000_000), Some(200)));
    assert_eq!(
        (production.access_log, production.metrics.as_deref()),
        (true, Some("127.0.0.1:9100"))
    );
    let admin = &project.environments[1].routing;
    assert_eq!((admin.path.as_str(), admin.keeps_path), ("/admin", true));
}

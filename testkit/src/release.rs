//! Releases as agents are ordered to run them, and what they report of them.

use std::collections::BTreeSet;

use onward_core::model::{Config, Limits, Probe, ProbeKind, Process, ReleaseNumber, Run, Stop};
use onward_core::report::{InstanceReport, Report};

/// A process that runs a command line.
pub fn command(line: &str) -> Process {
    Process {
        run: Run::Command(line.to_owned()),
        probe: None,
        stop: Stop { signal: "TERM".into(), within_ms: 2_000 },
        overlap: false,
        limits: Limits::default(),
        count: 1,
        total: None,
        on: BTreeSet::new(),
    }
}

/// One that runs a server, which says at `/up` that it is there.
pub fn probed(line: &str) -> Process {
    let kind = ProbeKind::Http { path: "/up".into(), statuses: vec![], body: None };
    let probe = Probe { kind, within_ms: 10_000, interval_ms: 100, timeout_ms: 1_000 };
    Process { probe: Some(probe), ..command(line) }
}

/// A release of these processes, watched shortly.
///
/// # Panics
/// When a name is no name of a process.
pub fn config(processes: &[(&str, Process)]) -> Config {
    let named =
        |(name, process): &(&str, Process)| (name.parse().expect("a name"), process.clone());
    Config {
        processes: processes.iter().map(named).collect(),
        watch_ms: 300,
        warm_ms: 60_000,
        ..Config::default()
    }
}

/// The only instance of a process of a release.
///
/// # Panics
/// When there is none, or more than one.
pub fn instance<'a>(report: &'a Report, release: u64, process: &str) -> &'a InstanceReport {
    let instances = &report.releases[&ReleaseNumber(release)].instances;
    let mut own = instances.iter().filter(|own| own.process.as_str() == process);
    let found = own.next().unwrap_or_else(|| panic!("no {process} of {release}: {report:#?}"));
    assert!(own.next().is_none(), "several {process} of {release}: {report:#?}");
    found
}

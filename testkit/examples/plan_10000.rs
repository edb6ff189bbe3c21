//! How long the engine takes for an environment of 10,000 servers: the order of each of them, and
//! the next decision from 10,000 reports. Prints the milliseconds of each run, one a line.

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use onward_core::document::{Document, Server};
use onward_core::engine::{Advance, Ask, Request, Submitted, advance, order, submit};
use onward_core::model::{BundleRef, Config, Digest, Process, RequestId, Run, Stop, WriteId};
use onward_core::order::Level;
use onward_core::report::{Contact, Contacts, ReleaseReport, Report};

const SERVERS: usize = 10_000;
const RUNS: usize = 15;

fn main() {
    let now = Timestamp::UNIX_EPOCH;
    let document = in_flight(now);
    // Every server has its files: the next decision is to start, for all of them at once.
    let contacts: Contacts = document
        .servers
        .keys()
        .map(|name| (name.clone(), Contact::Reached(Box::new(staged(&document)))))
        .collect();
    for _ in 0..RUNS {
        let began = Instant::now();
        let orders = document.servers.keys().filter_map(|name| order(&document, name));
        let count = orders.map(black_box).count();
        let next = black_box(advance(&document, &contacts, now));
        let took = began.elapsed();
        assert_eq!(count, SERVERS, "every server has an order");
        assert!(matches!(next, Advance::Write(_)), "all have staged, so the operation goes on");
        println!("{:.3}", took.as_secs_f64() * 1000.0);
    }
}

/// A document whose first deploy is being staged everywhere.
fn in_flight(now: Timestamp) -> Document {
    let name = |text: &str| text.parse().expect("a legal name");
    let empty = Document::first(
        "shop".parse().expect("a legal name"),
        "production".parse().expect("a legal name"),
        WriteId::new("0"),
        now,
    );
    let servers = (0..SERVERS).map(|number| {
        let roles = BTreeSet::from(["web".parse().expect("a legal role")]);
        let address = format!("10.0.{}.{}", number / 256, number % 256);
        let name = format!("server-{number}").parse().expect("a legal name");
        (name, Server { address, roles, reach: None })
    });
    let process = Process {
        run: Run::Command("./run".to_owned()),
        probe: None,
        stop: Stop { signal: "TERM".to_owned(), within_ms: 10_000 },
        overlap: false,
        limits: onward_core::model::Limits::default(),
        count: 1,
        total: None,
        on: BTreeSet::new(),
    };
    let config = Config {
        processes: BTreeMap::from([(name("web"), process)]),
        watch_ms: 10_000,
        warm_ms: 600_000,
        ..Config::default()
    };
    let bundle = BundleRef { digest: Digest::of(b"files"), label: "1".to_owned() };
    let ask = Ask::Deploy {
        bundle,
        config: Arc::new(config),
        servers: servers.collect(),
        force: false,
        reset: false,
    };
    let request = Request {
        id: RequestId::new("1"),
        ask,
        by: "ana".to_owned(),
        planned_at: None,
        without: BTreeSet::new(),
    };
    match submit(&empty, &request, now) {
        Submitted::Record(document, _) => *document,
        other => panic!("a first deploy is recorded: {other:?}"),
    }
}

fn staged(document: &Document) -> Report {
    let release = document.operation.as_ref().and_then(|operation| operation.release);
    let staged = ReleaseReport { level: Level::Staged, ..ReleaseReport::default() };
    Report {
        accepted: document.generation,
        releases: release.map(|number| (number, staged)).into_iter().collect(),
        ..Report::default()
    }
}

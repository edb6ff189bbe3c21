//! Documents, requests and reports for the tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use onward_core::document::{Document, Phase, Server};
use onward_core::engine::{Ask, Request, Submitted, order, submit};
use onward_core::model::{
    BundleRef, Config, Digest, Generation, Process, ReleaseNumber, RequestId, Run, ServerName,
    Stop, WriteId,
};
use onward_core::order::Level;
use onward_core::report::{Contact, Contacts, ReleaseReport, Report};

pub const NOW: Timestamp = Timestamp::UNIX_EPOCH;

pub fn name(text: &str) -> ServerName {
    text.parse().expect("a legal name")
}

pub fn empty() -> Document {
    Document::first(
        "shop".parse().expect("a legal name"),
        "local".parse().expect("a legal name"),
        WriteId::new("first"),
        NOW,
    )
}

pub fn config(processes: &[&str]) -> Config {
    let process = || Process {
        run: Run::Command("./run".to_owned()),
        probe: None,
        stop: Stop { signal: "TERM".to_owned(), within_ms: 10_000 },
        overlap: false,
        limits: onward_core::model::Limits::default(),
        count: 1,
        total: None,
        on: BTreeSet::new(),
    };
    Config {
        processes: processes
            .iter()
            .map(|name| (name.parse().expect("a legal name"), process()))
            .collect(),
        watch_ms: 1_000,
        warm_ms: 600_000,
        ..Config::default()
    }
}

pub fn servers(names: &[&str]) -> BTreeMap<ServerName, Server> {
    let roles: BTreeSet<_> =
        ["web", "worker"].iter().map(|role| role.parse().expect("a legal name")).collect();
    let server =
        |n: &str| Server { address: format!("{n}.example.com"), roles: roles.clone(), reach: None };
    names.iter().map(|n| (name(n), server(n))).collect()
}

pub fn deploy_with(bundle: &str, config: Config) -> Ask {
    Ask::Deploy {
        bundle: BundleRef { digest: Digest::of(bundle.as_bytes()), label: bundle.to_owned() },
        config: Arc::new(config),
        servers: servers(&["one", "two"]),
        force: false,
        reset: false,
    }
}

pub fn deploy(bundle: &str) -> Ask {
    deploy_with(bundle, config(&["web"]))
}

pub fn request(id: &str, ask: Ask) -> Request {
    Request {
        id: RequestId::new(id),
        ask,
        by: "ana".to_owned(),
        planned_at: None,
        without: BTreeSet::new(),
    }
}

/// The document that follows a recorded request, stamped as a runner stamps it.
pub fn recorded(document: &Document, request: &Request) -> Document {
    match submit(document, request, NOW) {
        Submitted::Record(next, _) => stamped(document, *next),
        other => panic!("it should be recorded: {other:?}"),
    }
}

pub fn stamped(before: &Document, mut next: Document) -> Document {
    next.generation = before.generation.next();
    next.parent = Some(Digest::of(&before.encode()));
    next
}

/// A document in which a request is in flight in a phase.
pub fn in_phase(document: &Document, request: &Request, phase: Phase) -> Document {
    let mut next = recorded(document, request);
    let operation = next.operation.as_mut().expect("it was recorded");
    operation.phase = phase;
    if matches!(phase, Phase::Switch | Phase::Exchange | Phase::Watch) {
        next.serving = operation.release;
    }
    next
}

/// A document in which release 1 serves.
pub fn serving() -> Document {
    let mut document = in_phase(&empty(), &request("first", deploy("one")), Phase::Watch);
    let operation = document.operation.take().expect("in flight");
    document.warm = None;
    document.demand.release = operation.release;
    document
}

/// The report of a server on which a release has a level, at the generation of the document.
pub fn report(document: &Document, release: u64, level: Level) -> Report {
    let number = ReleaseNumber(release);
    let own = ReleaseReport { level, background: true, background_idle: true, ..<_>::default() };
    Report {
        accepted: document.generation,
        converged: true,
        releases: BTreeMap::from([(number, own)]),
        routed: (level == Level::Routed).then_some(number),
        ..Report::default()
    }
}

/// The same report from all servers.
pub fn all(document: &Document, report: &Report) -> Contacts {
    let contact = || Contact::Reached(Box::new(report.clone()));
    document.servers.keys().map(|server| (server.clone(), contact())).collect()
}

pub fn order_at(generation: u64) -> onward_core::order::Order {
    let mut document = serving();
    document.generation = Generation(generation);
    order(&document, &name("one")).expect("it is one of the servers")
}

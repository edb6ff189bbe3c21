//! A release to a thousand servers: what onward's own work costs.
//!
//! The servers are simulated and the connections to them are faked: each answers at once that it did
//! what its order says. Everything else is real: documents on disk, the driver with a courier for
//! each server, orders and reports as they travel.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;

use onward::runner::{self, Links, Observer, Stop};
use onward_core::document::{Document, Server};
use onward_core::engine::{Ask, Request};
use onward_core::model::{
    BundleRef, Config, Digest, Limits, Process, ProcessName, RequestId, Run, ServerName,
    Stop as StopRule,
};
use onward_core::order::{Level, Order};
use onward_core::outcome::Outcome as Answer;
use onward_core::ports::{DeliveryRefused, Link};
use onward_core::report::{
    InstanceReport, InstanceState, Progress, ReleaseReport, Report, WatchReport,
};
use onward_core::runner::{End, Goal, Runner};
use onward_store::state::DirectoryStore;

use crate::Outcome;
use crate::figures::Figures;

const SERVERS: usize = 1_000;
/// The own processor time that a release may take, in seconds.
const CPU_S: f64 = 5.0;
/// The memory that it may take, in MB.
const MEMORY_MB: f64 = 150.0;

/// A server that has always done what it is told.
#[derive(Debug)]
struct Obedient;

impl Link for Obedient {
    fn deliver(&self, order: &Order, _: Option<&Report>) -> Answer<Report, DeliveryRefused> {
        // As over a connection: both are text on their way.
        let sent = serde_json::to_vec(order).expect("an order is text");
        let order: Order = serde_json::from_slice(&sent).expect("an order is read");
        let answer = serde_json::to_vec(&obeyed(&order)).expect("a report is text");
        Answer::Done(serde_json::from_slice(&answer).expect("a report is read"))
    }

    fn keep_copy(&self, document: &Document) {
        drop(document.encode());
    }
}

/// The report of a server that is what an order says.
fn obeyed(order: &Order) -> Report {
    let releases = order.releases.iter().map(|(number, own)| {
        let runs = own.level >= Level::Running;
        let instance = |process: &ProcessName| InstanceReport {
            process: process.clone(),
            index: 1,
            pid: Some(1),
            port: Some(20_000),
            state: InstanceState::Ready,
            restarts: 0,
            unrouted: false,
        };
        let instances = own.config.processes.keys().filter(|_| runs).map(instance).collect();
        let report = ReleaseReport {
            level: own.level,
            background: own.background,
            background_idle: !own.background,
            instances,
            ..ReleaseReport::default()
        };
        (*number, report)
    });
    let watch = order
        .watch
        .as_ref()
        .map(|watch| WatchReport { operation: watch.operation, outcome: Progress::Done });
    Report {
        accepted: order.generation,
        converged: true,
        releases: releases.collect(),
        routed: order.routed(),
        watch,
        peers: order.peers().into_keys().collect(),
        ..Report::default()
    }
}

/// Watches nothing.
struct Unseen;

impl Observer for Unseen {
    fn look(&mut self, _: &Runner) -> Stop {
        Stop::No
    }
}

/// Measures a first release and the next one.
pub fn measure(figures: &mut Figures) -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let (app, environment) = ("shop".parse()?, "production".parse()?);
    let store = DirectoryStore::new(directory.path(), &app, &environment);
    let names: Vec<ServerName> =
        (0..SERVERS).map(|number| format!("server-{number}").parse()).collect::<Result<_, _>>()?;
    let links: Links = names
        .iter()
        .map(|name| (name.clone(), Arc::new(Obedient) as Arc<dyn Link + Send + Sync>))
        .collect();
    for label in ["1", "2"] {
        let before = cpu_seconds()?;
        let request = request(&names, label)?;
        let mut run = Runner::new(app.clone(), environment.clone(), Goal::Submit(request));
        match runner::drive(&mut run, &store, &links, &mut Unseen) {
            Some(End::Finished(_)) => {}
            other => return Err(format!("the release ended as {other:?}").into()),
        }
        let took = cpu_seconds()? - before;
        let name = format!("{SERVERS} simulated servers: own CPU of release {label}");
        figures.at_most(&name, took, "s", CPU_S);
    }
    figures.at_most("and memory", memory_mb()?, "MB", MEMORY_MB);
    Ok(())
}

fn request(names: &[ServerName], label: &str) -> Outcome<Request> {
    let roles = |index: usize| -> BTreeSet<_> {
        let words: &[&str] = if index == 0 { &["balancer", "web"] } else { &["web"] };
        words.iter().filter_map(|word| word.parse().ok()).collect()
    };
    let server = |(index, name): (usize, &ServerName)| {
        let address = format!("10.0.{}.{}:80", index / 256, index % 256);
        (name.clone(), Server { address, roles: roles(index), reach: None })
    };
    let process = Process {
        run: Run::Command("./run".to_owned()),
        probe: None,
        stop: StopRule { signal: "TERM".to_owned(), within_ms: 10_000 },
        overlap: false,
        limits: Limits::default(),
        count: 1,
        total: None,
        on: BTreeSet::new(),
    };
    let config =
        Config { processes: BTreeMap::from([("web".parse()?, process)]), ..Config::default() };
    let bundle = BundleRef { digest: Digest::of(label.as_bytes()), label: label.to_owned() };
    let ask = Ask::Deploy {
        bundle,
        config: Arc::new(config),
        servers: names.iter().enumerate().map(server).collect(),
        force: false,
        reset: false,
    };
    Ok(Request {
        id: RequestId::new(label),
        ask,
        by: "ana".to_owned(),
        planned_at: None,
        without: BTreeSet::new(),
    })
}

/// The processor time of this process so far.
fn cpu_seconds() -> Outcome<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let after = stat.rsplit(')').next().ok_or("no statistics")?;
    let fields: Vec<&str> = after.split_ascii_whitespace().collect();
    let ticks = |index: usize| -> Outcome<f64> {
        Ok(fields.get(index).ok_or("too few fields")?.parse::<f64>()?)
    };
    // User and system time, in hundredths of a second.
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}

/// The most memory that this process had.
fn memory_mb() -> Outcome<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}

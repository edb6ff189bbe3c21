//! `onward status`: what runs now.

mod degraded;
mod json;
mod text;

use std::collections::BTreeMap;

use jiff::Timestamp;
use onward_core::document::Document;
use onward_core::model::{ReleaseNumber, ServerName};
use onward_core::report::{InstanceReport, Report};
use onward_core::traffic::Traffic;

use crate::cli::address;
use crate::cli::away::Away;
use crate::cli::carry;
use crate::cli::certified;
use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::drift::{self, Drift};
use crate::cli::exit::Exit;
use crate::cli::fleet;
use crate::cli::known::{self, Known};
use crate::cli::lab;
use crate::cli::moved;
use crate::cli::reading::{self, Reading};
use crate::cli::screen::Screen;
use crate::cli::ways::Ways;
use degraded::degraded;

/// What each server says itself; nothing of one that says nothing.
type Reports = BTreeMap<ServerName, Option<Report>>;

/// What is known at one moment.
struct Now<'a> {
    document: &'a Document,
    reports: Reports,
    url: Option<String>,
    degraded: Vec<String>,
    moved: Vec<moved::Override<'a>>,
    drift: Vec<Drift>,
    at: Timestamp,
    /// What is shown of the state was known earlier, because the manager is away.
    stale: Option<(&'a Away, &'a Known)>,
}

/// Shows the demand, the facts and what differs.
pub fn run(context: &Context, screen: &Screen) -> Result<Exit, Complaint> {
    if let Some(away) = Away::find(context) {
        return without_manager(context, &away, screen);
    }
    let Some(Reading { stored, damage }) = reading::read(context, screen)? else {
        screen.line(&format!("{}: nothing has been released here yet", context.title()));
        screen.next("Next: `onward up`");
        screen.document(&json::empty(context));
        return Ok(Exit::Done);
    };
    let document = &*stored.document;
    let mut found = BTreeMap::new();
    if document.serving.is_some() || document.operation.is_some() {
        found = fleet::wake(context, document)?;
        found.extend(context.ways().and_then(Ways::lab).into_iter().flat_map(lab::stopped));
    }
    let reports = fleet::reports(context, Some(document));
    let url = carry::url(context).filter(|_| document.serving.is_some());
    address::remind(context, document, screen);
    let mut degraded = degraded(document, &reports, found);
    degraded.extend(certified::degraded(document, Timestamp::now()));
    degraded.extend(damage.map(|reason| format!("the state file is damaged: {reason}")));
    let drift = drift::of(context, document, &reports);
    let moved = moved::overrides(context, document);
    let at = Timestamp::now();
    show(context, &Now { document, reports, url, degraded, moved, drift, at, stale: None }, screen);
    Ok(Exit::Done)
}

fn show(context: &Context, now: &Now<'_>, screen: &Screen) {
    if screen.is_json() {
        screen.document(&json::as_json(context, now));
    } else {
        screen.line(&context.title());
        text::tell(now, screen);
    }
}

/// The manager cannot be reached: what was known last, and what each other server says itself.
fn without_manager(context: &Context, away: &Away, screen: &Screen) -> Result<Exit, Complaint> {
    let Some(known) = known::last(context) else { return Err(away.complaint(None, None)) };
    let document = &known.document;
    let servers = fleet::servers(context, Some(document));
    let others: Vec<_> =
        servers.iter().filter(|own| *own.name() != away.manager).cloned().collect();
    let said = fleet::on_each(&others, |server| fleet::report(context, server));
    let mut reports: Reports = others.iter().map(|own| own.name().clone()).zip(said).collect();
    reports.insert(away.manager.clone(), None);
    let mut degraded = degraded(document, &reports, BTreeMap::new());
    degraded.extend(certified::degraded(document, Timestamp::now()));
    degraded.extend(reports.iter().filter_map(|(server, report)| {
        let accepted = report.as_ref()?.accepted;
        (accepted > document.generation).then(|| {
            format!(
                "{server} follows generation {accepted}, which is newer than what is known here"
            )
        })
    }));
    let now = Now {
        document,
        url: fleet::url_of(context, Some(document)).filter(|_| document.serving.is_some()),
        drift: drift::of(context, document, &reports),
        moved: moved::overrides(context, document),
        reports,
        degraded,
        at: Timestamp::now(),
        stale: Some((away, &known)),
    };
    show(context, &now, screen);
    if screen.is_json() {
        return Ok(Exit::Failed);
    }
    Err(away.complaint(Some(&known), Some(text::headline(&now))))
}

/// What the proxies counted; each request once, where its client is.
fn traffic(reports: &Reports) -> Option<Traffic> {
    let mut all = reports.values().flatten().filter_map(|report| report.traffic.as_ref());
    let mut sum = all.next()?.clone();
    all.for_each(|traffic| sum.add(traffic));
    Some(sum)
}

fn gets_traffic(report: &Report, number: ReleaseNumber, instance: &InstanceReport) -> bool {
    report.routed == Some(number) && instance.port.is_some() && !instance.unrouted
}

/// Every instance on every server.
fn everywhere(
    reports: &Reports,
) -> impl Iterator<Item = (&ServerName, &Report, ReleaseNumber, &InstanceReport)> {
    reports.iter().filter_map(|(server, report)| Some((server, report.as_ref()?))).flat_map(
        |(server, report)| {
            instances(report).map(move |(number, instance)| (server, report, number, instance))
        },
    )
}

fn state_of(document: &Document, report: Option<&Report>) -> &'static str {
    match report {
        None => "unreachable",
        Some(report) if report.accepted < document.generation => "behind",
        Some(report) if report.converged => "converged",
        Some(_) => "working",
    }
}

fn instances(report: &Report) -> impl Iterator<Item = (ReleaseNumber, &InstanceReport)> {
    report.releases.iter().flat_map(|(number, release)| {
        release.instances.iter().map(move |instance| (*number, instance))
    })
}

//! `onward status`: what runs now.

use std::collections::BTreeMap;

use jiff::Timestamp;
use onward_core::document::{Document, Kind, Operation, Server};
use onward_core::model::{ReleaseNumber, ServerName};
use onward_core::report::{InstanceReport, InstanceState, Report};
use onward_core::traffic::Traffic;
use serde_json::{Value, json};

use crate::cli::address;
use crate::cli::away::{self, Away};
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
use crate::cli::numbers;
use crate::cli::outcome;
use crate::cli::reading::{self, Reading};
use crate::cli::replaced;
use crate::cli::retire;
use crate::cli::runs;
use crate::cli::scaled;
use crate::cli::screen::Screen;
use crate::cli::table::Table;
use crate::cli::ways::Ways;

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
        screen.document(&empty(context));
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
        screen.document(&as_json(context, now));
    } else {
        screen.line(&context.title());
        tell(now, screen);
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
    Err(away.complaint(Some(&known), Some(headline(&now))))
}

fn tell(now: &Now<'_>, screen: &Screen) {
    let document = now.document;
    screen.next(&format!("  {}", headline(now)));
    if let Some(edit) = outcome::pending_edit(document) {
        screen.next(&format!("  Demanded   {edit}, by an edit of the state; not followed yet"));
        screen.next(
            "             the next `onward up` follows it, `onward state undo` takes it back",
        );
    }
    tell_scaled(document, screen);
    for own in &now.moved {
        let text = own.text();
        screen.next(&format!("  Moved      by hand: {text}; `onward up --reset` takes the file's"));
    }
    for line in replaced::lines(document) {
        screen.next(&format!("  Replaced   {line}"));
    }
    for line in retire::lines(document) {
        screen.next(&format!("  Gone       {line}"));
    }
    if let Some(maintenance) = &document.demand.maintenance {
        let again = maintenance.retry_after_s;
        screen.next(&format!(
            "  Maintenance is on: visitors get a page and 503, to try again after {}",
            crate::project::duration_text(std::time::Duration::from_secs(again))
        ));
        screen.next("             `onward maintenance off` lets them through");
    }
    if let Some(operation) = &document.operation {
        let is_managed = document.servers.values().any(|own| own.reach.is_some());
        tell_operation(operation, is_managed, now.at, screen);
    }
    if let Some((number, until)) = outcome::warm(document, now.at) {
        screen.next(&format!(
            "  Warm       {}, for a quick `onward rollback {number}`, until about {}",
            outcome::release_name(document, number),
            until.strftime("%H:%M UTC")
        ));
    }
    if now.reports.len() > 1 {
        tell_servers(now, screen);
    }
    tell_instances(&now.reports, screen);
    for report in now.reports.values().flatten() {
        runs::tell(report, now.at, screen);
    }
    if let Some(traffic) = traffic(&now.reports).filter(|_| document.serving.is_some()) {
        let proxies = if now.reports.len() > 1 { "proxies" } else { "proxy" };
        screen.next(&format!(
            "  Traffic    {}, {} lost, {} since the {proxies} started",
            numbers::count(traffic.requests, "request"),
            numbers::grouped(traffic.lost),
            numbers::count(traffic.app_errors, "app error")
        ));
    }
    for line in certified::lines(document, now.at) {
        screen.next(&format!("  HTTPS      {line}"));
    }
    for line in &now.degraded {
        screen.next(&format!("  Degraded   {line}"));
    }
    let several = now.reports.len() > 1;
    for Drift { server, text, fix } in &now.drift {
        let place = if several { format!("{server}: ") } else { String::new() };
        screen.next(&format!("  Drift      {place}{text}"));
        screen.next(&format!("             {fix}"));
    }
}

/// Counts that are not those of the file.
fn tell_scaled(document: &Document, screen: &Screen) {
    for own in scaled::overrides(document) {
        let (text, by) = (own.text(), &own.scale.by);
        screen.next(&format!(
            "  Scaled     by hand: {text}, by {by}; `onward up --reset` takes the file's"
        ));
    }
}

fn headline(now: &Now<'_>) -> String {
    let text = headline_of_document(now);
    match now.stale {
        Some((_, known)) => format!("Known {} ago: {text}", away::age(known)),
        None => text,
    }
}

fn headline_of_document(now: &Now<'_>) -> String {
    let document = now.document;
    if document.serving.is_some() {
        return outcome::capitalised(&outcome::serves(document, now.url.as_deref()));
    }
    let down = document.history.iter().rev().find(|finished| finished.kind == Kind::Down);
    match down.filter(|_| document.operation.is_none()) {
        Some(down) => format!(
            "Nothing serves: taken down {} ago by {}. `onward up` brings it back",
            age(down.ended, now.at),
            down.by
        ),
        None => "Nothing serves".to_owned(),
    }
}

/// `is_managed`: whether the manager carries it on when its command is gone.
fn tell_operation(operation: &Operation, is_managed: bool, at: Timestamp, screen: &Screen) {
    let of = operation.release.map_or_else(String::new, |number| format!(" of release {number}"));
    screen.line(&format!(
        "  In flight  operation {}, {}{of} by {}, for {}: {}",
        operation.number,
        operation.kind.word(),
        operation.by,
        age(operation.started, at),
        outcome::phase_title(operation)
    ));
    screen.line(match (operation.phase.is_decided(), is_managed) {
        (true, true) => {
            "             it is decided and goes forward: if its command is gone, the manager carries it on"
        }
        (true, false) => {
            "             it is decided and goes forward: if its command is gone, the next one carries it on"
        }
        (false, _) => "             `onward abort` stops it; a newer `onward up` takes its place",
    });
}

fn age(since: Timestamp, now: Timestamp) -> String {
    numbers::duration(now.duration_since(since).unsigned_abs())
}

fn instances(report: &Report) -> impl Iterator<Item = (ReleaseNumber, &InstanceReport)> {
    report.releases.iter().flat_map(|(number, release)| {
        release.instances.iter().map(move |instance| (*number, instance))
    })
}

/// What the proxies counted; each request once, where its client is.
fn traffic(reports: &Reports) -> Option<Traffic> {
    let mut all = reports.values().flatten().filter_map(|report| report.traffic.as_ref());
    let mut sum = all.next()?.clone();
    all.for_each(|traffic| sum.add(traffic));
    Some(sum)
}

fn tell_servers(now: &Now<'_>, screen: &Screen) {
    let mut table = Table::new(["SERVER", "STATE", "RELEASE", "ADDRESS", "ROLES"]);
    for (name, report) in &now.reports {
        let Some(server) = now.document.server(name) else { continue };
        let routed = report.as_ref().and_then(|report| report.routed);
        let roles = server.roles.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        table.row([
            name.to_string(),
            state_of(now.document, report.as_ref()).to_owned(),
            routed.map_or_else(|| "-".to_owned(), |number| number.to_string()),
            server.address.clone(),
            roles,
        ]);
    }
    for line in table.lines() {
        screen.line(&format!("  {line}"));
    }
}

fn tell_instances(reports: &Reports, screen: &Screen) {
    let mut table = Table::new(["PROCESS", "RELEASE", "STATE", "PID", "RESTARTS", ""]);
    let several = reports.len() > 1;
    for (server, report, number, instance) in everywhere(reports) {
        let gets = gets_traffic(report, number, instance);
        let place = if several { format!("{server} ") } else { String::new() };
        table.row([
            format!("{place}{}.{}", instance.process, instance.index),
            number.to_string(),
            instance.state.word().to_owned(),
            instance.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            instance.restarts.to_string(),
            match (gets, instance.unrouted) {
                (true, _) => "gets traffic",
                (false, true) => "finishes what it has begun",
                (false, false) => "",
            }
            .to_owned(),
        ]);
    }
    for line in table.lines() {
        screen.line(&format!("  {line}"));
    }
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

/// What is not as it should be, one sentence each. `found`: what was so before this command.
fn degraded(
    document: &Document,
    reports: &Reports,
    mut found: BTreeMap<ServerName, String>,
) -> Vec<String> {
    let several = reports.len() > 1;
    let mut lines = Vec::new();
    for (server, report) in reports {
        let earlier = found.remove(server);
        let own = match report {
            Some(report) => earlier.into_iter().chain(degraded_server(document, report)).collect(),
            None if document.serving.is_none() => Vec::new(),
            None => {
                vec![earlier.unwrap_or_else(|| "the agent does not say how things are".to_owned())]
            }
        };
        let place = if several { format!("{server}: ") } else { String::new() };
        lines.extend(own.into_iter().map(|line| format!("{place}{line}")));
    }
    lines
}

fn degraded_server(document: &Document, report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    if document.operation.is_none() && report.routed != document.serving {
        lines.push(match document.serving {
            Some(number) => format!("release {number} shall serve and does not yet"),
            None => "something serves although nothing shall".to_owned(),
        });
    }
    for waiting in &report.waiting {
        let pause = match waiting.for_ms {
            None => String::new(),
            Some(0) => ", tried again now".to_owned(),
            Some(ms) => {
                let pause = std::time::Duration::from_millis(ms);
                format!(", tried again in {}", numbers::duration(pause))
            }
        };
        lines.push(format!("{}: {}{pause}", waiting.what, waiting.why));
    }
    for (number, instance) in instances(report) {
        if instance.state == InstanceState::Failing {
            lines.push(format!("{} of release {number} fails its probe", instance.process));
        }
    }
    lines.extend(runs::degraded(report));
    lines
}

fn empty(context: &Context) -> Value {
    json!({
        "app": context.app(), "environment": context.environment(), "generation": 0, "url": null,
        "release": null, "warm": null, "servers": [], "processes": [], "schedules": [], "runs": [],
        "operation": null, "overrides": [], "degraded": [], "maintenance": null, "traffic": null,
        "certificates": [], "drift": [], "stale": null,
    })
}

fn as_json(context: &Context, now: &Now<'_>) -> Value {
    let Now { document, reports, url, degraded, moved, drift, at, stale } = now;
    let serving = document.serving.and_then(|number| document.release(number));
    let server = |(server, own): (&ServerName, &Server)| {
        let report = reports.get(server).and_then(Option::as_ref);
        json!({
            "name": server,
            "address": own.address,
            "roles": own.roles,
            "state": state_of(document, report),
            "release": report.and_then(|report| report.routed),
        })
    };
    json!({
        "app": context.app(),
        "environment": context.environment(),
        "generation": document.generation,
        "url": url,
        "release": serving.map(|release| json!({
            "number": release.number,
            "label": release.bundle.label,
            "digest": release.bundle.digest,
        })),
        "warm": outcome::warm(document, *at).map(|(number, until)| json!({
            "release": number, "until": until,
        })),
        "servers": document.servers.iter().map(server).collect::<Vec<_>>(),
        "processes": processes(reports),
        "schedules": of_each(reports, runs::schedules_json),
        "runs": of_each(reports, runs::runs_json),
        "operation": document.operation,
        "certificates": certified::as_json(document),
        "overrides": overrides(document, moved),
        "degraded": degraded,
        "drift": drift,
        "stale": stale.map(|(away, known)| away.json(known)),
        "maintenance": document.demand.maintenance.as_ref().map(|own| json!({
            "retry_after_s": own.retry_after_s, "page": own.page.is_some(),
        })),
        "gone": document.gone,
        "traffic": traffic(reports),
    })
}

/// What an edit demands and no operation follows yet, and counts that are not those of the file.
fn overrides(document: &Document, moved: &[moved::Override<'_>]) -> Vec<Value> {
    let edit = outcome::pending_edit(document);
    let value = |text| json!({"what": "release", "demand": document.demand.release, "by": "edit", "text": text});
    let scaled = scaled::overrides(document);
    let moved = moved.iter().map(moved::Override::json);
    let scaled = scaled.iter().map(scaled::Override::json);
    let replaced = replaced::json(document);
    edit.map(value).into_iter().chain(scaled).chain(moved).chain(replaced).collect()
}

fn state_of(document: &Document, report: Option<&Report>) -> &'static str {
    match report {
        None => "unreachable",
        Some(report) if report.accepted < document.generation => "behind",
        Some(report) if report.converged => "converged",
        Some(_) => "working",
    }
}

fn of_each(reports: &Reports, what: fn(&Report, &ServerName) -> Vec<Value>) -> Vec<Value> {
    let answered = reports.iter().filter_map(|(name, report)| Some((name, report.as_ref()?)));
    answered.flat_map(|(name, report)| what(report, name)).collect()
}

fn processes(reports: &Reports) -> Vec<Value> {
    let line = |(server, report, number, instance): (
        &ServerName,
        &Report,
        ReleaseNumber,
        &InstanceReport,
    )| {
        json!({
            "name": instance.process,
            "server": server,
            "release": number,
            "instance": instance.index,
            "pid": instance.pid,
            "port": instance.port,
            "state": instance.state,
            "gets_traffic": gets_traffic(report, number, instance),
            "restarts": instance.restarts,
        })
    };
    everywhere(reports).map(line).collect()
}

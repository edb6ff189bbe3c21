//! `onward status`: what runs now.

use jiff::Timestamp;
use onward_core::document::{Document, Kind, Operation, Server};
use onward_core::model::{ReleaseNumber, ServerName};
use onward_core::report::{InstanceReport, InstanceState, Report};
use serde_json::{Value, json};

use crate::cli::carry;
use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::numbers;
use crate::cli::outcome;
use crate::cli::reading::{self, Reading};
use crate::cli::runs;
use crate::cli::screen::Screen;
use crate::cli::table::Table;
use crate::providers::local;

/// What is known at one moment.
struct Now<'a> {
    document: &'a Document,
    report: Option<Report>,
    url: Option<String>,
    degraded: Vec<String>,
    at: Timestamp,
}

/// Shows the demand, the facts and what differs.
pub fn run(context: &Context, screen: &Screen) -> Result<Exit, Complaint> {
    let Some(Reading { stored, damage }) = reading::read(context, screen)? else {
        screen.line(&format!("{}: nothing has been released here yet", context.title()));
        screen.line("Next: `onward up`");
        screen.document(&empty(context));
        return Ok(Exit::Done);
    };
    let document = &*stored.document;
    if document.serving.is_some() || document.operation.is_some() {
        context.agent()?;
    }
    let report = carry::local_report(context);
    let url = carry::url(context).filter(|_| document.serving.is_some());
    let mut degraded = degraded(document, report.as_ref());
    degraded.extend(damage.map(|reason| format!("the state file is damaged: {reason}")));
    let now = Now { document, report, url, degraded, at: Timestamp::now() };
    if screen.is_json() {
        screen.document(&as_json(context, &now));
    } else {
        screen.line(&context.title());
        tell(&now, screen);
    }
    Ok(Exit::Done)
}

fn tell(now: &Now<'_>, screen: &Screen) {
    let document = now.document;
    screen.line(&format!("  {}", headline(now)));
    if let Some(edit) = outcome::pending_edit(document) {
        screen.line(&format!("  Demanded   {edit}, by an edit of the state; not followed yet"));
        screen.line(
            "             the next `onward up` follows it, `onward state undo` takes it back",
        );
    }
    if let Some(maintenance) = &document.demand.maintenance {
        let again = maintenance.retry_after_s;
        screen.line(&format!(
            "  Maintenance is on: visitors get a page and 503, to try again after {}",
            crate::project::duration_text(std::time::Duration::from_secs(again))
        ));
        screen.line("             `onward maintenance off` lets them through");
    }
    if let Some(operation) = &document.operation {
        tell_operation(operation, now.at, screen);
    }
    if let Some((number, until)) = outcome::warm(document, now.at) {
        screen.line(&format!(
            "  Warm       {}, for a quick `onward rollback {number}`, until about {}",
            outcome::release_name(document, number),
            until.strftime("%H:%M UTC")
        ));
    }
    if let Some(report) = &now.report {
        tell_instances(report, screen);
        runs::tell(report, now.at, screen);
        if let Some(traffic) = report.traffic.as_ref().filter(|_| document.serving.is_some()) {
            screen.line(&format!(
                "  Traffic    {}, {} lost, {} since the proxy started",
                numbers::count(traffic.requests, "request"),
                numbers::grouped(traffic.lost),
                numbers::count(traffic.app_errors, "app error")
            ));
        }
    }
    for line in &now.degraded {
        screen.line(&format!("  Degraded   {line}"));
    }
}

fn headline(now: &Now<'_>) -> String {
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

fn tell_operation(operation: &Operation, at: Timestamp, screen: &Screen) {
    let of = operation.release.map_or_else(String::new, |number| format!(" of release {number}"));
    screen.line(&format!(
        "  In flight  operation {}, {}{of} by {}, for {}: {}",
        operation.number,
        operation.kind.word(),
        operation.by,
        age(operation.started, at),
        operation.phase.title()
    ));
    screen.line(if operation.phase.is_decided() {
        "             it is decided and goes forward: if its command is gone, the next one carries it on"
    } else {
        "             `onward abort` stops it; a newer `onward up` takes its place"
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

fn tell_instances(report: &Report, screen: &Screen) {
    let mut table = Table::new(["PROCESS", "RELEASE", "STATE", "PID", "RESTARTS", ""]);
    for (number, instance) in instances(report) {
        let gets = report.routed == Some(number) && instance.port.is_some();
        table.row([
            format!("{}.{}", instance.process, instance.index),
            number.to_string(),
            instance.state.word().to_owned(),
            instance.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            instance.restarts.to_string(),
            if gets { "gets traffic" } else { "" }.to_owned(),
        ]);
    }
    for line in table.lines() {
        screen.line(&format!("  {line}"));
    }
}

/// What is not as it should be, one sentence each.
fn degraded(document: &Document, report: Option<&Report>) -> Vec<String> {
    let mut lines = Vec::new();
    let Some(report) = report else {
        if document.serving.is_some() {
            lines.push("the agent does not say how things are".to_owned());
        }
        return lines;
    };
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
    })
}

fn as_json(context: &Context, now: &Now<'_>) -> Value {
    let Now { document, report, url, degraded, at } = now;
    let report = report.as_ref();
    let serving = document.serving.and_then(|number| document.release(number));
    let name = local::server_name();
    let server = |(server, own): (&ServerName, &Server)| {
        json!({
            "name": server,
            "address": own.address,
            "roles": own.roles,
            "state": state_of(document, report.filter(|_| *server == name)),
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
        "processes": report.map(processes).unwrap_or_default(),
        "schedules": report.map(|own| runs::schedules_json(own, &name)).unwrap_or_default(),
        "runs": report.map(|own| runs::runs_json(own, &name)).unwrap_or_default(),
        "operation": document.operation,
        "overrides": overrides(document),
        "degraded": degraded,
        "maintenance": document.demand.maintenance.as_ref().map(|own| json!({
            "retry_after_s": own.retry_after_s, "page": own.page.is_some(),
        })),
        "traffic": report.and_then(|report| report.traffic.as_ref()),
    })
}

/// What an edit demands and no operation follows yet.
fn overrides(document: &Document) -> Vec<Value> {
    let edit = outcome::pending_edit(document);
    let value = |text| json!({"what": "release", "demand": document.demand.release, "by": "edit", "text": text});
    edit.map(value).into_iter().collect()
}

fn state_of(document: &Document, report: Option<&Report>) -> &'static str {
    match report {
        None => "unreachable",
        Some(report) if report.accepted < document.generation => "behind",
        Some(report) if report.converged => "converged",
        Some(_) => "working",
    }
}

fn processes(report: &Report) -> Vec<Value> {
    let line = |(number, instance): (ReleaseNumber, &InstanceReport)| {
        json!({
            "name": instance.process,
            "server": local::server_name(),
            "release": number,
            "instance": instance.index,
            "pid": instance.pid,
            "port": instance.port,
            "state": instance.state,
            "restarts": instance.restarts,
        })
    };
    instances(report).map(line).collect()
}

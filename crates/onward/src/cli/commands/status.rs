//! `onward status`: what runs now.

use std::collections::BTreeSet;

use onward_core::document::Document;
use onward_core::ports::StateStore;
use onward_core::report::{InstanceState, Report};
use serde_json::{Value, json};

use crate::cli::carry;
use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::numbers;
use crate::cli::outcome;
use crate::cli::screen::Screen;
use crate::providers::local;

/// Shows the demand, the facts and what differs.
pub fn run(context: &Context, screen: &Screen) -> Result<Exit, Complaint> {
    let Some(stored) = context.store().read()? else {
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
    let degraded = degraded(document, report.as_ref());
    if screen.is_json() {
        screen.document(&as_json(context, document, report.as_ref(), url.as_deref(), &degraded));
        return Ok(Exit::Done);
    }
    screen.line(&context.title());
    screen.line(&format!("  {}", outcome::capitalised(&outcome::serves(document, url.as_deref()))));
    if let Some(operation) = &document.operation {
        screen.line(&format!(
            "  In flight: operation {}, {} {}: {}",
            operation.number,
            operation.kind.word(),
            operation.release.map_or_else(String::new, |number| format!("of release {number}")),
            operation.phase.title()
        ));
        screen.line("  The next `onward up` carries it on; `onward abort` stops it if undecided");
    }
    if let Some(report) = &report {
        print_instances(report, screen);
        if let Some(traffic) = &report.traffic {
            screen.line(&format!(
                "  traffic   {} requests, {} lost, {} app errors since the proxy's start",
                numbers::grouped(traffic.requests),
                numbers::grouped(traffic.lost),
                numbers::grouped(traffic.app_errors)
            ));
        }
    }
    for line in &degraded {
        screen.line(&format!("  Degraded: {line}"));
    }
    Ok(Exit::Done)
}

fn print_instances(report: &Report, screen: &Screen) {
    for (number, release) in &report.releases {
        for instance in &release.instances {
            let pid = instance.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
            let restarts = match instance.restarts {
                0 => String::new(),
                times => format!(", restarted {}", numbers::count(u64::from(times), "time")),
            };
            screen.line(&format!(
                "  {:<9} release {number} · {} · pid {pid}{restarts}",
                instance.process.as_str(),
                instance.state.word(),
            ));
        }
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
        let pause = waiting.for_ms.map_or_else(String::new, |ms| {
            format!(", tried again in {}", numbers::duration(std::time::Duration::from_millis(ms)))
        });
        lines.push(format!("{}: {}{pause}", waiting.what, waiting.why));
    }
    for (number, release) in &report.releases {
        for instance in release.instances.iter().filter(|i| i.state == InstanceState::Failing) {
            lines.push(format!("{} of release {number} fails its probe", instance.process));
        }
    }
    lines
}

fn empty(context: &Context) -> Value {
    json!({
        "app": context.app(), "environment": context.environment(), "generation": 0, "url": null,
        "release": null, "servers": [], "processes": [], "operation": null, "overrides": [],
        "degraded": [],
    })
}

fn as_json(
    context: &Context,
    document: &Document,
    report: Option<&Report>,
    url: Option<&str>,
    degraded: &[String],
) -> Value {
    let serving = document.serving.and_then(|number| document.release(number));
    let name = local::server_name();
    let servers: Vec<_> = document
        .servers
        .iter()
        .map(|(server, own)| {
            json!({
                "name": server,
                "address": own.address,
                "roles": own.roles,
                "state": state_of(document, report.filter(|_| *server == name)),
                "release": report.and_then(|report| report.routed),
            })
        })
        .collect();
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
        "servers": servers,
        "processes": report.map(processes).unwrap_or_default(),
        "operation": document.operation,
        "overrides": BTreeSet::<String>::new(),
        "degraded": degraded,
        "traffic": report.and_then(|report| report.traffic.as_ref()),
    })
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
    let of = |(number, release): (_, &onward_core::report::ReleaseReport)| {
        let line = move |instance: &onward_core::report::InstanceReport| {
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
        release.instances.iter().map(line).collect::<Vec<_>>()
    };
    report.releases.iter().flat_map(of).collect()
}

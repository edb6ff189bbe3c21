//! What `onward status --json` prints.

use onward_core::document::{Document, Server};
use onward_core::model::{ReleaseNumber, ServerName};
use onward_core::report::{InstanceReport, Report};
use serde_json::{Value, json};

use super::{Now, Reports, everywhere, gets_traffic, state_of, traffic};
use crate::cli::certified;
use crate::cli::context::Context;
use crate::cli::moved;
use crate::cli::outcome;
use crate::cli::replaced;
use crate::cli::runs;
use crate::cli::scaled;

pub(super) fn empty(context: &Context) -> Value {
    json!({
        "app": context.app(), "environment": context.environment(), "generation": 0, "url": null,
        "release": null, "warm": null, "servers": [], "processes": [], "schedules": [], "runs": [],
        "operation": null, "overrides": [], "degraded": [], "maintenance": null, "traffic": null,
        "certificates": [], "drift": [], "stale": null, "gone": [],
    })
}

pub(super) fn as_json(context: &Context, now: &Now<'_>) -> Value {
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

//! What `onward status` tells people.

use jiff::Timestamp;
use onward_core::document::{Document, Kind, Operation};

use super::{Now, Reports, everywhere, gets_traffic, state_of, traffic};
use crate::cli::away;
use crate::cli::certified;
use crate::cli::drift::Drift;
use crate::cli::numbers;
use crate::cli::outcome;
use crate::cli::replaced;
use crate::cli::retire;
use crate::cli::runs;
use crate::cli::scaled;
use crate::cli::screen::Screen;
use crate::cli::table::Table;

pub(super) fn tell(now: &Now<'_>, screen: &Screen) {
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

pub(super) fn headline(now: &Now<'_>) -> String {
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

//! Schedules, and what people run: as `status` and `events` tell of them.

use std::time::Duration;

use jiff::Timestamp;
use onward_core::model::{ProcessName, ServerName};
use onward_core::report::{Report, ScheduleReport};
use serde_json::{Value, json};

use super::numbers;
use super::screen::Screen;
use super::table::{Table, cut};

/// How much of a command is shown.
const COMMAND_CHARACTERS: usize = 60;

/// Tells of schedules and of what people run.
pub fn tell(report: &Report, at: Timestamp, screen: &Screen) {
    let mut table = Table::new(["SCHEDULE", "LAST", "NEXT", ""]);
    for (name, own) in &report.schedules {
        table.row([name.to_string(), last(own, at), next(own, at), now(own, at)]);
    }
    for line in table.lines() {
        screen.line(&format!("  {line}"));
    }
    let mut table = Table::new(["RUN", "RELEASE", "FOR", "COMMAND"]);
    for run in &report.runs {
        let since = at.as_millisecond() - i64::try_from(run.started_ms).unwrap_or(i64::MAX);
        let since = Duration::from_millis(u64::try_from(since).unwrap_or(0));
        let attached = if run.attached { "" } else { " (detached)" };
        table.row([
            run.name.clone(),
            run.release.to_string(),
            numbers::duration(since),
            format!("{}{attached}", cut(&run.command, COMMAND_CHARACTERS)),
        ]);
    }
    for line in table.lines() {
        screen.line(&format!("  {line}"));
    }
}

fn last(own: &ScheduleReport, at: Timestamp) -> String {
    let Some(last) = &own.last else { return "-".to_owned() };
    let took = numbers::duration(last.ended.duration_since(last.began).unsigned_abs());
    let ago = numbers::duration(at.duration_since(last.ended).unsigned_abs());
    let how = if last.failure.is_some() { "failed" } else { "ok" };
    format!("{how} {ago} ago, took {took}")
}

fn next(own: &ScheduleReport, at: Timestamp) -> String {
    own.next.map_or_else(
        || "-".to_owned(),
        |next| {
            let left = numbers::duration(next.duration_since(at).unsigned_abs());
            format!("{}, in {left}", next.strftime("%Y-%m-%d %H:%M:%S UTC"))
        },
    )
}

fn now(own: &ScheduleReport, at: Timestamp) -> String {
    own.running.as_ref().map_or_else(String::new, |running| {
        let since = numbers::duration(at.duration_since(running.began).unsigned_abs());
        format!("runs for {since}")
    })
}

/// What is not as it should be about schedules, one sentence each.
pub fn degraded(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, own) in &report.schedules {
        let last = own.last.as_ref();
        if let Some(failure) = last.and_then(|last| last.failure.as_ref()) {
            lines.push(format!(
                "schedule {}; `onward logs --process {name}` shows what it printed",
                failure.reason
            ));
        }
        let since = last.map_or(Timestamp::MIN, |last| last.due);
        if let Some(left_out) = own.left_out.as_ref().filter(|own| own.due > since) {
            let (due, why) = (left_out.due.strftime("%Y-%m-%d %H:%M:%S UTC"), left_out.why.words());
            lines.push(format!("schedule {name} did not run at {due}: {why}"));
        }
    }
    lines
}

/// The schedules, for `--json`.
pub fn schedules_json(report: &Report, server: &ServerName) -> Vec<Value> {
    let line = |(name, own): (&ProcessName, &ScheduleReport)| {
        json!({
            "name": name,
            "server": server,
            "next": own.next,
            "running": own.running,
            "last": own.last.as_ref().map(|last| json!({
                "ok": last.failure.is_none(),
                "due": last.due,
                "began": last.began,
                "ended": last.ended,
                "seconds": last.ended.duration_since(last.began).as_secs_f64(),
                "release": last.release,
                "failure": last.failure,
            })),
            "left_out": own.left_out,
        })
    };
    report.schedules.iter().map(line).collect()
}

/// What people run, for `--json`.
pub fn runs_json(report: &Report, server: &ServerName) -> Vec<Value> {
    let line = |run: &onward_core::report::RunReport| {
        json!({
            "name": run.name,
            "server": server,
            "release": run.release,
            "command": run.command,
            "started": i64::try_from(run.started_ms)
                .ok()
                .and_then(|since| Timestamp::from_millisecond(since).ok()),
            "attached": run.attached,
        })
    };
    report.runs.iter().map(line).collect()
}

/// What `events` compares: a change of it is an event.
pub fn summary(report: &Report) -> String {
    let mut text = String::new();
    for (name, own) in &report.schedules {
        let last = own.last.as_ref();
        let how = match (&own.running, last) {
            (Some(running), _) => format!("runs since {}", running.began.strftime("%H:%M:%S")),
            (None, Some(last)) => {
                let how = if last.failure.is_some() { "failed" } else { "ended well" };
                format!("{how} at {}", last.ended.strftime("%H:%M:%S"))
            }
            (None, None) => continue,
        };
        text.push_str(&format!("; schedule {name} {how}"));
    }
    for run in &report.runs {
        text.push_str(&format!("; {} runs", run.name));
    }
    text
}

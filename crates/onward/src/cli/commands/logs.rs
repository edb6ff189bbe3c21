//! `onward logs`: what the processes printed.

use std::sync::Arc;

use onward_core::document::Document;
use onward_core::engine::Refusal;
use onward_core::model::ReleaseNumber;
use onward_server::client::Client;
use onward_server::protocol::{LogLine, LogsRequest};
use serde_json::json;

use crate::cli::args::LogsArgs;
use crate::cli::chosen;
use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::interrupt;
use crate::cli::merged::{self, Each, Line, Question};
use crate::cli::problem::Problem;
use crate::cli::reading;
use crate::cli::screen::Screen;

/// What else prints: the commands of a release, and what people leave running.
const OTHER_SOURCES: [&str; 3] = ["check", "release-command", "run"];

/// Prints the last lines, and with `-f` what follows.
pub fn run(context: &Context, args: &LogsArgs, screen: &Screen) -> Result<Exit, Complaint> {
    let request = LogsRequest {
        app: context.app().clone(),
        environment: context.environment().clone(),
        release: args.release.map(ReleaseNumber),
        process: args.process.as_ref().map(|source| source.process.clone()),
        instance: args.process.as_ref().and_then(|source| source.instance),
        lines: args.lines,
        follow: args.follow,
    };
    let Some(reading) = reading::read(context, screen)? else {
        return Err(Refusal::NothingReleased.into());
    };
    known(&reading.stored.document, args)?;
    let interrupts = interrupt::watch();
    let document = &*reading.stored.document;
    let servers = chosen::servers(context, Some(document), &args.place)?;
    // On another machine systemd sees to it that the agent runs.
    let here = servers.iter().filter(|own| own.local().is_some());
    let asleep: Vec<_> = here.filter(|own| own.running_agent().is_none()).collect();
    context.prepare()?;
    let (question, several) = (question(request), servers.len() > 1);
    let lines = if args.follow {
        merged::follow(&servers, &question, screen, &interrupts, |line| {
            print(line, several, screen);
        })?
    } else {
        let lines = merged::last(&servers, &question, screen)?;
        lines.iter().for_each(|line| print(line, several, screen));
        lines.len() as u64
    };
    if lines == 0 && !args.follow {
        screen.note("Nothing was printed");
    }
    screen.finished(true, json!({"lines": lines}));
    if document.serving.is_none() {
        // They were only needed for these lines. That one does not end is no concern of who reads.
        for server in asleep {
            let _ = server.running_agent().map(Client::shutdown);
        }
    }
    Ok(Exit::Done)
}

/// What never was cannot have printed anything.
fn known(document: &Document, args: &LogsArgs) -> Result<(), Complaint> {
    let last = document.last_release;
    let release = args.release.map(ReleaseNumber);
    if let Some(number) = release.filter(|number| *number > last || number.0 == 0) {
        return Err(Problem::NoRelease { number, last }.into());
    }
    let Some(name) = args.process.as_ref().map(|source| &source.process) else { return Ok(()) };
    let of = |release: &onward_core::model::Release| {
        let config = &release.config;
        config.processes.keys().chain(config.schedules.keys()).cloned().collect::<Vec<_>>()
    };
    let mut names: Vec<_> = document.releases.values().flat_map(of).collect();
    names.extend(OTHER_SOURCES.iter().filter_map(|name| name.parse().ok()));
    names.sort_unstable();
    names.dedup();
    if names.contains(name) || document.releases.is_empty() {
        return Ok(());
    }
    let names = names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Err(Problem::NoProcess { name: name.clone(), names }.into())
}

fn question(request: LogsRequest) -> Question<LogLine> {
    let ask = move |agent: &mut Client, is_first: bool, each: &mut Each<'_, LogLine>| {
        let lines = if is_first { request.lines } else { 0 };
        agent.logs(LogsRequest { lines, ..request.clone() }, each)
    };
    Question { ask: Arc::new(ask), at: |line| line.at }
}

fn print(line: &Line<LogLine>, several: bool, screen: &Screen) {
    let Line { server, at, what } = line;
    let mut event = json!({
        "event": "line",
        "release": what.release,
        "source": what.source,
        "text": what.text,
    });
    if let Some(at) = at {
        event["at"] = json!(at);
    }
    if several {
        event["server"] = json!(server);
    }
    screen.event(&event);
    let place = if several { format!("{server:<10} ") } else { String::new() };
    screen.line(&format!("{place}{} {:<8} | {}", what.release, what.source, what.text));
}

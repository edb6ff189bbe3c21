//! `onward logs`: what the processes printed.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use onward_core::document::Document;
use onward_core::engine::Refusal;
use onward_core::model::{ReleaseNumber, ServerName};
use onward_server::client::Client;
use onward_server::protocol::{LogLine, LogsRequest};
use serde_json::json;

use crate::cli::args::LogsArgs;
use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::fleet;
use crate::cli::interrupt::{self, Interrupts};
use crate::cli::problem::Problem;
use crate::cli::reading;
use crate::cli::screen::Screen;
use crate::providers::{Server, local};

/// How many lines may wait to be printed; the agent waits meanwhile.
const LINES_WAITING: usize = 1000;
/// What else prints: the commands of a release, and what people leave running.
const OTHER_SOURCES: [&str; 3] = ["check", "release-command", "run"];
/// How often Ctrl-C is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

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
    let servers = fleet::servers(context, Some(document));
    let asleep: Vec<_> = servers.iter().filter(|own| own.running_agent().is_none()).collect();
    context.prepare()?;
    let lines = if args.follow {
        follow(&servers, &request, screen, &interrupts)?
    } else {
        last(&servers, &request, screen)?
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

/// The last lines of each server, one after the other.
fn last(servers: &[Server], request: &LogsRequest, screen: &Screen) -> Result<u64, Complaint> {
    let mut lines = 0;
    for (server, agent) in servers.iter().zip(fleet::agents(servers)) {
        let mut agent = match agent {
            Ok(agent) => agent,
            Err(error) if servers.len() == 1 => return Err(fleet::complaint(server, &error)),
            Err(error) => {
                screen.warn(&format!("{}: {}", server.name(), local::reason(&error)));
                continue;
            }
        };
        let place = place(servers, server);
        agent.logs(request.clone(), |line| {
            print(&place, &line, screen);
            lines += 1;
            true
        })?;
    }
    Ok(lines)
}

/// A line and the server that it comes from.
type From = (Option<ServerName>, LogLine);

/// Which server a line is from, where there are several.
fn place(servers: &[Server], server: &Server) -> Option<ServerName> {
    (servers.len() > 1).then(|| server.name().clone())
}

/// Goes on until Ctrl-C, also over the end of an agent: the next one is asked for what follows.
/// Lines of several servers come as they arrive.
fn follow(
    servers: &[Server],
    request: &LogsRequest,
    screen: &Screen,
    interrupts: &Interrupts,
) -> Result<u64, Complaint> {
    let (sender, lines) = mpsc::sync_channel::<From>(LINES_WAITING);
    let mut told = 0;
    let mut readers: Vec<Option<JoinHandle<()>>> = servers.iter().map(|_| None).collect();
    let mut requests: Vec<_> = servers.iter().map(|_| request.clone()).collect();
    while interrupts.count() == 0 && screen.is_read() {
        for ((server, reader), request) in servers.iter().zip(&mut readers).zip(&mut requests) {
            if reader.as_ref().is_some_and(|reader| !reader.is_finished()) {
                continue;
            }
            let agent = match server.agent() {
                Ok(agent) => agent,
                Err(error) if servers.len() == 1 => return Err(fleet::complaint(server, &error)),
                // Tried again with the next look.
                Err(_) => continue,
            };
            let place = place(servers, server);
            *reader = Some(read(agent, place, request.clone(), sender.clone()));
            request.lines = 0;
        }
        match lines.recv_timeout(LOOK_EVERY) {
            Ok((place, line)) => {
                print(&place, &line, screen);
                told += 1;
            }
            Err(_) => continue,
        }
        while let Ok((place, line)) = lines.try_recv() {
            print(&place, &line, screen);
            told += 1;
        }
    }
    Ok(told)
}

/// Reads on a thread of its own, which ends with the command: the connection cannot be waited for
/// together with Ctrl-C.
fn read(
    mut agent: Client,
    place: Option<ServerName>,
    request: LogsRequest,
    sender: mpsc::SyncSender<From>,
) -> JoinHandle<()> {
    thread::spawn(move || {
        // When it breaks off the agent is asked again.
        let _ = agent.logs(request, |line| sender.send((place.clone(), line)).is_ok());
    })
}

fn print(place: &Option<ServerName>, line: &LogLine, screen: &Screen) {
    let mut event = json!({
        "event": "line",
        "release": line.release,
        "source": line.source,
        "text": line.text,
    });
    if let Some(server) = place {
        event["server"] = json!(server);
    }
    screen.event(&event);
    let place = place.as_ref().map_or_else(String::new, |server| format!("{server:<10} "));
    screen.line(&format!("{place}{} {:<8} | {}", line.release, line.source, line.text));
}

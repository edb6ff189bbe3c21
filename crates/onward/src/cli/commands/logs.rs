//! `onward logs`: what the processes printed.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use onward_core::document::Document;
use onward_core::engine::Refusal;
use onward_core::model::ReleaseNumber;
use onward_server::client::Client;
use onward_server::protocol::{LogLine, LogsRequest};
use serde_json::json;

use crate::cli::args::LogsArgs;
use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::interrupt::{self, Interrupts};
use crate::cli::problem::Problem;
use crate::cli::reading;
use crate::cli::screen::Screen;

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
    let began_agent = context.local.running_agent().is_none();
    let lines = if args.follow {
        follow(context, &request, screen, &interrupts)?
    } else {
        let mut lines = 0;
        context.agent()?.logs(request, |line| {
            print(&line, screen);
            lines += 1;
            true
        })?;
        lines
    };
    if lines == 0 && !args.follow {
        screen.note("Nothing was printed");
    }
    screen.finished(true, json!({"lines": lines}));
    if began_agent && reading.stored.document.serving.is_none() {
        // It was only needed for these lines. That it does not end is no concern of who reads them.
        let _ = context.local.running_agent().map(Client::shutdown);
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

/// Goes on until Ctrl-C, also over the end of an agent: the next one is asked for what follows.
fn follow(
    context: &Context,
    request: &LogsRequest,
    screen: &Screen,
    interrupts: &Interrupts,
) -> Result<u64, Complaint> {
    let (sender, lines) = mpsc::sync_channel::<LogLine>(LINES_WAITING);
    let mut told = 0;
    let mut first = true;
    while interrupts.count() == 0 {
        let mut agent = context.agent()?;
        let (sender, mut request) = (sender.clone(), request.clone());
        if !first {
            request.lines = 0;
        }
        first = false;
        // The connection cannot be waited for together with Ctrl-C: the thread ends with the command.
        let reader = thread::spawn(move || agent.logs(request, |line| sender.send(line).is_ok()));
        loop {
            match lines.recv_timeout(LOOK_EVERY) {
                Ok(line) => {
                    print(&line, screen);
                    told += 1;
                }
                Err(_) if reader.is_finished() => break,
                Err(_) => {}
            }
            if interrupts.count() > 0 || !screen.is_read() {
                return Ok(told);
            }
        }
    }
    Ok(told)
}

fn print(line: &LogLine, screen: &Screen) {
    screen.event(&json!({
        "event": "line",
        "release": line.release,
        "source": line.source,
        "text": line.text,
    }));
    screen.line(&format!("{} {:<8} | {}", line.release, line.source, line.text));
}

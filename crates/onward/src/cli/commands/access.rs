//! `onward logs --access`: the requests that proxies answered for an app.

use std::sync::Arc;

use onward_core::engine::Refusal;
use onward_core::model::ReleaseNumber;
use onward_server::looking::AccessRequest;
use serde_json::{Value, json};

use crate::cli::args::LogsArgs;
use crate::cli::chosen;
use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::fleet;
use crate::cli::interrupt;
use crate::cli::merged::{self, Each, Line, Question};
use crate::cli::screen::Screen;

/// Prints the last lines of the app, and with `-f` what follows: of the servers that people reach
/// first, unless others are named.
pub fn run(context: &Context, args: &LogsArgs, screen: &Screen) -> Result<Exit, Complaint> {
    let stored = context.look()?;
    let document = stored.as_ref().map(|stored| &*stored.document);
    let servers = if args.place.is_open() {
        fleet::entries(context, document)
    } else {
        chosen::servers(context, document, &args.place)?
    };
    if servers.is_empty() || document.is_none() {
        return Err(Refusal::NothingReleased.into());
    }
    context.prepare()?;
    let question = question(context, args);
    let several = servers.len() > 1;
    let count = if args.follow {
        let interrupts = interrupt::watch();
        merged::follow(&servers, &question, screen, &interrupts, |line| {
            show(line, several, screen);
        })?
    } else {
        let lines = merged::last(&servers, &question, screen)?;
        let from = lines.len().saturating_sub(args.lines as usize);
        lines[from..].iter().for_each(|line| show(line, several, screen));
        (lines.len() - from) as u64
    };
    if count == 0 && !args.follow {
        let hint = if context.resolved.routing.access_log {
            "No request was logged"
        } else {
            "No request was logged: `access_log = true` below the environment turns it on"
        };
        screen.note(hint);
    }
    screen.finished(true, json!({"lines": count}));
    Ok(Exit::Done)
}

fn question(context: &Context, args: &LogsArgs) -> Question<Value> {
    let request = AccessRequest {
        app: context.app().clone(),
        environment: context.environment().clone(),
        release: args.release.map(ReleaseNumber),
        lines: args.lines,
        follow: args.follow,
    };
    let ask = move |agent: &mut onward_server::client::Client,
                    is_first: bool,
                    each: &mut Each<'_, Value>| {
        let lines = if is_first { request.lines } else { 0 };
        agent.access(AccessRequest { lines, ..request.clone() }, each)
    };
    Question { ask: Arc::new(ask), at: |line| line["time"].as_str()?.parse().ok() }
}

fn show(line: &Line<Value>, several: bool, screen: &Screen) {
    let what = &line.what;
    if screen.is_json() {
        let mut event = what.clone();
        if several {
            event["server"] = json!(line.server);
        }
        screen.event(&event);
        return;
    }
    let place = if several { format!("{:<10} ", line.server) } else { String::new() };
    let text = |field: &str| what[field].as_str().unwrap_or("-").to_owned();
    screen.line(&format!(
        "{place}{} {} {} {}{} {} B {} ms {}",
        text("time"),
        what["status"],
        text("method"),
        text("host"),
        text("path"),
        what["bytes"],
        what["ms"],
        text("client"),
    ));
}

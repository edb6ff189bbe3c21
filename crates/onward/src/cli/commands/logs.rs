//! `onward logs`: what the processes printed.

use onward_core::model::ReleaseNumber;
use onward_server::protocol::LogsRequest;
use serde_json::json;

use crate::cli::args::LogsArgs;
use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::screen::Screen;

/// Prints the last lines, and with `-f` what follows.
pub fn run(context: &Context, args: &LogsArgs, screen: &Screen) -> Result<Exit, Complaint> {
    let request = LogsRequest {
        app: context.app().clone(),
        environment: context.environment().clone(),
        release: args.release.map(ReleaseNumber),
        process: args.process.clone(),
        lines: args.lines,
        follow: args.follow,
    };
    let mut any = false;
    let mut agent = context.agent()?;
    agent
        .logs(request, |line| {
            any = true;
            screen.event(&json!({
                "event": "line",
                "release": line.release,
                "source": line.source,
                "text": line.text,
            }));
            screen.line(&format!("{} {:<8} | {}", line.release, line.source, line.text));
            true
        })
        .map_err(|error| {
            Complaint::new(Exit::Failed, format!("the logs cannot be read: {error}"))
        })?;
    if !any && !args.follow {
        screen.note("nothing was printed");
    }
    screen.finished(true, json!({}));
    Ok(Exit::Done)
}

//! `onward exec`, `onward run` and `onward task`: a command in the release that serves.

use onward_core::document::Document;
use onward_core::engine::Refusal;
use onward_core::model::ProcessName;
use onward_server::attached::{Begun, Left};
use onward_server::client::ClientError;
use onward_server::protocol::{RunRequest, Stay, What};
use serde_json::json;

use crate::cli::args_run::{ExecArgs, How, RunArgs, TaskArgs};
use crate::cli::attached;
use crate::cli::chosen;
use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::problem::Problem;
use crate::cli::screen::Screen;
use crate::cli::table::Table;

/// Runs a command beside a process.
pub fn exec(context: &Context, args: &ExecArgs, screen: &Screen) -> Result<Exit, Complaint> {
    let document = serving(context)?;
    let beside = match &args.process {
        Some(name) => name.clone(),
        None => first_process(&document).ok_or_else(|| nothing_serves(context))?,
    };
    let what = command(&args.command);
    begin(context, &document, what, Some(&beside), false, &args.how, screen)
}

/// Runs a command of its own.
pub fn run(context: &Context, args: &RunArgs, screen: &Screen) -> Result<Exit, Complaint> {
    let document = serving(context)?;
    let what = command(&args.command);
    begin(context, &document, what, None, args.detach, &args.how, screen)
}

/// Runs a task, or lists them.
pub fn task(context: &Context, args: &TaskArgs, screen: &Screen) -> Result<Exit, Complaint> {
    let Some(name) = &args.name else { return list(context, screen) };
    let document = serving(context)?;
    known_task(context, &document, name)?;
    let what = What::Task { name: name.clone(), arguments: args.arguments.clone() };
    begin(context, &document, what, None, args.detach, &args.how, screen)
}

/// One word alone is a command line; several are a program with its arguments.
fn command(words: &[String]) -> What {
    match words {
        [line] => What::Line(line.clone()),
        words => What::Program(words.to_vec()),
    }
}

fn serving(context: &Context) -> Result<Box<Document>, Complaint> {
    let Some(stored) = context.look()? else {
        return Err(Refusal::NothingReleased.into());
    };
    if stored.document.serving.is_none() {
        return Err(nothing_serves(context));
    }
    Ok(Box::new(Document::clone(&stored.document)))
}

fn nothing_serves(context: &Context) -> Complaint {
    Problem::IsDown { environment: context.environment().clone() }.into()
}

fn first_process(document: &Document) -> Option<ProcessName> {
    let release = document.release(document.serving?)?;
    let mut names = release.config.processes.keys();
    let web = names.clone().find(|name| name.has_traffic());
    web.or_else(|| names.next()).cloned()
}

fn known_task(context: &Context, document: &Document, name: &ProcessName) -> Result<(), Complaint> {
    let serving = document.serving.and_then(|number| document.release(number));
    let tasks = serving.map(|release| &release.config.tasks);
    if tasks.is_some_and(|tasks| tasks.contains_key(name)) {
        return Ok(());
    }
    let names = tasks.into_iter().flat_map(|tasks| tasks.keys());
    let names: Vec<_> = names.map(ToString::to_string).collect();
    let in_file = context.resolved.tasks.contains_key(name);
    Err(Problem::NoTask { name: name.clone(), names: names.join(", "), in_file }.into())
}

fn begin(
    context: &Context,
    document: &Document,
    what: What,
    beside: Option<&ProcessName>,
    detach: bool,
    how: &How,
    screen: &Screen,
) -> Result<Exit, Complaint> {
    let terminal = attached::terminal(screen, how.no_terminal || detach);
    let in_terminal = terminal.is_some();
    let stay = if detach { Stay::Detached } else { Stay::Attached { terminal } };
    let request = RunRequest {
        app: context.app().clone(),
        environment: context.environment().clone(),
        what,
        beside: beside.cloned(),
        stay,
    };
    let (_, agent) = chosen::of_commands(context, document, &how.place, beside)?;
    match agent.run(request).map_err(|error| not_begun(&error))? {
        Begun::Detached(name) => {
            screen.success(&format!("{name} runs; `onward logs -f --process {name}` shows it"));
            screen.finished(true, json!({"outcome": "detached", "name": name}));
            Ok(Exit::Done)
        }
        Begun::NotStarted { text, status } => {
            Err(Complaint::new(Exit::Program(status), text).nothing_changed())
        }
        Begun::Attached(attached) => {
            screen.event(&json!({"event": "attached", "name": attached.name}));
            let exit = attached::stay(attached, in_terminal, screen).map_err(|why| left(&why))?;
            let ok = exit.code() == 0;
            screen.finished(ok, json!({"outcome": "ended", "status": exit.code()}));
            Ok(exit)
        }
    }
}

/// A command that the agent does not run, or of which it is not known whether it does.
fn not_begun(error: &ClientError) -> Complaint {
    let what = format!("the command was not run: {error}");
    match error {
        ClientError::Refused(_) => Complaint::new(Exit::Refused, what).nothing_changed(),
        ClientError::Lost(_) => {
            let what = format!("it is not known whether the command runs: {error}");
            Complaint::new(Exit::Failed, what).hint("`onward status` shows what people run")
        }
        ClientError::NoAgent { .. }
        | ClientError::Nonsense(_)
        | ClientError::NoKey
        | ClientError::Version(_) => {
            Complaint::new(Exit::Failed, what).hint("`onward status` starts the agent again")
        }
    }
}

fn left(left: &Left) -> Complaint {
    let complaint = Complaint::new(Exit::Failed, left.to_string());
    match left {
        Left::Lost(_) => complaint
            .fact("How the command went is not known; what was left of it is ended")
            .hint("`onward status` shows how the server is; `run --detach` survives this"),
        Left::Unread(_) => complaint.fact("The command was ended"),
    }
}

fn list(context: &Context, screen: &Screen) -> Result<Exit, Complaint> {
    let stored = context.look()?;
    let serving = stored.as_ref().and_then(|own| own.document.release(own.document.serving?));
    let runs =
        |name: &ProcessName| serving.is_some_and(|release| release.config.tasks.contains_key(name));
    let tasks = &context.resolved.tasks;
    if screen.is_json() {
        let all: Vec<_> = tasks
            .iter()
            .map(|(name, task)| {
                json!({
                    "name": name,
                    "run": task.run.as_str(),
                    "description": task.description,
                    "serving": runs(name),
                })
            })
            .collect();
        screen.document(&json!({"tasks": all}));
        return Ok(Exit::Done);
    }
    if tasks.is_empty() {
        screen.note("There are no tasks; `[task.NAME]` with a `run` makes one");
        return Ok(Exit::Done);
    }
    let mut rows = Table::new(["TASK", "DOES", ""]);
    for (name, task) in tasks {
        let words = task.description.clone().unwrap_or_else(|| task.run.as_str().to_owned());
        let when = if runs(name) { "" } else { "with the next release" };
        rows.row([name.to_string(), words, when.to_owned()]);
    }
    for line in rows.lines() {
        screen.line(&line);
    }
    Ok(Exit::Done)
}

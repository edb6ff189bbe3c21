//! One file for each verb.

mod abort;
mod access;
mod bundle;
mod certificate;
mod check;
mod command_line;
mod deploy;
mod doctor;
mod down;
mod eject;
mod events;
mod history;
mod init;
mod logs;
mod maintenance;
mod metrics;
mod move_role;
mod plan;
mod rehearse;
mod replace;
mod restore;
mod rollback;
mod run;
mod scale;
mod secret;
mod ssh;
mod state;
mod state_move;
mod status;
mod why;

use onward_core::ports::StateStore;

pub use secret::{ask_values, set_values};

use super::args::{AgentVerb, Cli, StateVerb, Verb};
use super::beginning;
use super::carry;
use super::complaint::Complaint;
use super::context::Context;
use super::enrol;
use super::exit::Exit;
use super::lost;
use super::machines;
use super::outcome;
use super::problem::Problem;
use super::replaced;
use super::screen::Screen;
use super::skew;
use super::waiting;

/// Does what the arguments say.
pub fn run(cli: &Cli, screen: &Screen) -> Result<Exit, Complaint> {
    match &cli.verb {
        Verb::Init => return init::run(&cli.global, screen),
        Verb::Check => return check::run(&cli.global, screen),
        Verb::Doctor => return doctor::run(&cli.global, screen),
        Verb::Completions { shell } => return command_line::completions(*shell),
        Verb::Man { directory } => return command_line::man(directory, screen),
        Verb::Reference => return command_line::reference(),
        Verb::State(StateVerb::Move { to }) => return state_move::run(&cli.global, to, screen),
        Verb::Agent(verb) if verb.is_process() => {
            return Err(Problem::Bug("a process of onward came here").into());
        }
        Verb::Proxy(_) => {
            return Err(Problem::Bug("a process of onward came here").into());
        }
        _ => {}
    }
    let like = match &cli.verb {
        Verb::Up(args) => args.like.as_ref(),
        _ => None,
    };
    let context = Context::load_like(&cli.global, like)?;
    if let Some(warnings) = &context.warnings
        && !screen.is_json()
    {
        screen.warn(&warnings.render(screen.colour()));
    }
    if let Verb::Up(args) = &cli.verb {
        context.ways().into_iter().for_each(|ways| ways.forget(&args.forget));
        beginning::has_secrets(&context, args, &cli.global, screen)?;
        replaced::ready(&context, &cli.global, screen)?;
    }
    enrol::ready(&context, &cli.verb, &cli.global, screen)?;
    if let Verb::Up(args) = &cli.verb {
        lost::must_not_be(&context)?;
        // Now it is known in any case.
        beginning::has_secrets(&context, args, &cli.global, screen)?;
        waiting::bring(&context, screen)?;
    }
    machines::ready(&context, &cli.verb, &cli.global, screen)?;
    let is_away = context.ways().is_some_and(|ways| ways.why_away().is_some());
    if matches!(cli.verb, Verb::Status | Verb::Logs(_)) && !screen.is_json() && !is_away {
        skew::tell(&context, screen);
    }
    let result = carry_out(&context, cli, screen);
    result.map_err(|complaint| match cli.verb {
        Verb::State(_) => with_last_line(&context, complaint),
        _ => with_last_line(&context, lost::instead(&context, complaint)),
    })
}

/// The last line of a command that failed says what serves now.
fn with_last_line(context: &Context, complaint: Complaint) -> Complaint {
    if complaint.exit != Exit::Failed || complaint.serving.is_some() {
        return complaint;
    }
    let store = context.store();
    let good = || store.difference().ok().flatten().map(|difference| difference.good);
    let line = match store.read() {
        Ok(None) => "Nothing serves".to_owned(),
        Ok(Some(stored)) => outcome::last_line(&stored.document, carry::url(context).as_deref()),
        Err(_) => good().map_or_else(
            || "What served before serves".to_owned(),
            |stored| outcome::last_line(&stored.document, carry::url(context).as_deref()),
        ),
    };
    complaint.serving(line)
}

fn carry_out(context: &Context, cli: &Cli, screen: &Screen) -> Result<Exit, Complaint> {
    match &cli.verb {
        Verb::Up(args) => deploy::up(context, args, screen),
        Verb::Deploy(args) => deploy::deploy(context, args, screen),
        Verb::Rollback(args) => rollback::run(context, args, screen),
        Verb::Scale(args) => scale::run(context, args, screen),
        Verb::Move(args) => move_role::run(context, args, &cli.global, screen),
        Verb::Replace(args) => replace::run(context, args, &cli.global, screen),
        Verb::Eject(args) => eject::run(context, args, screen),
        Verb::Rehearse(args) => rehearse::run(context, args, screen),
        Verb::Agent(AgentVerb::Upgrade { downgrade }) => skew::upgrade(context, *downgrade, screen),
        Verb::Status => status::run(context, screen),
        Verb::Logs(args) if args.access => access::run(context, args, screen),
        Verb::Logs(args) => logs::run(context, args, screen),
        Verb::Ssh(args) => ssh::run(context, args, screen),
        Verb::Exec(args) => run::exec(context, args, screen),
        Verb::Run(args) => run::run(context, args, screen),
        Verb::Task(args) => run::task(context, args, screen),
        Verb::Maintenance(verb) => maintenance::run(context, verb, screen),
        Verb::Metrics(args) => metrics::run(context, args, screen),
        Verb::Plan(args) => plan::run(context, args, screen),
        Verb::Abort => abort::run(context, screen),
        Verb::Why { release } => why::run(context, *release, screen),
        Verb::History { count } => history::run(context, *count, screen),
        Verb::Events(place) => events::run(context, place, screen),
        Verb::State(verb) => state::run(context, verb, &cli.global, screen),
        Verb::Bundle(verb) => bundle::run(context, verb, screen),
        Verb::Certificate(verb) => certificate::run(context, verb, screen),
        Verb::Secret(verb) => secret::run(context, verb, &cli.global, screen),
        Verb::Down(args) => down::run(context, args, &cli.global, screen),
        Verb::Init
        | Verb::Check
        | Verb::Doctor
        | Verb::Completions { .. }
        | Verb::Man { .. }
        | Verb::Reference
        | Verb::Agent(_)
        | Verb::Proxy(_) => Err(Problem::Bug("a verb without a project came here").into()),
    }
}

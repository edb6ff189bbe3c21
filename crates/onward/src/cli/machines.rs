//! The machines of servers behind SSH: what differs from the project file is told by `plan`, and made
//! so by `up`, before a release comes to them.

use std::collections::BTreeSet;

use onward_core::machine::{AuthorizedKey, Event, Question, UserName};
use onward_core::model::{Role, ServerName};
use serde_json::json;

use super::args::{Global, Verb};
use super::complaint::Complaint;
use super::context::Context;
use super::exit::Exit;
use super::interrupt;
use super::numbers;
use super::question;
use super::screen::Screen;
use crate::machine::{Converged, Looks, MachineError, Trouble};
use crate::project::{Resolved, ServerWish, Servers, wishes};
use crate::providers::ssh::SshServer;

/// Makes the machines what the project file says, when the verb is `up`.
///
/// # Errors
/// When something has to be answered first, and when a machine is not what it shall be.
pub fn ready(
    context: &Context,
    verb: &Verb,
    global: &Global,
    screen: &Screen,
) -> Result<(), Complaint> {
    let Verb::Up(args) = verb else { return Ok(()) };
    let without: BTreeSet<&ServerName> = args.release.without.iter().collect();
    let resolved = if args.reset { context.resolved.clone() } else { effective(context, None) };
    let Some(looks) = look(context, &resolved, &without)? else { return Ok(()) };
    make_so(looks, interrupt::pressed(), global, screen)
}

/// Makes all machines what the project file says; stops when Ctrl-C is pressed, or was since it is
/// watched.
///
/// # Errors
/// As [`ready`].
pub fn converge_all(context: &Context, global: &Global, screen: &Screen) -> Result<(), Complaint> {
    let Some(looks) = look(context, &effective(context, None), &BTreeSet::new())? else {
        return Ok(());
    };
    make_so(looks, 0, global, screen)
}

/// Lets the machines follow a role that is moved: before it moves, `gets` has both servers in it, so
/// that nobody is kept out on the way; after it moved, nothing more is open than has to be. Machines
/// that `up` has not set up are left alone.
///
/// # Errors
/// As [`ready`].
pub fn follow_move(
    context: &Context,
    gets: Option<(&Role, &ServerName)>,
    global: &Global,
    screen: &Screen,
) -> Result<(), Complaint> {
    let resolved = effective(context, gets);
    let Some(mut looks) = look(context, &resolved, &BTreeSet::new())? else { return Ok(()) };
    looks.only_set_up();
    make_so(looks, interrupt::pressed(), global, screen)
}

/// Takes back what was opened for an environment that is gone, on machines that others set up. What
/// cannot be taken back is told, and stops nothing.
pub fn leave(context: &Context, screen: &Screen) {
    let looks = look(context, &effective(context, None), &BTreeSet::new());
    let mut looks = match looks {
        Ok(Some(looks)) => looks,
        Ok(None) => return,
        Err(complaint) => {
            screen.warn(&format!("ports that were opened for it stay open: {}", complaint.what));
            return;
        }
    };
    looks.only_left();
    for line in looks.lines() {
        screen.note(&format!("  {line}"));
    }
    let tell = |server: &ServerName, event: &Event| tell(server, event, screen);
    for (server, converged) in looks.converge(&tell, &stops(interrupt::pressed())) {
        if let Converged::Trouble(trouble) = converged {
            let why = trouble.sentences().join("; ");
            screen.warn(&format!("{server}: ports that were opened for it stay open: {why}"));
        }
    }
}

/// The project file's wishes with the roles that were moved by hand, and one that is about to be.
fn effective(context: &Context, gets: Option<(&Role, &ServerName)>) -> Resolved {
    let stored = context.look().ok().flatten();
    let mut wished = wishes::servers(&context.resolved);
    for (name, roles) in &mut wished {
        if let Some(stored) = &stored {
            stored.document.demand.move_roles(name, roles);
        }
        if let Some((role, _)) = gets.filter(|(_, to)| *to == name) {
            roles.insert(role.clone());
        }
    }
    let named = wished.into_iter().map(|(name, roles)| {
        // How it is reached, the connection to it knows.
        ServerWish { name, roles: Some(roles), reach: None }
    });
    Resolved { servers: Servers::Named(named.collect()), ..context.resolved.clone() }
}

/// Ctrl-C that was pressed `before` is somebody else's.
fn make_so(
    mut looks: Looks,
    before: u32,
    global: &Global,
    screen: &Screen,
) -> Result<(), Complaint> {
    let questions = looks.questions();
    if !questions.is_empty() {
        agree(&questions, global, screen)?;
        looks.agree();
    }
    for line in looks.lines() {
        screen.note(&format!("  {line}"));
    }
    let tell = |server: &ServerName, event: &Event| tell(server, event, screen);
    let mut troubled = Vec::new();
    for (server, converged) in looks.converge(&tell, &stops(before)) {
        match converged {
            Converged::Done(_) => {}
            Converged::Partly(failed) => {
                for (what, why) in failed {
                    screen.warn(&format!("{server}: not made: {what}: {why}"));
                }
            }
            Converged::Trouble(trouble) => troubled.push((server, trouble)),
        }
    }
    match troubled.is_empty() {
        true => Ok(()),
        false => Err(not_made(&troubled)),
    }
}

/// Whether Ctrl-C was pressed more often than so, where it does not end the command.
fn stops(before: u32) -> impl Fn() -> bool {
    move || interrupt::pressed() > before
}

/// What `up` would change of the machines, a line each. A server that onward is not on yet, or that
/// does not answer, says so.
pub fn lines(context: &Context) -> Vec<String> {
    if context.ways().is_none() {
        return Vec::new();
    }
    match look(context, &effective(context, None), &BTreeSet::new()) {
        Ok(Some(looks)) => looks.lines(),
        Ok(None) => Vec::new(),
        Err(complaint) => vec![format!("? machines: {}", complaint.what)],
    }
}

/// The same; none when a server cannot be asked.
pub fn differences(context: &Context) -> Option<Vec<String>> {
    let resolved = effective(context, None);
    Some(look(context, &resolved, &BTreeSet::new()).ok()??.lines())
}

/// What the machines are and shall be; none where there is none to set up.
fn look(
    context: &Context,
    resolved: &Resolved,
    without: &BTreeSet<&ServerName>,
) -> Result<Option<Looks>, Complaint> {
    let Some(ways) = context.ways() else { return Ok(None) };
    let wished = wishes::servers(&context.resolved).into_iter().map(|(name, _)| name);
    let asked = wished.filter(|name| !without.contains(name));
    let servers: Vec<SshServer> = asked.map(|name| ways.server(&name)).collect();
    let lab_key: Option<AuthorizedKey> = ways.lab().and_then(|lab| {
        let public = lab.key_file().with_extension("pub");
        std::fs::read_to_string(public).ok()?.trim().parse().ok()
    });
    let login = |server: &SshServer| {
        let user: Option<UserName> = server.login().parse().ok();
        (user.unwrap_or_else(UserName::root), lab_key.clone().into_iter().collect())
    };
    Ok(Some(Looks::of(resolved, &servers, login)?))
}

/// Asks once about everything; without somebody to ask, nothing is changed.
fn agree(
    questions: &[(&ServerName, &Question)],
    global: &Global,
    screen: &Screen,
) -> Result<(), Complaint> {
    if global.yes {
        for (server, Question { text, .. }) in questions {
            screen.note(&format!("  {server}: {text}"));
        }
        return Ok(());
    }
    if question::can_ask(global) && says_yes(questions) {
        return Ok(());
    }
    let mut complaint =
        Complaint::new(Exit::Refused, "setting the machines up would cut off what works there now");
    for (server, Question { text, instead, .. }) in questions {
        complaint =
            complaint.fact(format!("{server}: {text}")).hint(format!("{server}: {instead}"));
    }
    Err(complaint
        .nothing_changed()
        .hint("`onward up -y` goes on, and so does `harden = \"full\"` in onward.toml"))
}

fn says_yes(questions: &[(&ServerName, &Question)]) -> bool {
    println!("Setting the machines up would cut off what works there now:");
    for (server, Question { text, instead, .. }) in questions {
        println!("  {server}: {text}\n    instead: {instead}");
    }
    question::says_yes("Go on? (yes/no) ")
}

fn tell(server: &ServerName, event: &Event, screen: &Screen) {
    screen.event(&json!({"event": "machine", "server": server, "step": event}));
    match event {
        Event::Says { line } if screen.is_verbose() => screen.note(&format!("  {server}: {line}")),
        Event::Confirm { .. } => {
            screen.note(&format!("  {server}: a new connection confirms the changes"));
        }
        Event::Finished { ok: true, changed, took_ms } => {
            let took = numbers::duration(std::time::Duration::from_millis(*took_ms));
            let changes = if *changed == 1 { "change" } else { "changes" };
            screen.note(&format!("  {server}: its machine is set up, {changed} {changes}, {took}"));
        }
        _ => {}
    }
}

/// The complaint about machines that are not what they shall be.
fn not_made(troubled: &[(ServerName, Trouble)]) -> Complaint {
    let names: Vec<&str> = troubled.iter().map(|(name, _)| name.as_str()).collect();
    let what = match &names[..] {
        [one] => format!("the machine of server {one} is not set up"),
        all => format!("the machines of {} are not set up", all.join(", ")),
    };
    let is_left = troubled.iter().any(|(_, own)| matches!(own, Trouble::Left));
    let what = if is_left { format!("interrupted: {what}") } else { what };
    let mut complaint = Complaint::new(Exit::Failed, what);
    for (server, trouble) in troubled {
        for sentence in trouble.sentences() {
            complaint = complaint.fact(format!("{server}: {sentence}"));
        }
    }
    let was_undone = troubled.iter().any(|(_, own)| matches!(own, Trouble::Undone { .. }));
    match was_undone {
        _ if is_left => complaint.hint(
            "repeat the command: what is made already stays, and it goes on once the server has done what it \
             is at",
        ),
        true => complaint.hint(
            "see that the key and the address that you come with are among `admins` and `ssh_from` \
             of onward.toml, then repeat the command",
        ),
        false => complaint.hint("mend that, and repeat the command: what is made already stays"),
    }
}

impl From<MachineError> for Complaint {
    fn from(error: MachineError) -> Self {
        let complaint = Self::new(Exit::Refused, error.to_string()).nothing_changed();
        match error {
            MachineError::Silent { .. } => complaint.hint("`onward doctor` looks for the reason"),
            MachineError::Refused { .. } => {
                complaint.hint("`onward agent upgrade` brings an agent that knows how")
            }
            MachineError::Owned { .. } => complaint.hint(
                "take `harden`, `admins`, `open`, `packages` and the like out of this environment",
            ),
        }
    }
}

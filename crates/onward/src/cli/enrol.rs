//! Before a command works on servers behind SSH: they are reached, their host keys are confirmed,
//! and `up` puts onward on those that have none.

use onward_core::model::ServerName;
use serde_json::json;

use super::args::{Global, Verb};
use super::beginning::{self, Beginning};
use super::complaint::Complaint;
use super::context::Context;
use super::exit::Exit;
use super::fleet;
use super::lab;
use super::question;
use super::screen::Screen;
use super::ways::Ways;
use super::whereabouts;
use crate::project::wishes;
use crate::providers::ssh::{SshError, SshServer};

/// How often a person is asked about one server: it may show another key each time.
const QUESTIONS_MAX: usize = 3;

/// Whether a verb works without speaking to any server.
fn stays_here(verb: &Verb) -> bool {
    matches!(verb, Verb::Rehearse(_) | Verb::Bundle(_) | Verb::Ssh(_))
}

/// Whether a verb is likely to speak to every server.
fn speaks_to_all(verb: &Verb) -> bool {
    matches!(
        verb,
        Verb::Deploy(_)
            | Verb::Rollback(_)
            | Verb::Scale(_)
            | Verb::Move(_)
            | Verb::Maintenance(_)
            | Verb::Abort
            | Verb::Status
            | Verb::Logs(_)
            | Verb::Events(_)
            | Verb::Doctor
    )
}

/// Reaches the servers that a verb needs before anything else: all that the project file wishes for
/// `up`, the one that keeps the documents for the others.
///
/// # Errors
/// When one cannot be reached, or a host key is not confirmed.
pub fn ready(
    context: &Context,
    verb: &Verb,
    global: &Global,
    screen: &Screen,
) -> Result<(), Complaint> {
    let Some(ways) = context.ways() else { return Ok(()) };
    if stays_here(verb) {
        return Ok(());
    }
    if matches!(verb, Verb::Status) {
        ways.only_look();
    }
    if let Verb::Secret(verb) = verb
        && verb.can_wait()
    {
        match beginning::of(context, global)? {
            Beginning::Before => {
                context.waits();
                return Ok(());
            }
            // A state in a bucket needs no server.
            Beginning::Readable => return Ok(()),
            Beginning::Unknown => {}
        }
    }
    if let Some(lab) = ways.lab() {
        match verb {
            Verb::Up(_) => lab::up(lab, &context.resolved, ways, screen)?,
            Verb::Down(_) => return Ok(()),
            _ => {
                let is_up = lab::is_up(lab, context.environment(), ways.manager().name());
                if is_up.is_err() {
                    return otherwise(context, ways, verb, is_up);
                }
            }
        }
    }
    if speaks_to_all(verb) {
        ways.warm_up();
    }
    let without: &[_] = match verb {
        Verb::Up(args) => &args.release.without,
        _ => &[],
    };
    let installs = matches!(verb, Verb::Up(_));
    let servers: Vec<SshServer> = if installs {
        let wished = wishes::servers(&context.resolved).into_iter();
        let names = wished.map(|(name, _)| name).filter(|name| !without.contains(name));
        names.map(|name| ways.server(&name)).collect()
    } else {
        vec![ways.manager()]
    };
    let reached = reach(Some(ways), servers, installs, global, screen);
    match reached {
        Ok(()) => whereabouts::find(context),
        Err(complaint) if installs => Err(complaint),
        reached => otherwise(context, ways, verb, reached),
    }
}

/// The manager of the project file cannot be reached: perhaps the state was moved to another one.
fn otherwise(
    context: &Context,
    ways: &Ways,
    verb: &Verb,
    reached: Result<(), Complaint>,
) -> Result<(), Complaint> {
    let manager = ways.manager();
    if whereabouts::is_on_another(context) {
        return Ok(());
    }
    match verb {
        Verb::Replace(args) if args.server == *manager.name() => {
            reached.map_err(|complaint| is_lost(complaint, &args.server))
        }
        // It shows what is known without it.
        Verb::Status if ways.why_away().is_some() => Ok(()),
        _ => reached,
    }
}

/// The server that is to be replaced has the state, and cannot be reached.
fn is_lost(complaint: Complaint, manager: &ServerName) -> Complaint {
    complaint
        .fact(format!("{manager} is the manager: it keeps the state of the environment"))
        .hint(
            "when it is dead: give the role `manager` to another server in onward.toml, and \
             `onward state restore --from SERVER -y` brings the state back from its copy there",
        )
        .hint(format!("then `onward replace {manager}` goes on"))
}

/// Reaches one server, whose host key is confirmed when it is not known; puts onward on it when it has
/// none.
///
/// # Errors
/// When it cannot be reached, or its host key is not confirmed.
pub fn reach_one(server: &SshServer, global: &Global, screen: &Screen) -> Result<(), Complaint> {
    reach(None, vec![server.clone()], true, global, screen)
}

/// Connects to a server, whose host key is confirmed when it is not known; the inner error says why there
/// is no connection.
///
/// # Errors
/// When its host key is not confirmed.
pub fn known(server: &SshServer, global: &Global) -> Result<Result<(), SshError>, Complaint> {
    for _ in 0..QUESTIONS_MAX {
        match server.connect() {
            Err(SshError::UnknownKey { key, fingerprint }) => {
                confirm(server, &key, &fingerprint, global)?;
            }
            other => return Ok(other),
        }
    }
    Ok(server.connect())
}

fn reach(
    ways: Option<&Ways>,
    servers: Vec<SshServer>,
    installs: bool,
    global: &Global,
    screen: &Screen,
) -> Result<(), Complaint> {
    let mut left = servers;
    for _ in 0..=QUESTIONS_MAX {
        let results = fleet::on_each(&left, |server| {
            if !installs {
                return server.connect().map(|()| false);
            }
            match server.connect() {
                Err(SshError::Bare) => server.set_up().map(|()| true),
                other => other.map(|()| false),
            }
        });
        let mut again = Vec::new();
        let mut failed = None;
        for (server, result) in left.into_iter().zip(results) {
            match result {
                Ok(false) => {}
                Ok(true) => tell_installed(&server, screen),
                Err(SshError::UnknownKey { key, fingerprint }) => {
                    confirm(&server, &key, &fingerprint, global)?;
                    again.push(server);
                }
                Err(error) => {
                    failed.get_or_insert((server, error));
                }
            }
        }
        if let Some((server, error)) = failed {
            let manager = ways.map(Ways::manager);
            let manages = manager.is_none_or(|manager| server.name() == manager.name());
            if let Some(ways) = ways.filter(|_| manages && error.may_pass()) {
                ways.is_away(server.name(), &error);
            }
            return Err(complaint(&server, &error, manages, installs));
        }
        if again.is_empty() {
            return Ok(());
        }
        left = again;
    }
    let server = &left[0];
    let what = format!("server {} shows another host key each time", server.name());
    Err(Complaint::new(Exit::Refused, what).nothing_changed())
}

fn tell_installed(server: &SshServer, screen: &Screen) {
    let name = server.name();
    screen.event(&json!({"event": "installed", "server": name}));
    screen.note(&format!("  {name}: onward is put on {}", server.place()));
}

/// Asks whether a host key is the right one. Without somebody to ask, nothing is accepted: whoever
/// is between us and the server would be.
fn confirm(
    server: &SshServer,
    key: &str,
    fingerprint: &str,
    global: &Global,
) -> Result<(), Complaint> {
    if !question::can_ask(global) || !says_yes(server, key, fingerprint) {
        return Err(not_confirmed(server, key, fingerprint));
    }
    server.confirm(key).map_err(|error| {
        let what = format!("the host key of {} cannot be kept: {error}", server.name());
        Complaint::new(Exit::Failed, what)
    })
}

fn says_yes(server: &SshServer, key: &str, fingerprint: &str) -> bool {
    let kind = key.split(' ').next().unwrap_or_default();
    question::says_yes(&format!(
        "Server {} ({}) shows a host key that is not known here:\n  {kind} {fingerprint}\nOn the \
         server itself, `ssh-keygen -lf /etc/ssh/ssh_host_{}_key.pub` shows the right one.\nIs it \
         this one? (yes/no) ",
        server.name(),
        server.place(),
        file_word(kind)
    ))
}

/// How the file of a key of this kind is called.
fn file_word(kind: &str) -> &'static str {
    match kind {
        "ssh-rsa" => "rsa",
        kind if kind.starts_with("ecdsa") => "ecdsa",
        _ => "ed25519",
    }
}

fn not_confirmed(server: &SshServer, key: &str, fingerprint: &str) -> Complaint {
    let name = server.name();
    Complaint::new(
        Exit::Refused,
        format!("server {name} ({}) shows a host key that nobody has confirmed", server.place()),
    )
    .fact(format!("It is {fingerprint}"))
    .nothing_changed()
    .hint(format!(
        "compare it with the key on the server's own console, then write `host_key = \"{key}\"` to \
         {name} in onward.toml, or repeat the command in a terminal and confirm it"
    ))
}

/// The complaint about a server that a command needs. `manages`: whether it keeps the documents;
/// `installs`: whether the command puts onward on servers.
pub fn complaint(server: &SshServer, error: &SshError, manages: bool, installs: bool) -> Complaint {
    let (name, place) = (server.name(), server.place());
    let exit = match error {
        SshError::ChangedKey { .. } | SshError::UnknownKey { .. } | SshError::Bare => Exit::Refused,
        _ => Exit::Failed,
    };
    let complaint = Complaint::new(exit, format!("server {name} ({place}) {error}"));
    let complaint = match error {
        SshError::NotInstalled(_) => complaint.fact("What was running there goes on"),
        _ => complaint.nothing_changed(),
    };
    let complaint = match error {
        SshError::ChangedKey { .. } => complaint
            .fact("Somebody may be between you and it, or it was set up anew")
            .hint(format!(
                "when it was set up anew, write its new `host_key` to {name} in onward.toml; \
                 `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on its own console shows the \
                 fingerprint"
            )),
        SshError::Bare => complaint.hint("`onward up` puts onward on it"),
        SshError::Refused { .. } | SshError::Silent { .. } => complaint
            .hint(format!("`ssh {}` has to work without asking anything", ssh_words(server))),
        SshError::NoSudo { user } => complaint.hint(format!(
            "let {user} use sudo without a password (`echo '{user} ALL=(ALL) NOPASSWD: ALL' > \
             /etc/sudoers.d/{user}`, as root there), or set `user = \"root\"`"
        )),
        SshError::NoAgent(_) => complaint.hint(
            "`systemctl status onward-agent` and `journalctl -u onward-agent` there tell why",
        ),
        SshError::NotInstalled(_) => complaint.hint("mend that, and repeat the command"),
        SshError::NoSsh(_) => complaint.hint("install the OpenSSH client"),
        SshError::Unsuitable(_) | SshError::UnknownKey { .. } | SshError::Here(_) => complaint,
    };
    let others = installs && !manages && error.may_pass();
    if others {
        complaint.hint(format!("`onward up --without {name}` goes on with the others"))
    } else {
        complaint
    }
}

/// What a person types behind `ssh` to try it by hand.
fn ssh_words(server: &SshServer) -> String {
    match server.reach().port {
        Some(port) => format!("-p {port} {}", server.place()),
        None => server.place(),
    }
}

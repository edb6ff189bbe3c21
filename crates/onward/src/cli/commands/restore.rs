//! `onward state restore`: a state that is lost, from a copy.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use onward_core::document::{Document, InvalidDocument};
use onward_core::model::{AppName, Digest, EnvironmentName, Generation, ServerName, WriteId};
use onward_core::ports::StateStore;
use onward_server::client::Client;

use super::state;
use crate::cli::args::Global;
use crate::cli::complaint::{self, Complaint};
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::fleet;
use crate::cli::outcome;
use crate::cli::screen::Screen;
use crate::runner;

/// The program of a server.
const PROGRAM: &str = "/var/lib/onward/bin/current";

/// Why a state is not brought back.
#[derive(Debug, thiserror::Error)]
enum NotRestored {
    /// It is there.
    #[error("nothing is lost: the state is there, at generation {0}")]
    NotLost(Generation),
    /// No server has a copy, and none has followed one.
    #[error("no copy of the state was found on {0}")]
    NoCopy(String),
    /// No server has a copy, and one has followed a document: a first one would be refused there.
    #[error(
        "no copy of the state was found on {asked}, and server {server} has followed generation \
         {generation} of it"
    )]
    NoCopyOf {
        /// Who was asked for one.
        asked: String,
        /// Who has followed.
        server: ServerName,
        /// What.
        generation: Generation,
        /// What takes the app off a server behind SSH, as it is typed.
        off: Option<String>,
    },
    /// A document of another app or environment.
    #[error("this is the state of {found}, not of {wanted}")]
    OtherState { found: String, wanted: String },
    /// A saved document that is none.
    #[error("{} is not a state document: {reason}", path.display())]
    NotADocument { path: PathBuf, reason: InvalidDocument },
    /// Nobody said yes.
    #[error("bringing the state back needs a yes")]
    NeedsYes,
}

impl From<NotRestored> for Complaint {
    fn from(reason: NotRestored) -> Self {
        const FILE: &str = "`onward state restore FILE` takes a document that you saved";
        let (exit, hint) = match &reason {
            NotRestored::NotLost(_) => {
                (Exit::Refused, "`onward state undo` goes back to what was demanded before")
            }
            NotRestored::NoCopy(_) => (
                Exit::Refused,
                "`onward state restore FILE` takes a document that you saved; `onward up` begins \
                 with the first one",
            ),
            NotRestored::NoCopyOf { off, .. } => {
                let complaint = Self::new(Exit::Refused, reason.to_string())
                    .fact("What serves goes on, and a first document would be refused there")
                    .nothing_changed()
                    .hint(FILE);
                return match off {
                    None => complaint,
                    Some(off) => complaint.hint(format!(
                        "is there none? Take the app off each server, which ends what serves (`{off}`); \
                         `onward up` begins anew then"
                    )),
                };
            }
            NotRestored::OtherState { .. } => {
                (Exit::Usage, "`-e ENV` and `-C DIR` name another environment or project")
            }
            NotRestored::NotADocument { .. } => (Exit::Usage, "`onward state show` prints one"),
            NotRestored::NeedsYes => (Exit::Refused, "`onward state restore -y` does it"),
        };
        Self::new(exit, reason.to_string()).hint(hint)
    }
}

/// A copy, and where it is from.
struct Copy {
    document: Document,
    place: String,
    /// The highest generation that a server has followed; the copy may be older.
    followed: Generation,
}

/// Writes a lost state anew, above every generation that a server has followed, and makes true
/// what it demands.
pub fn run(
    context: &Context,
    from: Option<&ServerName>,
    file: Option<&Path>,
    global: &Global,
    screen: &Screen,
) -> Result<Exit, Complaint> {
    let store = context.store();
    if let Some(stored) = store.read()? {
        return Err(NotRestored::NotLost(stored.document.generation).into());
    }
    let copy = match file {
        Some(path) => saved(context, path)?,
        None => newest(context, from)?,
    };
    must_be_of(context, &copy.document)?;
    tell(&copy, screen);
    if !global.yes {
        return Err(NotRestored::NeedsYes.into());
    }
    state::written(store.write(None, &Arc::new(restored(&copy))))?;
    state::follow(context, screen)
}

/// The document that is written: the copy, under a generation that every server obeys.
fn restored(copy: &Copy) -> Document {
    let mut document = copy.document.clone();
    document.parent = Some(Digest::of(&document.encode()));
    document.generation = document.generation.max(copy.followed).next();
    document.write_id = WriteId::new(&format!("restore-{}", runner::fresh()));
    document.written = Timestamp::now();
    document
}

fn saved(context: &Context, path: &Path) -> Result<Copy, Complaint> {
    let bytes = fs::read(path).map_err(|error| complaint::system(path, error))?;
    let document = Document::decode(&bytes)
        .map_err(|reason| NotRestored::NotADocument { path: path.to_owned(), reason })?;
    let followed = agents(context)?.iter_mut().map(|(_, agent)| followed(context, agent)).max();
    let place = path.display().to_string();
    Ok(Copy { document, place, followed: followed.unwrap_or_default() })
}

fn newest(context: &Context, from: Option<&ServerName>) -> Result<Copy, Complaint> {
    let mut best: Option<Copy> = None;
    let mut highest: Option<(Generation, ServerName)> = None;
    let mut asked = Vec::new();
    for (name, mut agent) in agents(context)? {
        highest = highest.max(Some((followed(context, &mut agent), name.clone())));
        if from.is_some_and(|wanted| *wanted != name) {
            continue;
        }
        asked.push(name.to_string());
        let copy = agent.copy(context.app(), context.environment())?;
        let newer = |copy: &Document| {
            best.as_ref().is_none_or(|best| best.document.generation < copy.generation)
        };
        if let Some(document) = copy.filter(newer) {
            let place = format!("the copy on {name}");
            best = Some(Copy { document, place, followed: Generation::default() });
        }
    }
    let name = from.map_or_else(|| asked.join(", "), ToString::to_string);
    let best = best.ok_or_else(|| no_copy(context, name, highest.clone()))?;
    let followed = highest.map(|(generation, _)| generation).unwrap_or_default();
    Ok(Copy { followed, ..best })
}

fn no_copy(
    context: &Context,
    asked: String,
    highest: Option<(Generation, ServerName)>,
) -> NotRestored {
    match highest.filter(|(generation, _)| *generation > Generation::default()) {
        None => NotRestored::NoCopy(asked),
        Some((generation, server)) => {
            let (app, environment) = (context.app(), context.environment());
            let off = taken_off(&server, app, environment);
            let off = context.ways().map(|_| off);
            NotRestored::NoCopyOf { asked, server, generation, off }
        }
    }
}

/// What is typed to take the app off a server behind SSH.
fn taken_off(server: &ServerName, app: &AppName, environment: &EnvironmentName) -> String {
    format!("onward ssh {server} -- {PROGRAM} agent remove --app {app} --of {environment}")
}

/// The agents that can be reached. A server that cannot has no say.
fn agents(context: &Context) -> Result<Vec<(ServerName, Client)>, Complaint> {
    context.prepare()?;
    let servers = fleet::known(context);
    let agents = fleet::agents(&servers);
    if let ([only], [Err(error)]) = (&servers[..], &agents[..]) {
        return Err(fleet::complaint(only, error));
    }
    let reached = servers.iter().zip(agents);
    Ok(reached.filter_map(|(server, agent)| Some((server.name().clone(), agent.ok()?))).collect())
}

fn followed(context: &Context, agent: &mut Client) -> Generation {
    let seen = agent.report(context.app(), context.environment(), None, 0);
    seen.map(|seen| seen.report.accepted).unwrap_or_default()
}

fn must_be_of(context: &Context, document: &Document) -> Result<(), Complaint> {
    if document.app == *context.app() && document.environment == *context.environment() {
        return Ok(());
    }
    let found = format!("{} in {}", document.app, document.environment);
    let wanted = format!("{} in {}", context.app(), context.environment());
    Err(NotRestored::OtherState { found, wanted }.into())
}

fn tell(copy: &Copy, screen: &Screen) {
    let document = &copy.document;
    screen.line(&format!(
        "{}: generation {} of {}; {}",
        outcome::capitalised(&copy.place),
        document.generation,
        document.written.strftime("%Y-%m-%d %H:%M:%SZ"),
        outcome::serves(document, None)
    ));
    if copy.followed > document.generation {
        screen.warn(&format!(
            "the servers have followed generation {}, which no copy has: what it changed is taken \
             back to what generation {} demands",
            copy.followed, document.generation
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_any_copy_it_says_what_begins_anew_and_what_does_not() {
        let asked = "front, web".to_owned();
        let none = Complaint::from(NotRestored::NoCopy(asked.clone()));
        insta::assert_snapshot!(none.text());
        let server = "web".parse().unwrap();
        let (app, environment) = ("shop".parse().unwrap(), "production".parse().unwrap());
        let off = Some(taken_off(&server, &app, &environment));
        let generation = Generation(12);
        let of = NotRestored::NoCopyOf { asked, server, generation, off };
        insta::assert_snapshot!(Complaint::from(of).text());
    }
}

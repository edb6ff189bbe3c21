//! `onward state …`: the truth, to be read and changed.

use std::fs;
use std::io::IsTerminal;
use std::process::Command;

use onward_core::document::Document;
use onward_core::engine::Refusal;
use onward_core::model::{Generation, WriteId};
use onward_core::outcome::Outcome;
use onward_core::ports::{StateStore, Stored, WriteRefused};
use onward_store::state::{Difference, Documents};
use serde_json::json;
use similar::TextDiff;

use super::restore;
use crate::cli::args::{Global, StateVerb};
use crate::cli::caret;
use crate::cli::carry;
use crate::cli::complaint::{self, Complaint};
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::interrupt;
use crate::cli::operator;
use crate::cli::outcome;
use crate::cli::problem::Problem;
use crate::cli::reading;
use crate::cli::screen::Screen;
use crate::runner;

/// Does what the verb says.
pub fn run(
    context: &Context,
    verb: &StateVerb,
    global: &Global,
    screen: &Screen,
) -> Result<Exit, Complaint> {
    let store = context.store();
    match verb {
        StateVerb::Show { generation } => show(context, &store, generation.map(Generation), screen),
        StateVerb::Log { count } => log(&store, *count, screen),
        StateVerb::Diff { from, to } => {
            diff(&store, from.map(Generation), to.map(Generation), screen)
        }
        StateVerb::Edit => edit(context, &store, global, screen),
        StateVerb::Undo { to } => undo(context, &store, to.map(Generation), screen),
        StateVerb::Accept => accept(context, &store, global, screen),
        StateVerb::Move { .. } => Err(Problem::Bug("a move came here").into()),
        StateVerb::Restore { from, file } => {
            restore::run(context, from.as_ref(), file.as_deref(), global, screen)
        }
    }
}

/// The document of a generation, else the current one.
fn find(store: &Documents, generation: Option<Generation>) -> Result<Stored, Complaint> {
    match generation {
        Some(number) => Ok(store.read_generation(number)?.ok_or(Problem::NoGeneration(number))?),
        None => Ok(store.read()?.ok_or(Refusal::NothingReleased)?),
    }
}

fn text(stored: &Stored) -> String {
    String::from_utf8_lossy(&stored.document.encode()).into_owned()
}

/// Prints a generation; of a damaged file the last good one.
fn show(
    context: &Context,
    store: &Documents,
    generation: Option<Generation>,
    screen: &Screen,
) -> Result<Exit, Complaint> {
    let stored = match generation {
        Some(_) => find(store, generation)?,
        None => reading::read(context, screen)?.ok_or(Refusal::NothingReleased)?.stored,
    };
    let value = serde_json::to_value(&*stored.document).unwrap_or_default();
    screen.document(&value);
    screen.line(text(&stored).trim_end());
    Ok(Exit::Done)
}

fn log(store: &Documents, count: usize, screen: &Screen) -> Result<Exit, Complaint> {
    let generations = store.generations()?;
    let mut lines = Vec::new();
    for generation in generations.iter().rev().take(count) {
        let Some(stored) = store.read_generation(*generation)? else { continue };
        let document = &*stored.document;
        let what = outcome::step(document);
        let by = document.write_id.as_str();
        let edited = if by.starts_with("edit-") { "edited by hand; " } else { "" };
        screen.line(&format!(
            "{:>5}  {}  {edited}{what}; serving {}",
            generation,
            document.written.strftime("%Y-%m-%d %H:%M:%SZ"),
            document.serving.map_or_else(|| "nothing".to_owned(), |number| number.to_string()),
        ));
        lines.push(json!({
            "generation": generation,
            "written": document.written,
            "write_id": by,
            "what": what,
            "serving": document.serving,
        }));
    }
    screen.document(&json!(lines));
    Ok(Exit::Done)
}

fn unified(old: &str, new: &str, old_name: &str, new_name: &str) -> String {
    TextDiff::from_lines(old, new).unified_diff().header(old_name, new_name).to_string()
}

fn difference_text(difference: &Difference) -> String {
    let good = String::from_utf8_lossy(&difference.good_bytes).into_owned();
    let found = difference.found.as_deref().unwrap_or_default();
    let name = format!("generation {}", difference.good.document.generation);
    unified(&good, &String::from_utf8_lossy(found), &name, "state.json")
}

fn diff(
    store: &Documents,
    from: Option<Generation>,
    to: Option<Generation>,
    screen: &Screen,
) -> Result<Exit, Complaint> {
    if from.is_none()
        && to.is_none()
        && let Some(difference) = store.difference()?
    {
        let text = difference_text(&difference);
        screen.document(&json!({"reason": difference.reason, "diff": text}));
        screen.line(&difference.reason);
        screen.line(text.trim_end());
        return Ok(Exit::Done);
    }
    let new = find(store, to)?;
    let last = new.document.generation;
    let from = from.unwrap_or(Generation(last.0.saturating_sub(1)));
    let old = if from.0 == 0 { String::new() } else { text(&find(store, Some(from))?) };
    let text =
        unified(&old, &text(&new), &format!("generation {from}"), &format!("generation {last}"));
    screen.document(&json!({"from": from, "to": last, "diff": text}));
    screen.line(text.trim_end());
    Ok(Exit::Done)
}

fn edit(
    context: &Context,
    store: &Documents,
    global: &Global,
    screen: &Screen,
) -> Result<Exit, Complaint> {
    let stored = find(store, None)?;
    let editor = editor(global)?;
    let kept = context.local.root().join(format!("edit-{}.json", runner::fresh()));
    fs::write(&kept, text(&stored)).map_err(|error| complaint::system(&kept, error))?;
    let status = Command::new("sh")
        .args(["-c", &format!("{editor} \"$1\""), "sh"])
        .arg(&kept)
        .env_remove(operator::VARIABLE)
        .status()
        .map_err(|error| complaint::system(&kept, error))?;
    if !status.success() {
        let status = status.code().map_or_else(|| status.to_string(), |c| format!("status {c}"));
        return Err(Problem::EditorFailed { editor, status, kept }.into());
    }
    let bytes = fs::read(&kept).map_err(|error| complaint::system(&kept, error))?;
    let mut next = match Document::decode(&bytes) {
        Ok(next) => next,
        Err(reason) => {
            let place = caret::draw(&bytes, &reason);
            return Err(Problem::EditInvalid { reason, place, kept }.into());
        }
    };
    next.generation = stored.document.generation;
    if next == *stored.document {
        let _ = fs::remove_file(&kept);
        screen.success("Nothing was changed");
        screen.finished(true, json!({"outcome": "unchanged"}));
        return Ok(Exit::Done);
    }
    write(store, &stored, next, "edit").map_err(|reason| match reason {
        NotWritten::Conflict => Problem::EditConflict { kept: kept.clone() }.into(),
        NotWritten::Other(complaint) => {
            complaint.fact(format!("Your text is kept in {}", kept.display()))
        }
    })?;
    let _ = fs::remove_file(&kept);
    follow(context, screen)
}

/// The command of the person's editor. Without a terminal only one that is named: it may be a
/// script.
fn editor(global: &Global) -> Result<String, Complaint> {
    let named = ["VISUAL", "EDITOR"].into_iter().find_map(|name| std::env::var(name).ok());
    let named = named.filter(|editor| !editor.trim().is_empty());
    if global.no_input || global.json || (named.is_none() && !std::io::stdin().is_terminal()) {
        return Err(Problem::EditNeedsEditor.into());
    }
    Ok(named.unwrap_or_else(|| "vi".to_owned()))
}

/// Why a document was not written.
pub(super) enum NotWritten {
    /// Something else was written since it was read.
    Conflict,
    /// Everything else.
    Other(Complaint),
}

impl From<NotWritten> for Complaint {
    fn from(reason: NotWritten) -> Self {
        match reason {
            NotWritten::Conflict => Problem::Conflict.into(),
            NotWritten::Other(complaint) => complaint,
        }
    }
}

/// Makes `next` the generation after `stored`.
fn write(
    store: &Documents,
    stored: &Stored,
    mut next: Document,
    word: &str,
) -> Result<(), NotWritten> {
    let id = WriteId::new(&format!("{word}-{}", runner::fresh()));
    let expected = next.follow(Some(stored), id, jiff::Timestamp::now());
    written(store.write(expected, &std::sync::Arc::new(next)))
}

pub(super) fn written(outcome: Outcome<Stored, WriteRefused>) -> Result<(), NotWritten> {
    match outcome {
        Outcome::Done(_) => Ok(()),
        Outcome::Refused(WriteRefused::Store(error)) => Err(NotWritten::Other(error.into())),
        Outcome::Refused(WriteRefused::Conflict) => Err(NotWritten::Conflict),
        Outcome::Unknown(cause) => Err(NotWritten::Other(Problem::WriteUnknown(cause).into())),
    }
}

/// The demand of an earlier generation becomes the demand; of a damaged file the last good
/// generation comes back.
fn undo(
    context: &Context,
    store: &Documents,
    to: Option<Generation>,
    screen: &Screen,
) -> Result<Exit, Complaint> {
    if let Some(difference) = store.difference()? {
        let good = (*difference.good.document).clone();
        written(store.settle(
            &difference.good,
            good,
            WriteId::new(&format!("undo-{}", runner::fresh())),
        ))?;
        screen.note(&format!("  generation {} is back", difference.good.document.generation));
        return follow(context, screen);
    }
    let stored = find(store, None)?;
    let earlier = match to {
        Some(number) => find(store, Some(number))?,
        None => before_last_change(store, &stored)?,
    };
    let mut next = (*stored.document).clone();
    let release = earlier.document.demand.release;
    if let Some(number) = release.filter(|number| !next.releases.contains_key(number)) {
        let generation = earlier.document.generation;
        return Err(Problem::UndoGone { generation, release: number }.into());
    }
    next.demand.release = release;
    if next.demand == stored.document.demand {
        screen.success("Nothing to undo: the demand is the same");
        screen.finished(true, json!({"outcome": "unchanged"}));
        return Ok(Exit::Done);
    }
    write(store, &stored, next, "undo")?;
    follow(context, screen)
}

/// The last generation whose demand differs from the current one.
fn before_last_change(store: &Documents, current: &Stored) -> Result<Stored, Complaint> {
    for generation in store.generations()?.into_iter().rev() {
        if let Some(stored) = store.read_generation(generation)?
            && stored.document.demand != current.document.demand
            && stored.document.operation.is_none()
        {
            return Ok(stored);
        }
    }
    Err(Problem::NothingToUndo.into())
}

/// Takes a file that onward did not write, after showing how it differs.
fn accept(
    context: &Context,
    store: &Documents,
    global: &Global,
    screen: &Screen,
) -> Result<Exit, Complaint> {
    let Some(difference) = store.difference()? else {
        return Err(Problem::NothingToAccept.into());
    };
    let found = difference.found.as_deref().ok_or(Problem::AcceptMissing)?;
    let document = Document::decode(found).map_err(|reason| {
        let place = caret::draw(found, &reason);
        Problem::AcceptInvalid { reason, place }
    })?;
    screen.line(difference_text(&difference).trim_end());
    if !global.yes {
        return Err(Problem::AcceptNeedsYes.into());
    }
    let id = WriteId::new(&format!("accept-{}", runner::fresh()));
    written(store.settle(&difference.good, document, id))?;
    follow(context, screen)
}

/// Carries out what the changed state demands.
pub(super) fn follow(context: &Context, screen: &Screen) -> Result<Exit, Complaint> {
    carry::follow(context, screen, &interrupt::watch(), |document| {
        let url = carry::url(context);
        screen.success(&outcome::capitalised(&outcome::serves(document, url.as_deref())));
        screen.finished(true, json!({"outcome": "done", "generation": document.generation}));
        Ok(Exit::Done)
    })
}

//! `onward state …`: the truth, to be read and changed.

use std::fs;
use std::process::Command;

use onward_core::document::Document;
use onward_core::model::{Generation, WriteId};
use onward_core::outcome::Outcome;
use onward_core::ports::{StateStore, Stored, WriteRefused};
use onward_store::state::{Difference, DirectoryStore};
use serde_json::json;
use similar::TextDiff;

use crate::cli::args::{Global, StateVerb};
use crate::cli::carry;
use crate::cli::complaint::{self, Complaint};
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::interrupt;
use crate::cli::outcome;
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
        StateVerb::Show { generation } => show(&store, generation.map(Generation), screen),
        StateVerb::Log { count } => log(&store, *count, screen),
        StateVerb::Diff { from, to } => {
            diff(&store, from.map(Generation), to.map(Generation), screen)
        }
        StateVerb::Edit => edit(context, &store, global, screen),
        StateVerb::Undo { to } => undo(context, &store, to.map(Generation), screen),
        StateVerb::Accept => accept(context, &store, global, screen),
    }
}

fn nothing_here() -> Complaint {
    Complaint::new(Exit::Refused, "there is no state yet").hint("`onward up` makes the first")
}

/// The document of a generation, else the current one; of a damaged file the last good one.
fn find(store: &DirectoryStore, generation: Option<Generation>) -> Result<Stored, Complaint> {
    match generation {
        Some(number) => store.read_generation(number)?.ok_or_else(|| {
            Complaint::new(Exit::Usage, format!("there is no generation {number}"))
                .hint("`onward state log` lists them")
        }),
        None => store.read()?.ok_or_else(nothing_here),
    }
}

fn text(stored: &Stored) -> String {
    String::from_utf8_lossy(&stored.document.encode()).into_owned()
}

fn show(
    store: &DirectoryStore,
    generation: Option<Generation>,
    screen: &Screen,
) -> Result<Exit, Complaint> {
    let stored = find(store, generation)?;
    let value = serde_json::to_value(&*stored.document).unwrap_or_default();
    screen.document(&value);
    screen.line(text(&stored).trim_end());
    Ok(Exit::Done)
}

fn log(store: &DirectoryStore, count: usize, screen: &Screen) -> Result<Exit, Complaint> {
    let generations = store.generations()?;
    let mut lines = Vec::new();
    for generation in generations.iter().rev().take(count) {
        let Some(stored) = store.read_generation(*generation)? else { continue };
        let document = &*stored.document;
        let what = match (&document.operation, document.history.last()) {
            (Some(operation), _) => format!(
                "operation {} ({}): {}",
                operation.number,
                operation.kind.word(),
                operation.phase.title()
            ),
            (None, Some(last)) => format!("operation {} ended", last.number),
            (None, None) => "first".to_owned(),
        };
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
    store: &DirectoryStore,
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
    store: &DirectoryStore,
    global: &Global,
    screen: &Screen,
) -> Result<Exit, Complaint> {
    let stored = find(store, None)?;
    if global.no_input || global.json {
        return Err(Complaint::new(Exit::Refused, "editing needs an editor")
            .hint("edit state.json yourself and raise `generation` by one, or use `state undo`"));
    }
    let copy = context.local.root().join(format!("edit-{}.json", runner::fresh()));
    fs::write(&copy, text(&stored)).map_err(|error| complaint::system(&copy, &error))?;
    let editor = std::env::var("VISUAL").or_else(|_| std::env::var("EDITOR"));
    let editor = editor.unwrap_or_else(|_| "vi".to_owned());
    let status = Command::new("sh")
        .args(["-c", &format!("{editor} \"$1\""), "sh"])
        .arg(&copy)
        .status()
        .map_err(|error| complaint::system(&copy, &error))?;
    if !status.success() {
        let what = format!("the editor ({editor}) ended with {status}; nothing was changed");
        return Err(Complaint::new(Exit::Failed, what)
            .fact(format!("Your text is kept in {}", copy.display())));
    }
    let bytes = fs::read(&copy).map_err(|error| complaint::system(&copy, &error))?;
    let kept =
        |complaint: Complaint| complaint.fact(format!("Your text is kept in {}", copy.display()));
    let mut next = Document::decode(&bytes).map_err(|error| {
        kept(Complaint::new(Exit::Usage, format!("the edited state is invalid: {error}")))
    })?;
    next.generation = stored.document.generation;
    if next == *stored.document {
        let _ = fs::remove_file(&copy);
        screen.success("Nothing was changed");
        return Ok(Exit::Done);
    }
    write(store, &stored, next, "edit").map_err(kept)?;
    let _ = fs::remove_file(&copy);
    follow(context, screen)
}

/// Makes `next` the generation after `stored`.
fn write(
    store: &DirectoryStore,
    stored: &Stored,
    mut next: Document,
    word: &str,
) -> Result<(), Complaint> {
    next.generation = stored.document.generation.next();
    next.parent = Some(stored.digest);
    next.write_id = WriteId::new(&format!("{word}-{}", runner::fresh()));
    next.written = jiff::Timestamp::now();
    let expected = Some(stored.document.generation);
    written(store.write(expected, &std::sync::Arc::new(next)))
}

fn written(outcome: Outcome<Stored, WriteRefused>) -> Result<(), Complaint> {
    match outcome {
        Outcome::Done(_) => Ok(()),
        Outcome::Refused(WriteRefused::Store(error)) => Err(error.into()),
        Outcome::Refused(WriteRefused::Conflict) => {
            Err(Complaint::new(Exit::Refused, "the state was changed meanwhile")
                .hint("look at it again with `onward state show`"))
        }
        Outcome::Unknown(cause) => Err(Complaint::new(
            Exit::Failed,
            format!("it is not known whether it was written: {cause}"),
        )
        .hint("`onward state log` shows whether it was")),
    }
}

/// The demand of an earlier generation becomes the demand; of a damaged file the last good
/// generation comes back.
fn undo(
    context: &Context,
    store: &DirectoryStore,
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
        let from = earlier.document.generation;
        let what = format!("generation {from} demands release {number}, which can no longer run");
        return Err(Complaint::new(Exit::Refused, what).hint("`onward history` lists what can run"));
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
fn before_last_change(store: &DirectoryStore, current: &Stored) -> Result<Stored, Complaint> {
    for generation in store.generations()?.into_iter().rev() {
        if let Some(stored) = store.read_generation(generation)?
            && stored.document.demand != current.document.demand
            && stored.document.operation.is_none()
        {
            return Ok(stored);
        }
    }
    Err(Complaint::new(Exit::Refused, "there is nothing to undo"))
}

/// Takes a file that onward did not write, after showing how it differs.
fn accept(
    context: &Context,
    store: &DirectoryStore,
    global: &Global,
    screen: &Screen,
) -> Result<Exit, Complaint> {
    let Some(difference) = store.difference()? else {
        return Err(Complaint::new(Exit::Refused, "the state file is what onward wrote"));
    };
    let found = difference.found.as_deref().ok_or_else(|| {
        Complaint::new(Exit::Refused, "the state file is missing")
            .hint("`onward state undo` puts the last good generation back")
    })?;
    let document = Document::decode(found).map_err(|error| {
        Complaint::new(Exit::Usage, format!("the state file cannot be taken: {error}"))
            .hint("correct it, or put the last good generation back with `onward state undo`")
    })?;
    screen.line(difference_text(&difference).trim_end());
    if !global.yes {
        return Err(Complaint::new(Exit::Refused, "taking this difference needs a yes")
            .hint("`onward state accept -y` takes it"));
    }
    let id = WriteId::new(&format!("accept-{}", runner::fresh()));
    written(store.settle(&difference.good, document, id))?;
    follow(context, screen)
}

/// Carries out what the changed state demands.
fn follow(context: &Context, screen: &Screen) -> Result<Exit, Complaint> {
    let interrupts = interrupt::watch();
    let before = context.store().read()?.map(|stored| stored.document.last_operation);
    carry::carry_on(context, screen, &interrupts)?;
    let Some(stored) = context.store().read()? else { return Err(nothing_here()) };
    let document = &*stored.document;
    if Some(document.last_operation) != before {
        return carry::conclude(context, document, document.last_operation, screen);
    }
    let url = carry::url(context);
    screen.success(&outcome::capitalised(&outcome::serves(document, url.as_deref())));
    screen.finished(true, json!({"outcome": "done", "generation": document.generation}));
    Ok(Exit::Done)
}

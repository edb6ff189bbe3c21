//! `onward scale`: other counts of processes, with the release that serves.

use std::collections::BTreeMap;

use onward_core::document::Document;
use onward_core::engine::{Ask, Refusal};
use onward_core::model::ProcessName;
use serde_json::json;

use crate::cli::args_scale::{Count, ScaleArgs};
use crate::cli::carry::{self, Came, Terms};
use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::interrupt;
use crate::cli::problem::Problem;
use crate::cli::scaled;
use crate::cli::screen::Screen;

/// Runs as many instances as asked, spread over the servers that run the process.
pub fn run(context: &Context, args: &ScaleArgs, screen: &Screen) -> Result<Exit, Complaint> {
    let counts = counts(&args.counts)?;
    screen.note(&context.title());
    let Some(stored) = context.look()? else {
        return Err(Refusal::NothingReleased.into());
    };
    if stored.document.is_down() {
        return Err(Problem::IsDown { environment: context.environment().clone() }.into());
    }
    let interrupts = interrupt::watch();
    let ask = Ask::Scale { counts: counts.clone() };
    match carry::submit(context, ask, Terms::default(), screen, &interrupts)? {
        Came::Ended(document, number) => {
            let exit = carry::conclude(context, &document, number, screen)?;
            remind(&document, screen);
            Ok(exit)
        }
        Came::Unchanged => carry::follow(context, screen, &interrupts, |document| {
            let texts = counts.iter().map(|(name, count)| format!("{name}={count}"));
            let texts = texts.collect::<Vec<_>>().join(", ");
            screen.success(&format!("Nothing changed: {texts} runs already"));
            let fields = json!({"outcome": "unchanged", "release": document.serving});
            screen.finished(true, fields);
            Ok(Exit::Done)
        }),
        Came::NothingHere => Err(Refusal::NothingReleased.into()),
    }
}

/// A process that is named twice has two counts.
fn counts(given: &[Count]) -> Result<BTreeMap<ProcessName, u32>, Complaint> {
    let mut counts = BTreeMap::new();
    for Count { process, count } in given {
        if counts.insert(process.clone(), *count).is_some_and(|before| before != *count) {
            let text = format!("`{process}` is given two counts");
            return Err(Complaint::new(Exit::Usage, text).hint("give each process one count"));
        }
    }
    Ok(counts)
}

/// What stays different from the file is said once more, with the way back.
fn remind(document: &Document, screen: &Screen) {
    for own in scaled::overrides(document) {
        let text = own.text();
        screen.note(&format!("  scaled by hand: {text}; `onward up --reset` takes the file's"));
    }
}

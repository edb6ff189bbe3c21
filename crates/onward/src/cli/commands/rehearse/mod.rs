//! `onward rehearse`: the project's own operations in the simulator, with faults.
//!
//! It touches nothing: no server, no state, no agent. The engine, the runner and the agents' rules
//! are the shipped ones; only the world around them is made.

mod cause;
mod summary;
mod tally;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use onward_testkit::sim::Trace;
use onward_testkit::sim::rehearse::{Rehearsal, Story};
use serde_json::json;

use tally::Tally;

use crate::cli::args::RehearseArgs;
use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::fleet;
use crate::cli::interrupt::{self, Interrupts};
use crate::cli::screen::Screen;
use crate::project::wishes;

/// How many stories a thread tells before it looks whether the person has had enough.
const BATCH: usize = 64;

/// Rehearses the project, or tells one story of it line by line.
pub fn run(
    context: &Context,
    arguments: &RehearseArgs,
    screen: &Screen,
) -> Result<Exit, Complaint> {
    let config = wishes::config(&context.resolved, &[]);
    let servers = fleet::imagined(context);
    let rehearsal = Rehearsal::new(&config, &servers)
        .map_err(|error| Complaint::new(Exit::Refused, error.to_string()))?;
    if let Some(story) = &arguments.story {
        return tell(&rehearsal, story, screen);
    }
    screen.line(&context.title());
    let stories = rehearsal.stories(arguments.runs);
    let interrupts = interrupt::watch();
    let tally = all(&rehearsal, &stories, &interrupts);
    let took = screen.began().elapsed();
    summary::tell(&config, &servers, &tally, took, screen);
    screen.document(&summary::as_json(&tally, took));
    Ok(if tally.broken.is_empty() { Exit::Done } else { Exit::Bug })
}

/// Tells the stories on all processors, until the person has had enough.
fn all(rehearsal: &Rehearsal, stories: &[Story], interrupts: &Interrupts) -> Tally {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut own = Tally::default();
                while interrupts.count() == 0 {
                    let from = next.fetch_add(BATCH, Ordering::Relaxed);
                    let Some(batch) = stories.get(from..(from + BATCH).min(stories.len())) else {
                        break;
                    };
                    for story in batch {
                        own.add(story, rehearsal.tell(story, false));
                    }
                }
                tally.lock().unwrap_or_else(PoisonError::into_inner).merge(own);
            });
        }
    });
    tally.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn tell(rehearsal: &Rehearsal, story: &Story, screen: &Screen) -> Result<Exit, Complaint> {
    let told = rehearsal.tell(story, true);
    screen.line(&format!("In the simulator, with shortened times: {story}"));
    screen.line(Trace::HEAD);
    for line in told.trace.lines() {
        screen.line(line.to_string().trim_end());
    }
    let mut ends = vec![summary::then(told.then).to_owned()];
    ends.extend(told.reason.clone());
    screen.line(&ends.join(": "));
    if let Some(violation) = &told.violation {
        screen.line(&format!("A bug of onward: {violation}"));
    }
    let lines: Vec<_> = told.trace.lines().iter().map(ToString::to_string).collect();
    screen.document(&json!({
        "story": story.to_string(),
        "then": summary::then(told.then),
        "reason": told.reason,
        "dark": Duration::from_millis(told.dark_ms).as_secs_f64(),
        "violation": told.violation.as_ref().map(ToString::to_string),
        "lines": lines,
    }));
    Ok(if told.violation.is_none() { Exit::Done } else { Exit::Bug })
}

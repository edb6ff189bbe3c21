//! What came of a rehearsal, for people and as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use onward_core::document::Server;
use onward_core::model::{Config, ServerName};
use onward_testkit::sim::rehearse::{Act, Then};
use serde_json::{Value, json};

use super::cause::{Cause, When};
use super::tally::{Count, Tally};
use crate::cli::numbers::{self, grouped};
use crate::cli::screen::Screen;
use crate::cli::table::Table;

/// What came of an operation, in words.
pub const fn then(then: Then) -> &'static str {
    match then {
        Then::Done => "done",
        Then::TakenBack => "taken back",
        Then::NothingChanged => "nothing changed",
    }
}

const fn title(act: Act) -> &'static str {
    match act {
        Act::First => "The first release",
        Act::Deploy => "A deploy of a good release",
        Act::NeverReady => "A deploy of a release that never answers its probe",
        Act::DiesInWatch => "A deploy of a release that dies after the switch",
        Act::Rollback => "A rollback",
        Act::Down => "Taking everything away",
    }
}

/// Tells what was rehearsed, what came of it, and what follows for the project.
pub fn tell(
    config: &Config,
    servers: &BTreeMap<ServerName, Server>,
    tally: &Tally,
    took: Duration,
    screen: &Screen,
) {
    screen.line(&format!(
        "{} runs in {} with {} on {}, each time with something that goes wrong",
        grouped(tally.runs),
        numbers::duration(took),
        numbers::count(config.processes.len() as u64, "process").replace("processs", "processes"),
        numbers::count(servers.len() as u64, "server"),
    ));
    tell_table("OPERATION", tally, |(act, _, _)| (act, title(act)), screen);
    tell_table("MOMENT", tally, |(_, _, when)| (when, when.title()), screen);
    tell_table("WHAT GOES WRONG", tally, |(_, cause, _)| (cause, cause.title()), screen);
    if screen.is_verbose() {
        tell_all(tally, screen);
    }
    screen.line("");
    for line in findings(config, servers, tally) {
        screen.line(&format!("• {line}"));
    }
    match tally.broken.first() {
        None => screen.success("Nothing was left half-done in any of them"),
        Some((story, violation)) => {
            screen.line(&format!("A bug of onward, in {} runs: {violation}", tally.broken.len()));
            screen.next(&format!("`onward rehearse --story {story}` tells it; please report it"));
        }
    }
}

type Kind = (Act, Cause, When);

/// The counts by one of the three things that they are kept by.
fn tell_table<K: Ord>(
    heading: &str,
    tally: &Tally,
    of: impl Fn(Kind) -> (K, &'static str),
    screen: &Screen,
) {
    let mut by: BTreeMap<K, (&str, Count)> = BTreeMap::new();
    for (kind, count) in &tally.counts {
        let (key, title) = of(*kind);
        by.entry(key).or_insert((title, Count::default())).1.add(count);
    }
    let heading = format!("  {heading:<48}");
    let mut table = Table::new([&*heading, "RUNS", "DONE", "TAKEN BACK", "NO CHANGE"]);
    for (title, count) in by.values() {
        table.row([
            format!("  {title}"),
            grouped(count.runs),
            grouped(count.done),
            grouped(count.taken_back),
            grouped(count.nothing_changed),
        ]);
    }
    screen.line("");
    for line in table.lines() {
        screen.line(&line);
    }
}

/// Every count.
fn tell_all(tally: &Tally, screen: &Screen) {
    let mut table = Table::new([
        "  OPERATION",
        "WHAT GOES WRONG",
        "MOMENT",
        "RUNS",
        "DONE",
        "TAKEN BACK",
        "NO CHANGE",
    ]);
    for ((act, cause, when), count) in &tally.counts {
        table.row([
            format!("  {}", act.word()),
            cause.title().to_owned(),
            when.title().to_owned(),
            grouped(count.runs),
            grouped(count.done),
            grouped(count.taken_back),
            grouped(count.nothing_changed),
        ]);
    }
    screen.line("");
    for line in table.lines() {
        screen.line(&line);
    }
}

/// What a person should know of the own project.
fn findings(config: &Config, servers: &BTreeMap<ServerName, Server>, tally: &Tally) -> Vec<String> {
    let mut found = Vec::new();
    if config.release_command.is_some() {
        found.push(format!(
            "the release command was begun more than once in {} runs: it has to be repeatable",
            grouped(tally.commands_again)
        ));
        found.push(format!(
            "in {} runs it was begun and the version before serves on: that version has to bear what \
             it changed",
            grouped(tally.commands_taken_back)
        ));
    }
    if let Some((_, story)) = &tally.darkest {
        let dark: u64 = tally.counts.values().map(|count| count.dark).sum();
        let why = if servers.len() == 1 {
            "there is one server, and nothing answers while it is away"
        } else {
            "every server was away at the same time"
        };
        found.push(format!(
            "in {} runs no server answered for a while: {why}; `onward rehearse --story {story}`",
            grouped(dark)
        ));
    }
    if let Some((_, story)) = &tally.longest {
        found.push(format!(
            "a command that died is carried on by the next one, whoever types it; it took longest in \
             `onward rehearse --story {story}`"
        ));
    }
    found
}

/// The same as one document.
pub fn as_json(tally: &Tally, took: Duration) -> Value {
    let counts: Vec<_> = tally
        .counts
        .iter()
        .map(|((act, cause, when), count)| row(act.word(), cause.title(), when.title(), count))
        .collect();
    let broken: Vec<_> = tally
        .broken
        .iter()
        .map(|(story, violation)| {
            json!({"story": story.to_string(), "violation": violation.to_string()})
        })
        .collect();
    json!({
        "runs": tally.runs,
        "seconds": took.as_secs_f64(),
        "results": counts,
        "release_command_begun_again": tally.commands_again,
        "release_command_begun_and_taken_back": tally.commands_taken_back,
        "darkest": tally.darkest.as_ref().map(|(_, story)| story.to_string()),
        "longest": tally.longest.as_ref().map(|(_, story)| story.to_string()),
        "broken": broken,
    })
}

fn row(act: &str, cause: &str, when: &str, count: &Count) -> Value {
    json!({
        "operation": act,
        "cause": cause,
        "decision": when,
        "runs": count.runs,
        "done": count.done,
        "taken_back": count.taken_back,
        "nothing_changed": count.nothing_changed,
        "dark": count.dark,
    })
}

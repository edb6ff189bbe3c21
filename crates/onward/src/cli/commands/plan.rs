//! `onward plan`: what `up` would change.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use onward_core::document::Document;
use onward_core::model::{BundleRef, Config, Release, Role};
use onward_store::bundle::Manifest;
use serde_json::json;

use crate::cli::args::PlanArgs;
use crate::cli::build;
use crate::cli::bundling;
use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::edits;
use crate::cli::exit::Exit;
use crate::cli::interrupt;
use crate::cli::machines;
use crate::cli::moved;
use crate::cli::outcome;
use crate::cli::reading;
use crate::cli::runtimes;
use crate::cli::scaled;
use crate::cli::screen::Screen;
use crate::cli::secrets;
use crate::cli::templates;
use crate::project::wishes;

/// How many changed files are named.
const FILES_SHOWN: usize = 10;

/// Compares the project with what serves. Builds and bundles, and changes nothing that runs.
pub fn run(context: &Context, args: &PlanArgs, screen: &Screen) -> Result<Exit, Complaint> {
    let interrupts = interrupt::watch();
    screen.note(&context.title());
    context.prepare()?;
    let runtimes = runtimes::resolve(context, false, screen, &interrupts)?;
    build::run(context, &runtimes, screen, &interrupts)?;
    let bundle = bundling::of_tree(context, None, screen)?;
    templates::of_bundle(context, &bundle, screen)?;
    let reading = reading::read(context, screen)?;
    let document = reading.as_ref().map(|reading| &*reading.stored.document);
    let config = secrets::wished_config(context, &runtimes, document);
    let mut changes = changes(context, document, &bundle, &config)?;
    changes.splice(0..0, machines::lines(context));
    let generation = document.map_or(0, |document| document.generation.0);
    for change in &changes {
        screen.next(&format!("  {change}"));
    }
    match document {
        _ if !changes.iter().any(|line| is_change(line)) => screen.next("Nothing would change."),
        Some(_) => screen.next(&format!(
            "`onward up --generation {generation}` does exactly this, or refuses if the state \
             has changed."
        )),
        None => screen.next("`onward up` does this."),
    }
    screen.finished(
        true,
        json!({"generation": generation, "changes": changes, "bundle": bundle.digest}),
    );
    let has_changes = changes.iter().any(|line| is_change(line));
    Ok(if has_changes && args.exit_code { Exit::Changes } else { Exit::Done })
}

/// Some lines only say what stays, or what is done first.
fn is_change(line: &str) -> bool {
    !line.starts_with("· scaled") && !line.starts_with("· moved") && !line.starts_with("· machine")
}

fn changes(
    context: &Context,
    document: Option<&Document>,
    bundle: &BundleRef,
    config: &Config,
) -> Result<Vec<String>, Complaint> {
    let mut lines = Vec::new();
    let Some(document) = document else {
        lines.push(format!("+ release 1 ({}): the first", bundle.label));
        lines.extend(config.processes.keys().map(|name| format!("+ process {name} starts")));
        lines.extend(secrets::differences(None, &Config::default(), config));
        return Ok(lines);
    };
    if let Some(operation) = &document.operation {
        lines.push(if operation.phase.is_decided() {
            format!("· operation {} is carried to its end first", operation.number)
        } else {
            format!("- operation {} is superseded", operation.number)
        });
    }
    if let Some(edit) = outcome::pending_edit(document) {
        if edits::goes_first(document, bundle, config) {
            lines.push(format!("~ the edit of the state is followed: {edit}"));
            return Ok(lines);
        }
        lines.push(format!("- the edit of the state ({edit}) gives way to the new release"));
    }
    lines.extend(servers(context, document));
    let moved = moved::overrides(context, document);
    lines.extend(moved.iter().map(|own| {
        format!("· moved by hand: {}; `onward up --reset` takes the file's", own.text())
    }));
    lines.extend(scaled(document, config));
    let serving = document.serving.and_then(|number| document.release(number));
    if let Some(serving) = serving
        && serving.bundle.digest == bundle.digest
        && *serving.config == *config
    {
        return Ok(lines);
    }
    let next = document.last_release.next();
    let replaces = document.serving.map_or_else(String::new, |old| {
        format!(", replaces {}", outcome::release_name(document, old))
    });
    lines.push(format!("+ release {next} ({}){replaces}", bundle.label));
    if let Some(serving) = serving {
        lines.extend(files(context, serving, bundle)?);
        lines.extend(settings(&serving.config, config));
    }
    let old = serving.map(|serving| Config::clone(&serving.config)).unwrap_or_default();
    lines.extend(secrets::differences(Some(document), &old, config));
    if config.release_command.is_some() {
        lines.push("· the release command runs; going back does not undo it".to_owned());
    }
    Ok(lines)
}

/// The servers that come and go, and those that get other roles.
fn servers(context: &Context, document: &Document) -> Vec<String> {
    let mut wished: BTreeMap<_, _> = wishes::servers(&context.resolved).into_iter().collect();
    for (name, roles) in &mut wished {
        document.demand.move_roles(name, roles);
    }
    let roles = |roles: &BTreeSet<Role>| {
        let names: Vec<&str> = roles.iter().map(Role::as_str).collect();
        names.join(", ")
    };
    let mut lines = Vec::new();
    for (name, wish) in &wished {
        match document.servers.get(name) {
            None if document.demand.replacing.contains_key(name) => {
                lines.push(format!("+ server {name} ({}), on its new machine", roles(wish)));
            }
            None => lines.push(format!("+ server {name} ({})", roles(wish))),
            Some(own) if own.roles != *wish => lines.push(format!(
                "~ server {name} gets the roles {} instead of {}",
                roles(wish),
                roles(&own.roles)
            )),
            Some(_) => {}
        }
    }
    let gone = document.servers.keys().filter(|name| !wished.contains_key(*name));
    lines.extend(gone.map(|name| format!("- server {name}")));
    lines
}

/// Counts that stay although the file says others. They are no change.
fn scaled(document: &Document, config: &Config) -> Vec<String> {
    let overrides = scaled::overrides_of(document, config);
    let line = |own: &scaled::Override<'_>| {
        format!(
            "· scaled by hand: {}, by {}; `onward up --reset` takes the file's",
            own.text(),
            own.scale.by
        )
    };
    overrides.iter().map(line).collect()
}

/// The files that differ.
fn files(
    context: &Context,
    serving: &Release,
    bundle: &BundleRef,
) -> Result<Vec<String>, Complaint> {
    let bundles = context.local.bundles()?;
    if !bundles.has(serving.bundle.digest)? {
        return Ok(vec![
            "~ files: the old bundle is no longer kept, so they are not compared".to_owned(),
        ]);
    }
    let old = bundles.manifest(serving.bundle.digest)?;
    let new = bundles.manifest(bundle.digest)?;
    let mut lines = differences(&old, &new);
    let more = lines.len().saturating_sub(FILES_SHOWN);
    lines.truncate(FILES_SHOWN);
    if more > 0 {
        lines.push(format!("  and {more} more"));
    }
    Ok(lines)
}

fn differences(old: &Manifest, new: &Manifest) -> Vec<String> {
    let added = new.entries().iter().filter_map(|entry| match old.get(entry.path.as_str()) {
        None => Some(format!("  + {}", entry.path.as_str())),
        Some(before) if before.kind != entry.kind => Some(format!("  ~ {}", entry.path.as_str())),
        Some(_) => None,
    });
    let gone = old.entries().iter().filter(|entry| new.get(entry.path.as_str()).is_none());
    added.chain(gone.map(|entry| format!("  - {}", entry.path.as_str()))).collect()
}

/// What differs of things with names, which are named and not shown.
fn each<N: Ord + Display, T: PartialEq>(
    what: &str,
    old: &BTreeMap<N, T>,
    new: &BTreeMap<N, T>,
) -> Vec<String> {
    let added_or_changed = new.iter().filter_map(|(name, own)| match old.get(name) {
        None => Some(format!("+ {what} {name}")),
        Some(other) if other != own => Some(format!("~ {what} {name}")),
        Some(_) => None,
    });
    let gone = old.keys().filter(|name| !new.contains_key(*name));
    added_or_changed.chain(gone.map(|name| format!("- {what} {name}"))).collect()
}

/// The settings that differ. Values are named, not shown.
fn settings(old: &Config, new: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    for name in new.processes.keys().filter(|name| !old.processes.contains_key(*name)) {
        lines.push(format!("+ process {name} starts"));
    }
    for (name, process) in &old.processes {
        match new.processes.get(name) {
            None => lines.push(format!("- process {name} stops")),
            Some(other) if other != process => lines.push(format!("~ process {name} changes")),
            Some(_) => {}
        }
    }
    lines.extend(each("value", &old.values, &new.values));
    lines.extend(each("task", &old.tasks, &new.tasks));
    lines.extend(each("schedule", &old.schedules, &new.schedules));
    lines.extend(each("rendered file", &old.files, &new.files));
    for (name, runtime) in &new.runtimes {
        match old.runtimes.get(name) {
            None => lines.push(format!("+ {name} {}", runtime.version)),
            Some(before) if before.version != runtime.version => {
                lines.push(format!("~ {name} {} instead of {}", runtime.version, before.version));
            }
            Some(before) if before != runtime => {
                lines.push(format!("~ {name} {} from another place", runtime.version));
            }
            Some(_) => {}
        }
    }
    let gone = old.runtimes.keys().filter(|name| !new.runtimes.contains_key(*name));
    lines.extend(gone.map(|name| format!("- {name}: no longer pinned")));
    let rest = |config: &Config| {
        (
            config.release_command.clone(),
            config.check_command.clone(),
            config.strategy,
            config.watch_ms,
            config.warm_ms,
            config.shared_dirs.clone(),
            config.shared_files.clone(),
        )
    };
    if rest(old) != rest(new) {
        lines.push("~ release settings, or shared directories or files change".to_owned());
    }
    lines
}

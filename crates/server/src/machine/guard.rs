//! What takes a change back that locked the operator out.
//!
//! ```text
//!  arm ──► what was there, durably ──► timer of systemd ──► changes ──┬─► confirm: it stays
//!                                                                     ├─► the timer: it is undone
//!                                                                     └─► a reboot: it is undone
//! ```
//!
//! `undo.json` is the whole truth: while it is there, the change is on trial. Confirming and undoing
//! both take it away under one lock, so exactly one of them happens. Undoing may be cut off and
//! repeated at any point.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use onward_core::machine::{Effect, FileFact, Guest, Setup, Token, UserName};
use serde::{Deserialize, Serialize};

use super::accounts;
use super::command::Program;
use super::effects;
use super::error::MachineError;
use super::gather;
use super::place::{Place, state_path, sync_directory};

/// What is on trial.
const ON_TRIAL: &str = "undo.json";
/// What the trial ended with, for the set-up that waits for it.
const KEPT: &str = "kept.json";
const UNDONE: &str = "undone.json";
/// What runs this program to undo, for the timer and at boot.
const SCRIPT: &str = "/var/lib/onward/machine/undo";
/// How often a set-up looks whether its trial has ended.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// The time that the timer has, after its own, before the set-up undoes the change itself.
const TIMER_GRACE: Duration = Duration::from_secs(15);
/// Held by whoever confirms or undoes.
const LOCK: &str = "undo.lock";
/// What a token is made of.
const TOKEN_BYTES: usize = 12;

/// A change on trial: how the machine was before, and what to remember when it stays.
#[derive(Debug, Serialize, Deserialize)]
struct Trial {
    token: Token,
    steps: Vec<Step>,
    setup: Setup,
    guests: Vec<Guest>,
}

/// One step back, repeatable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Step {
    /// Not at boot. Before its file goes, because systemd wants to see it.
    Disable(String),
    /// The file as it was; it was not there when there is no content.
    File { path: String, before: Option<(u32, String)> },
    /// Into the group again.
    Join(UserName),
    /// Out of the group again.
    Leave(UserName),
    /// At boot again.
    Enable(String),
    /// The rules as the kernel listed them; there were none when there is no text.
    Rules(Option<String>),
    /// sshd reads its configuration.
    ReloadSshd,
}

/// How a trial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Somebody confirmed it.
    Kept,
    /// It was taken back.
    Undone,
}

/// Puts on trial what `effects` will change. From here on it is undone unless it is confirmed.
pub(super) fn arm(
    place: &Place,
    setup: &Setup,
    guests: &[Guest],
    effects: &[Effect],
) -> Result<Token, MachineError> {
    let token = token()?;
    let steps = steps(place, effects)?;
    let trial =
        Trial { token: token.clone(), steps, setup: setup.clone(), guests: guests.to_vec() };
    for old in [KEPT, UNDONE] {
        place.remove(&state_path(old))?;
    }
    let program =
        std::env::current_exe().map_err(|error| MachineError::file(Path::new(SCRIPT), error))?;
    let script = format!("#!/bin/sh\nexec '{}' agent set-up --undo \"$@\"\n", program.display());
    place.write(SCRIPT, 0o755, &script)?;
    let text = serde_json::to_string_pretty(&trial).expect("a trial is always written");
    place.write(&state_path(ON_TRIAL), 0o600, &text)?;
    let started = start_timer(&token, setup.confirm_within_s);
    if started.is_err() {
        place.remove(&state_path(ON_TRIAL))?;
    }
    started.map(|()| token)
}

fn start_timer(token: &Token, within_s: u32) -> Result<(), MachineError> {
    let unit = format!("--unit={}", unit(token));
    let within = format!("--on-active={within_s}s");
    let accuracy = "--timer-property=AccuracySec=100ms";
    let arguments = ["--quiet", "--collect", &unit, &within, accuracy, SCRIPT, token.as_str()];
    Program::new("systemd-run", &arguments).run().map(|_| ())
}

fn unit(token: &Token) -> String {
    format!("onward-undo-{}", token.as_str())
}

/// Keeps what is on trial.
///
/// # Errors
/// [`MachineError::NothingWaits`] when the token is of no trial that goes on: nothing is changed.
pub fn confirm(place: &Place, token: &Token) -> Result<(), MachineError> {
    let _lock = lock(place, LOCK)?;
    let trial = on_trial(place)?.filter(|trial| trial.token == *token);
    let Some(trial) = trial else { return Err(MachineError::NothingWaits) };
    let Trial { setup, guests, .. } = trial;
    end(place, KEPT)?;
    super::run::remember(place, setup, guests)?;
    let timer = format!("{}.timer", unit(token));
    // It finds nothing to undo when it cannot be stopped.
    let _ = Program::new("systemctl", &["stop", "--no-block", &timer]).ask();
    Ok(())
}

/// Undoes what is on trial, when something is; with a token, that trial alone: the timer of one that
/// ended early may still come, when the next has begun. Says whether something was undone.
///
/// # Errors
/// That a step could not be taken back; it stays on trial, and may be undone again.
pub fn undo(place: &Place, only: Option<&Token>) -> Result<bool, MachineError> {
    let _lock = lock(place, LOCK)?;
    let trial = on_trial(place)?.filter(|trial| only.is_none_or(|token| *token == trial.token));
    let Some(trial) = trial else { return Ok(false) };
    let mut failed = None;
    for step in &trial.steps {
        // One that fails keeps none of the others from what they can still do.
        if let Err(error) = take_back(place, step) {
            failed.get_or_insert(error);
        }
    }
    match failed {
        Some(error) => Err(error),
        None => end(place, UNDONE).map(|()| true),
    }
}

/// Waits until the trial has ended, and ends it itself when the timer does not.
pub(super) fn wait(place: &Place, within_s: u32) -> Result<Verdict, MachineError> {
    let end = Instant::now() + Duration::from_secs(within_s.into()) + TIMER_GRACE;
    while Instant::now() < end {
        if place.state(KEPT).exists() {
            // Whoever confirms it still writes down what is in force.
            let _lock = lock(place, LOCK)?;
            return Ok(Verdict::Kept);
        }
        if place.state(UNDONE).exists() {
            return Ok(Verdict::Undone);
        }
        thread::sleep(LOOK_EVERY);
    }
    undo(place, None)?;
    Ok(if place.state(KEPT).exists() { Verdict::Kept } else { Verdict::Undone })
}

/// A lock that the kernel gives back when its process ends.
pub(super) fn lock(place: &Place, name: &str) -> Result<File, MachineError> {
    let (path, file) = lock_file(place, name)?;
    file.lock().map_err(|error| MachineError::file(&path, error))?;
    Ok(file)
}

/// The same, for whoever does not wait.
pub(super) fn try_lock(place: &Place, name: &str) -> Result<File, MachineError> {
    let (path, file) = lock_file(place, name)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(MachineError::Busy),
        Err(fs::TryLockError::Error(error)) => Err(MachineError::file(&path, error)),
    }
}

fn lock_file(place: &Place, name: &str) -> Result<(PathBuf, File), MachineError> {
    let path = place.state(name);
    let open = || {
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        File::options().create(true).truncate(false).write(true).open(&path)
    };
    open().map_err(|error| MachineError::file(&path, error)).map(|file| (path.clone(), file))
}

fn on_trial(place: &Place) -> Result<Option<Trial>, MachineError> {
    let path = place.state(ON_TRIAL);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(MachineError::file(&path, error)),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| MachineError::Damaged {
        path: path.display().to_string(),
        reason: error.to_string(),
    })
}

fn end(place: &Place, verdict: &str) -> Result<(), MachineError> {
    let path = place.state(ON_TRIAL);
    let moved = fs::rename(&path, place.state(verdict)).and_then(|()| sync_directory(&path));
    moved.map_err(|error| MachineError::file(&path, error))
}

/// The way back from `effects`, in the order of [`Step`], whatever the order of the effects.
fn steps(place: &Place, effects: &[Effect]) -> Result<Vec<Step>, MachineError> {
    let enabled = gather::enabled(place);
    let mut steps = Vec::new();
    for effect in effects {
        match effect {
            Effect::Write { path, .. } | Effect::Remove(path) => {
                let before = place.fact(path)?;
                let before = before.map(|FileFact { content, mode }| (mode, content));
                steps.push(Step::File { path: path.clone(), before });
            }
            Effect::Join(name) if !accounts::is_member(place, name) => {
                steps.push(Step::Leave(name.clone()));
            }
            Effect::Leave(name) if accounts::is_member(place, name) => {
                steps.push(Step::Join(name.clone()));
            }
            Effect::Enable { unit, .. } if !enabled.contains(unit) => {
                steps.push(Step::Disable(unit.clone()));
            }
            Effect::Disable(unit) if enabled.contains(unit) => {
                steps.push(Step::Enable(unit.clone()));
            }
            Effect::LoadFirewall | Effect::UnloadFirewall => {
                steps.push(Step::Rules(gather::rules_to_keep()?));
            }
            Effect::ReloadSshd => steps.push(Step::ReloadSshd),
            _ => {}
        }
    }
    steps.sort();
    Ok(steps)
}

fn take_back(place: &Place, step: &Step) -> Result<(), MachineError> {
    match step {
        Step::File { path, before: Some((mode, content)) } => place.write(path, *mode, content),
        Step::File { path, before: None } => place.remove(path),
        Step::Join(name) => effects::join(place, name),
        Step::Leave(name) => effects::leave(place, name),
        Step::Disable(unit) => switch("disable", unit),
        Step::Enable(unit) => switch("enable", unit),
        Step::Rules(None) => effects::unload_firewall(),
        Step::Rules(Some(rules)) => {
            let text = format!("table inet onward\ndelete table inet onward\n{rules}");
            Program::new("nft", &["-f", "-"]).input(&text).run().map(|_| ())
        }
        Step::ReloadSshd => effects::reload_sshd_later(),
    }
}

/// Links alone: at boot, before most of systemd is there, nothing is asked of it.
fn switch(verb: &str, unit: &str) -> Result<(), MachineError> {
    Program::new("systemctl", &["--no-reload", verb, unit]).run().map(|_| ())
}

fn token() -> Result<Token, MachineError> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; TOKEN_BYTES];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|error| MachineError::file(path, error))?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Token::new(&text).expect("hexadecimal digits are letters and digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timer_of_a_trial_that_ended_early_leaves_the_next_one_alone() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::at(directory.path());
        let token = |text: &str| Token::new(text).unwrap();
        let before = Step::File { path: "/etc/a".to_owned(), before: Some((0o644, "old".into())) };
        let owner = r#"{"app": "shop", "environment": "production"}"#;
        let setup = Setup::new(
            serde_json::from_str(owner).unwrap(),
            onward_core::machine::UserName::root(),
        );
        let trial = Trial { token: token("next"), steps: vec![before], setup, guests: Vec::new() };
        let text = serde_json::to_string(&trial).unwrap();
        place.write(&state_path(ON_TRIAL), 0o600, &text).unwrap();
        place.write("/etc/a", 0o644, "new").unwrap();

        assert!(!undo(&place, Some(&token("earlier"))).unwrap());
        assert_eq!(place.text("/etc/a"), "new");

        assert!(undo(&place, Some(&token("next"))).unwrap(), "the control: its own timer");
        assert_eq!(place.text("/etc/a"), "old");
        assert!(!undo(&place, None).unwrap(), "nothing is on trial any more");
    }
}

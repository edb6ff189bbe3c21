//! What to change so that a machine becomes what it shall be.

use std::collections::BTreeSet;

use super::accounts;
use super::change::{Change, Effect, Plan, Stage};
use super::facts::Facts;
use super::files::{self, FIREWALL_FILE, FIREWALL_UNIT, FIREWALL_UNIT_FILE, SWAP_FILE, Wanted};
use super::firewall;
use super::packages;
use super::questions::questions;
use super::setup::{Harden, Owner, Setup};
use super::sshd;

/// The machine belongs to another environment, which alone sets it up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the machine is set up by {0}")]
pub struct OwnedByAnother(pub Owner);

/// Compares what a machine shall be with what it is. When all changes are made, the plan for what
/// is then there is empty.
///
/// # Errors
/// [`OwnedByAnother`].
pub fn plan(setup: &Setup, facts: &Facts) -> Result<Plan, OwnedByAnother> {
    if let Some(record) = &facts.record
        && record.setup.owner != setup.owner
    {
        return Err(OwnedByAnother(record.setup.owner.clone()));
    }
    let (questions, mut notes) = questions(setup, facts);
    notes.extend(unable(setup, facts));
    let mut changes = install(setup, facts);
    changes.extend(files::undo_unit(setup, facts));
    changes.extend(accounts::arrivals(setup, facts));
    changes.extend(accounts::guarded(setup, facts));
    changes.extend(sshd_changes(setup, facts));
    changes.extend(firewall_changes(setup, facts));
    changes.extend(time(setup, facts));
    changes.extend(files::updates(setup, facts));
    changes.extend(files::limits(setup, facts));
    changes.extend(zone_and_locale(setup, facts));
    changes.extend(swap(setup, facts));
    changes.sort_by_key(|change| change.stage);
    Ok(Plan { changes, questions, notes })
}

/// What is wanted and this system has no way to do.
fn unable(setup: &Setup, facts: &Facts) -> Option<String> {
    let missing = packages::wanted(setup, facts).needed.difference(&facts.packages).count();
    let cannot = facts.system.packages.is_none() && missing > 0;
    cannot.then(|| {
        format!(
            "onward does not know how {} installs packages: install them by hand",
            facts.system.name
        )
    })
}

fn install(setup: &Setup, facts: &Facts) -> Vec<Change> {
    let Some(system) = facts.system.packages else { return Vec::new() };
    let packages::Packages { needed, useful } = packages::wanted(setup, facts);
    let change = |stage: Stage, wanted: &BTreeSet<String>| {
        let missing: BTreeSet<String> = wanted.difference(&facts.packages).cloned().collect();
        let names: Vec<&str> = missing.iter().map(String::as_str).collect();
        let names = names.join(", ");
        (!missing.is_empty()).then(|| Change {
            stage,
            sentence: format!("Packages are installed with {system}: {names}"),
            details: Vec::new(),
            undo: "remove them with the system's own program; onward never does".to_owned(),
            effects: vec![Effect::Install(missing)],
        })
    };
    let changes = [change(Stage::First, &needed), change(Stage::Last, &useful)];
    changes.into_iter().flatten().collect()
}

fn sshd_changes(setup: &Setup, facts: &Facts) -> Option<Change> {
    let is_wanted = setup.harden != Harden::Off;
    let wanted = is_wanted.then(|| Wanted {
        path: sshd::DROP_IN.to_owned(),
        mode: 0o644,
        content: sshd::content(setup),
    });
    let expected = if is_wanted { sshd::effective(setup) } else { Default::default() };
    let differs = expected
        .iter()
        .any(|(key, value)| facts.sshd.effective.get(key).is_some_and(|other| other != value));
    let effect = files::differing(sshd::DROP_IN, wanted.as_ref(), facts);
    if effect.is_none() && !differs {
        return None;
    }
    let who = if setup.has_exact_accounts() { ", of admins only" } else { "" };
    let root = if setup.root_login { "root with a key too" } else { "not root" };
    let sentence = match is_wanted {
        true => format!("sshd takes keys only{who}, {root}, and no weak algorithms"),
        false => "sshd is as it was before onward".to_owned(),
    };
    let effects = [effect, Some(Effect::CheckSshd(expected)), Some(Effect::ReloadSshd)];
    Some(Change {
        stage: Stage::Guarded,
        sentence,
        details: Vec::new(),
        undo: format!("delete {}, then `systemctl reload ssh`", sshd::DROP_IN),
        effects: effects.into_iter().flatten().collect(),
    })
}

/// What makes the firewall what the owner and the guests of a machine need.
pub(super) fn firewall_changes(setup: &Setup, facts: &Facts) -> Option<Change> {
    let is_wanted = setup.harden == Harden::Full;
    let rules = if is_wanted { firewall::rules(setup, facts) } else { String::new() };
    let wanted = is_wanted.then(|| Wanted {
        path: FIREWALL_FILE.to_owned(),
        mode: 0o644,
        content: rules.clone(),
    });
    let unit = files::firewall_unit(setup);
    let file = files::differing(FIREWALL_FILE, wanted.as_ref(), facts);
    let unit_file = files::differing(FIREWALL_UNIT_FILE, unit.as_ref(), facts);
    let loaded = facts.record.as_ref().and_then(|record| record.rules);
    let is_live = match is_wanted {
        true => facts.firewall.rules.is_some() && facts.firewall.rules == loaded,
        false => facts.firewall.rules.is_none(),
    };
    let is_enabled = facts.enabled.contains(FIREWALL_UNIT) == is_wanted;
    if file.is_none() && unit_file.is_none() && is_live && is_enabled {
        return None;
    }
    let there =
        facts.files.get(FIREWALL_FILE).map(|file| file.content.as_str()).unwrap_or_default();
    let (before, after) = (firewall::doors_of(there), firewall::doors_of(&rules));
    let mut details: Vec<String> =
        after.difference(&before).map(|line| format!("+ {line}")).collect();
    details.extend(before.difference(&after).map(|line| format!("- {line}")));
    let is_new = facts.firewall.rules.is_none();
    let sentence = match (is_wanted, file.is_some()) {
        (false, _) => "The firewall of onward is taken away: every port is open",
        (true, true) if is_new => {
            "The firewall denies everything but what is listed, IPv4 and IPv6"
        }
        (true, true) => "The firewall's rules follow the servers and the project file",
        (true, false) if is_live => "The firewall's rules are loaded at boot",
        (true, false) => "The firewall's rules differ from their file, and are loaded again",
    };
    let effects = match is_wanted {
        true => {
            let boot = [unit_file, Some(files::enable(FIREWALL_UNIT, false))];
            [file, Some(Effect::LoadFirewall)].into_iter().chain(boot).flatten().collect()
        }
        false => {
            let disable = [Some(Effect::Disable(FIREWALL_UNIT.to_owned())), unit_file, file];
            [Some(Effect::UnloadFirewall)].into_iter().chain(disable).flatten().collect()
        }
    };
    Some(Change {
        stage: Stage::Guarded,
        sentence: sentence.to_owned(),
        details,
        undo: format!(
            "`systemctl disable {FIREWALL_UNIT}`, then `nft delete table inet onward`; other \
             tables were never touched"
        ),
        effects,
    })
}

fn time(setup: &Setup, facts: &Facts) -> Option<Change> {
    let system = facts.system.packages?;
    if setup.harden != Harden::Full || packages::has_time(facts) {
        return None;
    }
    let unit = packages::time_unit(system);
    Some(Change {
        stage: Stage::Last,
        sentence: "The clock follows servers of time".to_owned(),
        details: Vec::new(),
        undo: format!("`systemctl disable --now {unit}`"),
        effects: vec![files::enable(unit, true)],
    })
}

fn zone_and_locale(setup: &Setup, facts: &Facts) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut set =
        |what: &str, wanted: &Option<String>, is: &Option<String>, effect: fn(String) -> Effect| {
            let Some(wanted) = wanted else { return };
            if Some(wanted) == is.as_ref() {
                return;
            }
            let (instead, undo) = match is {
                Some(before) => (
                    format!(" instead of {before}"),
                    format!("write `{before}` in the project file"),
                ),
                None => (String::new(), format!("none was set: unset the {what} by hand")),
            };
            changes.push(Change {
                stage: Stage::Last,
                sentence: format!("The {what} is {wanted}{instead}"),
                details: Vec::new(),
                undo,
                effects: vec![effect(wanted.clone())],
            });
        };
    set("time zone", &setup.timezone, &facts.timezone, Effect::Timezone);
    set("locale", &setup.locale, &facts.locale, Effect::Locale);
    changes
}

/// The machine has at least so much swap: what others made counts.
fn swap(setup: &Setup, facts: &Facts) -> Option<Change> {
    let wanted = setup.swap_mib.filter(|wanted| facts.other_swap_mib < *wanted);
    // What a project file does not mention is not taken away, unless onward had made it.
    if wanted == facts.own_swap_mib {
        return None;
    }
    let (sentence, effect) = match wanted {
        Some(mib) => (format!("{mib} MiB of swap in {SWAP_FILE}"), Effect::Swap(mib)),
        None => ("The swap file of onward is taken away".to_owned(), Effect::NoSwap),
    };
    Some(Change {
        stage: Stage::Last,
        sentence,
        details: Vec::new(),
        undo: format!("`swapoff {SWAP_FILE}`, then delete it"),
        effects: vec![effect],
    })
}

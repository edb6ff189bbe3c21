//! Accounts and keys of those who may sign in: an exact list.
//!
//! Keys are in one file for each account below [`KEYS_DIRECTORY`], which only root can write, and
//! sshd reads no others: a key that somebody adds to `~/.ssh/authorized_keys` opens nothing, one
//! that is taken out of the project file opens nothing any more.

use std::collections::BTreeSet;

use super::change::{Change, Effect, Stage};
use super::facts::{Facts, FileFact};
use super::files::{self, Wanted};
use super::key::AuthorizedKey;
use super::setup::{Admin, Setup};
use super::user::UserName;

/// The group of those who may sign in.
pub const GROUP: &str = "onward-admins";
/// As whom, and as which group, the manager of an environment comes to its other servers. The keys
/// open a conversation with the agent and nothing else, so it is no admin.
pub const MANAGER: &str = "onward-manager";
/// Where the keys of managers are, in the words of sshd; the agent keeps them.
pub(super) const MANAGER_KEYS: &str = "/var/lib/onward/%u/.ssh/authorized_keys";
/// Where the keys are that sshd takes.
pub const KEYS_DIRECTORY: &str = "/etc/ssh/authorized_keys.d";
/// How each file of keys begins that onward wrote. Others have files there too, which stay.
const WRITTEN: &str = "# Written by onward";
/// What lets them become root.
pub(super) const SUDOERS: &str = "/etc/sudoers.d/onward-admins";

/// The file with the keys of an account.
pub fn keys_file(name: &UserName) -> String {
    format!("{KEYS_DIRECTORY}/{name}")
}

/// The file with the keys of `admin`.
fn wanted_keys(admin: &Admin) -> Wanted {
    let mut content =
        format!("{WRITTEN}, and written again whenever it differs: the keys are in onward.toml.\n");
    for key in &admin.keys {
        content.push_str(&format!("{key}\n"));
    }
    Wanted { path: keys_file(&admin.name), mode: 0o644, content }
}

/// The file that lets them become root without a password: they have none.
fn wanted_sudoers(setup: &Setup) -> Option<Wanted> {
    let content =
        format!("# Written by onward for {}.\n%{GROUP} ALL=(ALL:ALL) NOPASSWD: ALL\n", setup.owner);
    setup.has_exact_accounts().then(|| Wanted { path: SUDOERS.to_owned(), mode: 0o440, content })
}

/// Accounts that are made and join the group: nobody loses anything by it.
pub(super) fn arrivals(setup: &Setup, facts: &Facts) -> Vec<Change> {
    let mut changes = Vec::new();
    let all = setup.who_signs_in();
    if !all.is_empty() && !facts.has_group {
        changes.push(Change {
            stage: Stage::First,
            sentence: format!("The group {GROUP} is made: who is in it may sign in"),
            details: Vec::new(),
            undo: format!("`groupdel {GROUP}`, when `admins` is gone"),
            effects: vec![Effect::MakeGroup],
        });
    }
    for admin in &all {
        let name = &admin.name;
        let account = facts.accounts.get(name);
        if account.is_some_and(|account| account.is_member) {
            continue;
        }
        let mut effects = Vec::new();
        if account.is_none() {
            effects.push(Effect::MakeAccount(name.clone()));
        }
        effects.push(Effect::Join(name.clone()));
        let (sentence, undo) = match account {
            Some(_) => (
                format!("The account {name} is let in, with the keys of the project file"),
                "take it out of the admins: it leaves the group, and stays".to_owned(),
            ),
            None => (
                format!("The account {name} is made, without a password"),
                format!("take it out of the admins, then `userdel -r {name}`"),
            ),
        };
        changes.push(Change { stage: Stage::First, sentence, details: Vec::new(), undo, effects });
    }
    changes
}

/// Keys, the right to become root, and who leaves: each could be the operator's own.
pub(super) fn guarded(setup: &Setup, facts: &Facts) -> Vec<Change> {
    let all = setup.who_signs_in();
    let mut changes: Vec<Change> = all.iter().filter_map(|admin| keys(admin, facts)).collect();
    changes.extend(sudoers(setup, facts));
    let staying: BTreeSet<&UserName> = all.iter().map(|admin| &admin.name).collect();
    let leaving = facts.accounts.iter().filter(|(name, account)| {
        !staying.contains(name) && (account.is_member || own_keys_file(name, facts).is_some())
    });
    let mut gone: BTreeSet<String> = BTreeSet::new();
    for (name, account) in leaving {
        gone.insert(keys_file(name));
        changes.push(leave(name, account.is_member, facts));
    }
    // Keys of accounts that are gone themselves.
    let orphans = facts.files.iter().filter(|(path, file)| is_own_keys_file(path, file));
    for (path, _) in orphans.filter(|(path, _)| !gone.contains(*path)) {
        if all.iter().all(|admin| keys_file(&admin.name) != *path) {
            changes.push(Change {
                stage: Stage::Guarded,
                sentence: format!("The keys in {path} belong to nobody any more, and go"),
                details: Vec::new(),
                undo: "put the account back among the admins".to_owned(),
                effects: vec![Effect::Remove(path.clone())],
            });
        }
    }
    changes
}

fn is_own_keys_file(path: &str, file: &FileFact) -> bool {
    path.strip_prefix(KEYS_DIRECTORY).is_some_and(|rest| rest.starts_with('/'))
        && file.content.starts_with(WRITTEN)
}

/// The file with the keys of an account, when it is onward's.
fn own_keys_file<'a>(name: &UserName, facts: &'a Facts) -> Option<&'a FileFact> {
    let path = keys_file(name);
    facts.files.get(&path).filter(|file| is_own_keys_file(&path, file))
}

fn sudoers(setup: &Setup, facts: &Facts) -> Option<Change> {
    let (sentence, undo) = match setup.has_exact_accounts() {
        true => ("The admins may become root with sudo", format!("delete {SUDOERS}")),
        false => (
            "The group of the admins may not become root any more",
            "name admins in the project file again".to_owned(),
        ),
    };
    let wanted = wanted_sudoers(setup);
    let effect = files::differing(SUDOERS, wanted.as_ref(), facts)?;
    Some(Change {
        stage: Stage::Guarded,
        sentence: sentence.to_owned(),
        details: Vec::new(),
        undo,
        effects: vec![effect],
    })
}

fn keys(admin: &Admin, facts: &Facts) -> Option<Change> {
    let wanted = wanted_keys(admin);
    let effect = files::differing(&wanted.path, Some(&wanted), facts)?;
    let there = facts.files.get(&wanted.path).map(|file| file.content.as_str());
    let there = AuthorizedKey::read_all(there.unwrap_or_default());
    let mut details = Vec::new();
    for key in &admin.keys {
        if !there.iter().flatten().any(|other| other.is_same(key)) {
            details.push(format!("+ {}", key.shown()));
        }
    }
    let mut going = 0;
    for line in &there {
        match line {
            Ok(key) if admin.keys.iter().any(|other| other.is_same(key)) => continue,
            Ok(key) => details.push(format!("- {}", key.shown())),
            Err(line) => details.push(format!("- {line}")),
        }
        going += 1;
    }
    let name = &admin.name;
    let sentence = match going {
        0 if details.is_empty() => format!("The file with the keys of {name} is written again"),
        0 => format!("{name} may sign in with {}", counted(admin.keys.len())),
        _ => format!("{} of {name} that the project file does not name go", counted(going)),
    };
    Some(Change {
        stage: Stage::Guarded,
        sentence,
        details,
        undo: "put the keys into the project file, or take them out".to_owned(),
        effects: vec![effect],
    })
}

fn leave(name: &UserName, is_member: bool, facts: &Facts) -> Change {
    let path = keys_file(name);
    let mut effects = Vec::new();
    let mut details = Vec::new();
    if let Some(file) = own_keys_file(name, facts) {
        for key in AuthorizedKey::read_all(&file.content) {
            details.push(format!("- {}", key.map_or_else(|line| line, |key| key.shown())));
        }
        effects.push(Effect::Remove(path));
    }
    if is_member {
        effects.push(Effect::Leave(name.clone()));
    }
    Change {
        stage: Stage::Guarded,
        sentence: format!(
            "{name} is no admin any more, and may not sign in; the account and its files stay"
        ),
        details,
        undo: "put the account back among the admins".to_owned(),
        effects,
    }
}

pub(super) fn counted(keys: usize) -> String {
    if keys == 1 { "1 key".to_owned() } else { format!("{keys} keys") }
}

//! The accounts of a machine, from `/etc/passwd`, `/etc/group` and their files of keys.

use std::collections::{BTreeMap, BTreeSet};

use onward_core::machine::{Account, GROUP, UserName};

use super::place::Place;

/// From here on numbers belong to people; below, to the system.
const UID_OF_PEOPLE: u32 = 1000;
/// The number of `nobody`.
const UID_OF_NOBODY: u32 = 65534;

/// A line of `/etc/passwd`.
struct Entry {
    name: UserName,
    uid: u32,
    home: String,
    can_sign_in: bool,
}

/// The accounts of people and of root, those of the system that can sign in, and whether the group
/// of those who may is there.
pub(super) fn accounts(place: &Place) -> (BTreeMap<UserName, Account>, bool) {
    let members = members(place);
    let mut found = BTreeMap::new();
    for entry in entries(place) {
        let is_member = members.as_ref().is_some_and(|all| all.contains(entry.name.as_str()));
        let own_keys = if entry.can_sign_in { own_keys(place, &entry.home) } else { Vec::new() };
        let is_of_people = entry.uid == 0 || is_of_people(entry.uid);
        if is_of_people || is_member || !own_keys.is_empty() {
            found.insert(entry.name, Account { uid: entry.uid, is_member, own_keys });
        }
    }
    (found, members.is_some())
}

/// The number of an account, when there is one.
pub(super) fn uid(place: &Place, name: &UserName) -> Option<u32> {
    entries(place).find(|entry| entry.name == *name).map(|entry| entry.uid)
}

/// Whether an account of this number may become an admin's.
pub(super) fn is_of_people(uid: u32) -> bool {
    uid >= UID_OF_PEOPLE && uid != UID_OF_NOBODY
}

/// Whether an account is in the group of those who may sign in.
pub(super) fn is_member(place: &Place, name: &UserName) -> bool {
    members(place).is_some_and(|all| all.contains(name.as_str()))
}

fn entries(place: &Place) -> impl Iterator<Item = Entry> {
    let text = place.text("/etc/passwd");
    let parse = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, _, _, home, shell] = fields[..] else { return None };
        let can_sign_in = !shell.ends_with("/nologin") && !shell.ends_with("/false");
        let home = home.to_owned();
        Some(Entry { name: name.parse().ok()?, uid: uid.parse().ok()?, home, can_sign_in })
    };
    text.lines().filter_map(parse).collect::<Vec<_>>().into_iter()
}

fn members(place: &Place) -> Option<BTreeSet<String>> {
    let text = place.text("/etc/group");
    let line = text.lines().find_map(|line| line.strip_prefix(GROUP)?.strip_prefix(':'))?;
    let members = line.rsplit(':').next().unwrap_or_default().split(',');
    Some(members.filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

fn own_keys(place: &Place, home: &str) -> Vec<String> {
    let files = ["authorized_keys", "authorized_keys2"];
    let texts = files.map(|file| place.text(&format!("{home}/.ssh/{file}")));
    let lines = texts.iter().flat_map(|text| text.lines()).map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_and_who_can_sign_in_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::at(directory.path());
        let passwd = "root:x:0:0:root:/root:/bin/bash\n\
                      www-data:x:33:33::/var/www:/usr/sbin/nologin\n\
                      backup:x:34:34::/var/backups:/bin/sh\n\
                      postgres:x:104:110::/var/lib/postgresql:/bin/bash\n\
                      ana:x:1000:1000::/home/ana:/bin/bash\n\
                      nobody:x:65534:65534::/:/usr/sbin/nologin\n";
        place.write("/etc/passwd", 0o644, passwd).unwrap();
        place.write("/root/.ssh/authorized_keys", 0o600, "# mine\n\nssh-ed25519 A\n").unwrap();
        place.write("/var/backups/.ssh/authorized_keys2", 0o600, "ssh-rsa B\n").unwrap();
        let (found, has_group) = accounts(&place);
        assert!(!has_group);
        let names: Vec<&str> = found.keys().map(UserName::as_str).collect();
        assert_eq!(names, ["ana", "backup", "root"]);
        assert_eq!(found[&UserName::root()].own_keys, ["ssh-ed25519 A"]);
        place
            .write("/etc/group", 0o644, &format!("{GROUP}2:x:1:\n{GROUP}:x:999:ana,root\n"))
            .unwrap();
        let (found, has_group) = accounts(&place);
        assert!(has_group && found[&UserName::root()].is_member);
        assert!(is_member(&place, &"ana".parse().unwrap()));
        assert!(!is_member(&place, &"backup".parse().unwrap()));
        assert_eq!(uid(&place, &"postgres".parse().unwrap()), Some(104));
    }
}

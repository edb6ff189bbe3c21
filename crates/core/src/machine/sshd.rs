//! What sshd is told, in one file of its own that it reads before all others.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::accounts::{GROUP, KEYS_DIRECTORY, MANAGER, MANAGER_KEYS};
use super::setup::Setup;

/// The file. sshd takes the first value that it finds, and reads these files in the order of their
/// names, so this one wins over what an image brings, as `50-cloud-init.conf`.
pub const DROP_IN: &str = "/etc/ssh/sshd_config.d/00-onward.conf";

/// Algorithms are taken away from the list of the installed version instead of being listed: what it
/// prefers, as key exchanges that outlive quantum computers, stays and grows with it.
const WEAK: [(&str, &str); 5] = [
    ("KexAlgorithms", "-*sha1,diffie-hellman-group14-*,ecdh-sha2-nistp*"),
    ("Ciphers", "-*cbc,3des*,arcfour*"),
    ("MACs", "-*sha1*,*md5*,umac-64*"),
    ("HostKeyAlgorithms", "-ssh-rsa*,ssh-dss*"),
    // The older name of PubkeyAcceptedAlgorithms, which all versions know.
    ("PubkeyAcceptedKeyTypes", "-ssh-rsa*,ssh-dss*"),
];

/// What the file holds.
pub(super) fn content(setup: &Setup) -> String {
    let mut text = format!(
        "# Written by onward for {}, and written again whenever it differs.\n\
         # To have sshd as it was: `harden = \"off\"` in onward.toml, or delete this file and\n\
         # run `systemctl reload ssh`.\n",
        setup.owner
    );
    let root = if setup.root_login { "prohibit-password" } else { "no" };
    let mut lines = vec![
        ("PubkeyAuthentication", "yes".to_owned()),
        ("AuthenticationMethods", "publickey".to_owned()),
        ("PasswordAuthentication", "no".to_owned()),
        // The older name of KbdInteractiveAuthentication, which all versions know.
        ("ChallengeResponseAuthentication", "no".to_owned()),
        ("PermitEmptyPasswords", "no".to_owned()),
        ("PermitRootLogin", root.to_owned()),
    ];
    if setup.has_exact_accounts() {
        lines.push(("AllowGroups", groups()));
        lines.push(("AuthorizedKeysFile", keys_files()));
        lines.push(("AuthorizedKeysCommand", "none".to_owned()));
    }
    lines.extend([
        ("StrictModes", "yes".to_owned()),
        ("LoginGraceTime", "30".to_owned()),
        ("X11Forwarding", "no".to_owned()),
        ("UseDNS", "no".to_owned()),
    ]);
    lines.extend(WEAK.map(|(key, value)| (key, value.to_owned())));
    for (key, value) in lines {
        let _ = writeln!(text, "{key} {value}");
    }
    text
}

fn groups() -> String {
    format!("{GROUP} {MANAGER}")
}

fn keys_files() -> String {
    format!("{KEYS_DIRECTORY}/%u {MANAGER_KEYS}")
}

/// What sshd has to say of itself when the file is in force, by keyword as `sshd -T` prints it.
pub(super) fn effective(setup: &Setup) -> BTreeMap<String, String> {
    let root = if setup.root_login { "without-password" } else { "no" };
    let mut expected = BTreeMap::from(
        [
            ("authenticationmethods", "publickey"),
            ("passwordauthentication", "no"),
            ("permitemptypasswords", "no"),
            ("permitrootlogin", root),
            ("pubkeyauthentication", "yes"),
            ("x11forwarding", "no"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    if setup.has_exact_accounts() {
        expected.insert("allowgroups".to_owned(), groups());
        expected.insert("authorizedkeysfile".to_owned(), keys_files());
    }
    expected
}

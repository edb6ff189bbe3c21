//! The files that onward owns on a machine. They are whole files of its own: originals are never
//! edited.

use super::change::{Change, Effect, Stage};
use super::facts::{Facts, FileFact};
use super::packages::PackageSystem;
use super::setup::{Harden, Setup};

/// The firewall's rules.
pub const FIREWALL_FILE: &str = "/etc/onward/firewall.nft";
/// Loads them at boot.
pub const FIREWALL_UNIT: &str = "onward-firewall.service";
/// Undoes at boot what nobody confirmed.
pub const UNDO_UNIT: &str = "onward-undo.service";
/// The swap file.
pub const SWAP_FILE: &str = "/var/lib/onward/swapfile";
/// Uses it.
pub const SWAP_UNIT: &str = "var-lib-onward-swapfile.swap";

pub(super) const FIREWALL_UNIT_FILE: &str = "/etc/systemd/system/onward-firewall.service";
pub(super) const UNDO_UNIT_FILE: &str = "/etc/systemd/system/onward-undo.service";
const LIMITS_FILE: &str = "/etc/security/limits.d/90-onward.conf";
const APT_FILE: &str = "/etc/apt/apt.conf.d/52onward-updates";
/// The timer of `dnf-automatic`.
const DNF_TIMER: &str = "dnf-automatic-install.timer";

/// Every file that onward may write, besides the keys of accounts.
pub const MANAGED: [&str; 7] = [
    super::sshd::DROP_IN,
    super::accounts::SUDOERS,
    FIREWALL_FILE,
    FIREWALL_UNIT_FILE,
    UNDO_UNIT_FILE,
    LIMITS_FILE,
    APT_FILE,
];

/// A file as it shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) path: String,
    pub(super) mode: u32,
    pub(super) content: String,
}

/// What makes the file at `path` as wanted; none when it is so. Wanting none of it deletes it.
pub(super) fn differing(path: &str, wanted: Option<&Wanted>, facts: &Facts) -> Option<Effect> {
    match (wanted, facts.files.get(path)) {
        (None, None) => None,
        (None, Some(_)) => Some(Effect::Remove(path.to_owned())),
        (Some(wanted), Some(FileFact { content, mode }))
            if *content == wanted.content && *mode == wanted.mode =>
        {
            None
        }
        (Some(Wanted { mode, content, .. }), _) => {
            Some(Effect::Write { path: path.to_owned(), mode: *mode, content: content.clone() })
        }
    }
}

/// What undoes at boot, before the network is there, a change that was never confirmed. It is in
/// place before the first such change.
pub(super) fn undo_unit(setup: &Setup, facts: &Facts) -> Option<Change> {
    let content = format!(
        "# Written by onward for {}.\n\
         [Unit]\n\
         Description=Undo changes that nobody confirmed before the machine went down\n\
         Documentation=man:onward(1)\n\
         DefaultDependencies=no\n\
         ConditionPathExists=/var/lib/onward/machine/undo.json\n\
         RequiresMountsFor=/var/lib/onward /etc\n\
         After=local-fs.target\n\
         Before={FIREWALL_UNIT} network-pre.target ssh.service sshd.service ssh.socket\n\
         Wants=network-pre.target\n\
         Conflicts=shutdown.target\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         ExecStart=/var/lib/onward/machine/undo\n\
         \n\
         [Install]\n\
         WantedBy=sysinit.target\n",
        setup.owner
    );
    let wanted = Wanted { path: UNDO_UNIT_FILE.to_owned(), mode: 0o644, content };
    let wanted = (setup.harden != Harden::Off).then_some(wanted);
    let effect = differing(UNDO_UNIT_FILE, wanted.as_ref(), facts);
    let is_enabled = facts.enabled.contains(UNDO_UNIT);
    if effect.is_none() && is_enabled == wanted.is_some() {
        return None;
    }
    let (sentence, stage, effects) = match wanted {
        Some(_) => (
            "A reboot undoes what was not confirmed before it",
            Stage::First,
            [effect, Some(enable(UNDO_UNIT, false))],
        ),
        None => (
            "Nothing has to be undone after a reboot any more",
            Stage::Last,
            [Some(Effect::Disable(UNDO_UNIT.to_owned())), effect],
        ),
    };
    Some(Change {
        stage,
        sentence: sentence.to_owned(),
        details: Vec::new(),
        undo: format!("`systemctl disable {UNDO_UNIT}`, then delete {UNDO_UNIT_FILE}"),
        effects: effects.into_iter().flatten().collect(),
    })
}

pub(super) fn enable(unit: &str, now: bool) -> Effect {
    Effect::Enable { unit: unit.to_owned(), now }
}

/// What loads the firewall at boot.
pub(super) fn firewall_unit(setup: &Setup) -> Option<Wanted> {
    let content = format!(
        "# Written by onward for {}.\n\
         [Unit]\n\
         Description=The firewall's rules of onward\n\
         DefaultDependencies=no\n\
         RequiresMountsFor=/etc\n\
         After=local-fs.target nftables.service\n\
         # Debian's nftables.service empties the kernel of all rules when it starts again.\n\
         PartOf=nftables.service\n\
         ReloadPropagatedFrom=nftables.service\n\
         Before=network-pre.target\n\
         Wants=network-pre.target\n\
         Conflicts=shutdown.target\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n\
         ExecStart=/usr/sbin/nft -f {FIREWALL_FILE}\n\
         ExecReload=/usr/sbin/nft -f {FIREWALL_FILE}\n\
         \n\
         [Install]\n\
         WantedBy=sysinit.target nftables.service\n",
        setup.owner
    );
    let path = FIREWALL_UNIT_FILE.to_owned();
    (setup.harden == Harden::Full).then_some(Wanted { path, mode: 0o644, content })
}

/// How many files a process may have open.
pub(super) fn limits(setup: &Setup, facts: &Facts) -> Option<Change> {
    let content = format!(
        "# Written by onward for {}.\n\
         * soft nofile 65536\n* hard nofile 524288\nroot soft nofile 65536\nroot hard nofile 524288\n",
        setup.owner
    );
    let wanted = Wanted { path: LIMITS_FILE.to_owned(), mode: 0o644, content };
    let wanted = (setup.harden == Harden::Full).then_some(wanted);
    let effect = differing(LIMITS_FILE, wanted.as_ref(), facts)?;
    let sentence = match wanted {
        Some(_) => "Who signs in may have 65,536 files open",
        None => "Limits of open files are those of the system again",
    };
    Some(Change {
        stage: Stage::Last,
        sentence: sentence.to_owned(),
        details: Vec::new(),
        undo: format!("delete {LIMITS_FILE}"),
        effects: vec![effect],
    })
}

/// Security updates that install themselves.
pub(super) fn updates(setup: &Setup, facts: &Facts) -> Option<Change> {
    let (effects, undo) = match facts.system.packages? {
        PackageSystem::Apt => {
            let content = format!(
                "// Written by onward for {}.\n\
                 APT::Periodic::Update-Package-Lists \"1\";\n\
                 APT::Periodic::Unattended-Upgrade \"1\";\n\
                 APT::Periodic::AutocleanInterval \"7\";\n\
                 Unattended-Upgrade::Automatic-Reboot \"false\";\n",
                setup.owner
            );
            let wanted = Wanted { path: APT_FILE.to_owned(), mode: 0o644, content };
            let wanted = setup.updates.then_some(wanted);
            (vec![differing(APT_FILE, wanted.as_ref(), facts)?], format!("delete {APT_FILE}"))
        }
        PackageSystem::Dnf if setup.updates && !facts.enabled.contains(DNF_TIMER) => {
            (vec![enable(DNF_TIMER, true)], format!("`systemctl disable --now {DNF_TIMER}`"))
        }
        PackageSystem::Dnf | PackageSystem::Pacman => return None,
    };
    let sentence = match setup.updates {
        true => "Security updates install themselves; the machine is not rebooted for them",
        false => "onward does not ask for security updates any more",
    };
    Some(Change {
        stage: Stage::Last,
        sentence: sentence.to_owned(),
        details: Vec::new(),
        undo,
        effects,
    })
}

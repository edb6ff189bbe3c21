//! What the servers' machines shall be: `[admin.NAME]`, and `harden`, `admins`, `open` … of an
//! environment.
//!
//! People are described once, at the top of the file, because their keys are the same everywhere;
//! an environment without `admins` has all of them, one with it those that it names.

use std::collections::{BTreeMap, BTreeSet};

use onward_core::machine::{
    Admin, AuthorizedKey, Harden, InvalidKey, Network, Opening, Ports, Protocol, UserName,
};
use onward_core::schedule;

use super::diagnostic::{Code, Diagnostic, Span};
use super::model::Provider;
use super::parse::{shown, unknown_word, word};
use super::read::{Item, Section, Sink, Text};
use super::routing;
use super::suggest;
use super::words::Why;

/// The most keys of one person.
const KEYS_MAX: usize = 32;
/// The most swap, in MiB: what is beyond it never comes back from the disk in time.
const SWAP_MIB_MAX: u64 = 64 << 10;
/// The least: below it nothing is gained.
const SWAP_MIB_MIN: u64 = 16;
/// Why a port of `open` is open, in the rules of the firewall.
const OPEN: &str = "open in the project file";

/// What the machines of an environment shall be, as far as the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// `harden`: how much of them is hardened.
    pub harden: Option<Harden>,
    /// `admins`: who may sign in; nobody: accounts stay as they are.
    pub admins: Vec<Admin>,
    /// `root_login`: whether root may sign in with a key.
    pub root_login: Option<bool>,
    /// `ssh_from`: from where SSH is reached; nowhere: from anywhere.
    pub ssh_from: Vec<Network>,
    /// `open`: ports besides those of SSH and the app.
    pub open: Vec<Opening>,
    /// `packages`: what is installed besides what onward needs.
    pub packages: BTreeSet<String>,
    /// `timezone`.
    pub timezone: Option<String>,
    /// `locale`.
    pub locale: Option<String>,
    /// `swap`, in MiB.
    pub swap_mib: Option<u32>,
    /// `updates`: whether security updates install themselves.
    pub updates: Option<bool>,
}

/// Reads `[admin.NAME]`.
pub(super) fn admins(root: &mut Section<'_>, sink: &mut Sink) -> BTreeMap<UserName, Admin> {
    let Some(all) = root.get("admin").and_then(|item| item.table(sink)) else {
        return BTreeMap::new();
    };
    let mut found = BTreeMap::new();
    for item in all.entries() {
        let name = account(item.key, item.key_span.clone(), sink);
        let Some(mut section) = item.table(sink) else { continue };
        let keys = keys(&mut section, sink);
        section.finish(sink);
        if let (Some(name), Some(keys)) = (name, keys) {
            found.insert(name.clone(), Admin { name, keys });
        }
    }
    found
}

fn account(text: &str, span: Span, sink: &mut Sink) -> Option<UserName> {
    let name = text.parse::<UserName>().ok();
    let name = name.filter(|name| !name.is_root() && name.can_be_made());
    if name.is_none() {
        let message = format!("`{}` cannot be the account of an admin", shown(text));
        let (label, help) = match text {
            "root" => (
                "is everybody's",
                "give each person a name of their own; `root_login = true` lets them in as root",
            ),
            _ => (
                "not a name of an account",
                "names are 1 to 32 lower-case letters, digits, `-` and `_`, starting with a letter",
            ),
        };
        sink.push(Diagnostic::error(Code::InvalidName, span, message, label).help(help));
    }
    name
}

fn keys(section: &mut Section<'_>, sink: &mut Sink) -> Option<Vec<AuthorizedKey>> {
    let help = "write `keys = [\"ssh-ed25519 AAAA… ana@laptop\"]`, the line of a `.pub` file";
    let Some(item) = section.get("keys") else {
        let message = format!("{} has no keys", section.title());
        let found =
            Diagnostic::error(Code::MissingKey, section.span.clone(), message, "`keys` is missing");
        sink.push(found.help(help));
        return None;
    };
    let texts = item.texts(sink)?;
    if texts.is_empty() || texts.len() > KEYS_MAX {
        let message = format!("`{}` has {} keys", item.path, texts.len());
        let label = format!("has to have 1 to {KEYS_MAX}");
        let found = Diagnostic::error(Code::InvalidKey, item.value_span(), message, label);
        sink.push(found.help(help));
    }
    Some(texts.iter().filter_map(|text| key(text, sink)).collect())
}

/// What is no public key is not repeated: it may be a private one.
fn key(text: &Text<'_>, sink: &mut Sink) -> Option<AuthorizedKey> {
    let error = match text.text.parse() {
        Ok(key) => return Some(key),
        Err(error) => error,
    };
    let (label, help) = match error {
        InvalidKey::Private => (
            "a private key, not shown here",
            "write the line of the file that ends with `.pub`; the private key has been in a file \
             that is shared, so make a new one with `ssh-keygen -t ed25519`",
        ),
        InvalidKey::Line => (
            "not the line of a `.pub` file",
            "write it whole and without options, as `ssh-ed25519 AAAA… ana@laptop`",
        ),
        InvalidKey::Kind(_) => ("a kind that is not taken", "`ssh-keygen -t ed25519` makes one"),
        InvalidKey::Body(_) => {
            ("a part of it is missing", "copy the line of the `.pub` file again")
        }
    };
    let code = match error {
        InvalidKey::Private => Code::PrivateKey,
        _ => Code::InvalidKey,
    };
    let message = format!("`{}` has what is no public key", text.path);
    sink.push(Diagnostic::error(code, text.span.clone(), message, label).help(help));
    None
}

/// The keys of an environment that say something of its machines.
const KEYS: [&str; 10] = [
    "harden",
    "admins",
    "root_login",
    "ssh_from",
    "open",
    "packages",
    "timezone",
    "locale",
    "swap",
    "updates",
];

/// Reads what an environment says of its machines.
pub(super) fn machine(
    section: &mut Section<'_>,
    provider: Option<Provider>,
    people: &BTreeMap<UserName, Admin>,
    sink: &mut Sink,
) -> Machine {
    let given = KEYS.map(|key| section.get(key));
    if provider == Some(Provider::Local) {
        given.iter().flatten().for_each(|item| meaningless(item, sink));
        return Machine::default();
    }
    let [harden, named, root_login, ssh_from, open, packages, timezone, locale, swap, updates] =
        given;
    let harden_span = harden.as_ref().map(Item::value_span);
    let harden = harden.and_then(|item| harden_of(&item, sink));
    if let (Some(harden), Some(span)) = (harden, &harden_span) {
        let accounts =
            [&named, &root_login].into_iter().flatten().filter(|_| harden == Harden::Off);
        let doors = [&ssh_from, &open].into_iter().flatten().filter(|_| harden != Harden::Full);
        accounts.chain(doors).for_each(|item| nobody_does(item, harden, span, sink));
    }
    let mut admins: Vec<Admin> = match named {
        Some(item) => chosen(&item, people, sink),
        None => people.values().cloned().collect(),
    };
    if harden == Some(Harden::Off) {
        admins.clear();
    }
    Machine {
        harden,
        admins,
        root_login: root_login.and_then(|item| item.boolean(sink)),
        ssh_from: ssh_from.map(|item| networks(&item, sink)).unwrap_or_default(),
        open: open.map(|item| openings(&item, sink)).unwrap_or_default(),
        packages: packages.map(|item| package_names(&item, sink)).unwrap_or_default(),
        timezone: timezone.and_then(|item| timezone_of(&item, sink)),
        locale: locale.and_then(|item| locale_of(&item, sink)),
        swap_mib: swap.and_then(|item| swap_of(&item, sink)),
        updates: updates.and_then(|item| updates_of(&item, sink)),
    }
}

fn meaningless(item: &Item<'_>, sink: &mut Sink) {
    let message = format!("`{}` means nothing with the provider `local`", item.key);
    let label = "the server is this machine, which onward does not set up";
    let found = Diagnostic::error(Code::Meaningless, item.key_span.clone(), message, label);
    sink.push(found.help("remove it"));
}

/// `harden` leaves it to others.
fn nobody_does(item: &Item<'_>, harden: Harden, span: &Span, sink: &mut Sink) {
    let (word, leaves, instead) = match harden {
        Harden::Off => ("off", "leaves accounts, sshd and firewall alone", "ssh"),
        Harden::Ssh | Harden::Full => ("ssh", "leaves the firewall alone", "full"),
    };
    let message = format!("`{}` and `harden = \"{word}\"` exclude each other", item.path);
    let label = "nobody would see to it";
    let found = Diagnostic::error(Code::Conflict, item.key_span.clone(), message, label);
    let help = format!("remove it, or write `harden = \"{instead}\"`");
    sink.push(found.also(span.clone(), leaves).help(help));
}

fn harden_of(item: &Item<'_>, sink: &mut Sink) -> Option<Harden> {
    let text = item.text(sink)?;
    match text.text {
        "full" => return Some(Harden::Full),
        "ssh" => return Some(Harden::Ssh),
        "off" => return Some(Harden::Off),
        _ => unknown_word(sink, &text, "a way to harden", &["full", "ssh", "off"]),
    }
    None
}

fn updates_of(item: &Item<'_>, sink: &mut Sink) -> Option<bool> {
    let text = item.text(sink)?;
    match text.text {
        "security" => return Some(true),
        "off" => return Some(false),
        _ => unknown_word(sink, &text, "a kind of updates", &["security", "off"]),
    }
    None
}

/// The people that an environment names.
fn chosen(item: &Item<'_>, people: &BTreeMap<UserName, Admin>, sink: &mut Sink) -> Vec<Admin> {
    let Some(texts) = item.texts(sink) else { return Vec::new() };
    if texts.is_empty() {
        let message = format!("`{}` names nobody", item.path);
        let found = Diagnostic::error(Code::MissingKey, item.value_span(), message, "empty");
        sink.push(found.help("name one of `[admin.NAME]`, or remove the line: then all are meant"));
    }
    let names: Vec<&str> = people.keys().map(UserName::as_str).collect();
    let mut found: BTreeMap<&UserName, Admin> = BTreeMap::new();
    for text in texts {
        match people.iter().find(|(name, _)| name.as_str() == text.text) {
            Some((name, admin)) => {
                found.insert(name, admin.clone());
            }
            None => {
                let message = format!("there is no `[admin.{}]`", shown(text.text));
                let help = match suggest::nearest(text.text, &names) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!(
                        "add it: `[admin.{}]` with `keys = [\"ssh-ed25519 AAAA…\"]`",
                        shown(text.text)
                    ),
                };
                let label = "nobody is called so";
                sink.push(
                    Diagnostic::error(Code::UnknownWord, text.span, message, label).help(help),
                );
            }
        }
    }
    found.into_values().collect()
}

fn networks(item: &Item<'_>, sink: &mut Sink) -> Vec<Network> {
    let texts = item.texts(sink).unwrap_or_default();
    let make = |text: &str| {
        text.parse::<Network>()
            .map_err(|error| Why::new("neither an address nor a network", error.to_string()))
    };
    texts.iter().filter_map(|text| word(sink, Code::InvalidAddress, text, make)).collect()
}

/// Each a port, `"8000-8080"`, `"51820/udp"`, or a table with `port` and `from`.
fn openings(item: &Item<'_>, sink: &mut Sink) -> Vec<Opening> {
    let items = item.list(sink).unwrap_or_default();
    items.iter().filter_map(|item| opening(item, sink)).collect()
}

fn opening(item: &Item<'_>, sink: &mut Sink) -> Option<Opening> {
    if !item.is_table() {
        let (protocol, ports) = ports(item, sink)?;
        return Some(Opening { protocol, ports, from: None, why: OPEN.to_owned() });
    }
    let mut section = item.table(sink)?;
    let port = section.get("port");
    let from = section.get("from").map(|item| networks(&item, sink));
    if port.is_none() {
        let message = "an element of `open` has no port";
        let span = section.span.clone();
        let found = Diagnostic::error(Code::MissingKey, span, message, "`port` is missing");
        sink.push(found.help("write `{ port = 5432, from = [\"10.0.0.0/8\"] }`"));
    }
    section.finish(sink);
    let (protocol, ports) = ports(&port?, sink)?;
    Some(Opening { protocol, ports, from, why: OPEN.to_owned() })
}

fn ports(item: &Item<'_>, sink: &mut Sink) -> Option<(Protocol, Ports)> {
    if !item.is_text() {
        let port = item.number(sink, 1, u32::from(u16::MAX))?;
        return Some((Protocol::Tcp, u16::try_from(port).ok()?.into()));
    }
    let text = item.text(sink)?;
    word(sink, Code::InvalidNumber, &text, |text| {
        ports_of(text).ok_or_else(|| {
            Why::new(
                "neither a port nor ports in a row",
                "write `5432`, `\"8000-8080\"`, `\"51820/udp\"` or `\"60000-61000/udp\"`",
            )
        })
    })
}

fn ports_of(text: &str) -> Option<(Protocol, Ports)> {
    let (ports, protocol) = match text.split_once('/') {
        None | Some((_, "tcp")) => (text.trim_end_matches("/tcp"), Protocol::Tcp),
        Some((ports, "udp")) => (ports, Protocol::Udp),
        Some(_) => return None,
    };
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((protocol, Ports { first, last }))
}

fn package_names(item: &Item<'_>, sink: &mut Sink) -> BTreeSet<String> {
    let texts = item.texts(sink).unwrap_or_default();
    let make = |text: &str| {
        let legal = |c: char| c.is_ascii_alphanumeric() || "+-._".contains(c);
        let starts = text.starts_with(|first: char| first.is_ascii_alphanumeric());
        match starts && text.chars().all(legal) {
            true => Ok(text.to_owned()),
            false => Err(Why::new(
                "not the name of a package",
                "write it as the server's own program calls it, as `postgresql-client`",
            )),
        }
    };
    texts.iter().filter_map(|text| word(sink, Code::InvalidName, text, make)).collect()
}

fn timezone_of(item: &Item<'_>, sink: &mut Sink) -> Option<String> {
    let text = item.text(sink)?;
    word(sink, Code::UnknownWord, &text, |text| match schedule::zone(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(wrong) => Err(Why::new(wrong.label, wrong.help)),
    })
}

fn locale_of(item: &Item<'_>, sink: &mut Sink) -> Option<String> {
    let text = item.text(sink)?;
    word(sink, Code::UnknownWord, &text, |text| {
        let legal = |c: char| c.is_ascii_alphanumeric() || "_.-@".contains(c);
        let starts = text.starts_with(|first: char| first.is_ascii_alphabetic());
        match starts && text.chars().all(legal) && text.ends_with("UTF-8") {
            true => Ok(text.to_owned()),
            false => Err(Why::new(
                "no locale of UTF-8",
                "write it with its character set: `C.UTF-8`, `de_AT.UTF-8`",
            )),
        }
    })
}

fn swap_of(item: &Item<'_>, sink: &mut Sink) -> Option<u32> {
    let text = item.text(sink)?;
    word(sink, Code::InvalidSize, &text, |text| {
        let mib = routing::size(text)? >> 20;
        let fits = (SWAP_MIB_MIN..=SWAP_MIB_MAX).contains(&mib);
        u32::try_from(mib).ok().filter(|_| fits).ok_or_else(|| {
            Why::new(
                format!("has to be {SWAP_MIB_MIN}MiB to {}GiB", SWAP_MIB_MAX >> 10),
                "as much as the memory is a good size: `2GiB`",
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read() {
        let shown = |text| ports_of(text).map(|(protocol, ports)| format!("{ports}/{protocol}"));
        assert_eq!(shown("5432").as_deref(), Some("5432/tcp"));
        assert_eq!(shown("5432/tcp").as_deref(), Some("5432/tcp"));
        assert_eq!(shown("60000-61000/udp").as_deref(), Some("60000-61000/udp"));
        for text in ["", "0", "65536", "2-1", "80/icmp", "80/", "-", "a", "1-2-3", " 80"] {
            assert_eq!(shown(text), None, "{text}");
        }
    }
}

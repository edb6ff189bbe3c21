//! How a server is reached: `address`, `user`, `port` and `host_key` of one server.
//!
//! What is written here becomes arguments of `ssh`, so nothing that could be read as an option or a
//! command passes.

use std::fmt;

use super::diagnostic::{Code, Diagnostic};
use super::model::Provider;
use super::read::{Item, Section, Sink};

/// The longest address, in bytes: no host name is longer.
const ADDRESS_BYTES_MAX: usize = 253;
/// The longest name of a user, in bytes: no Linux system takes a longer one.
const USER_BYTES_MAX: usize = 32;
/// The kinds of host keys that a pin may have.
const KEY_KINDS: [&str; 5] =
    ["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa"];

/// How a server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// A host name, an IP address, or a `Host` of `~/.ssh/config`.
    pub address: String,
    /// Who logs in; none: what `~/.ssh/config` says.
    pub user: Option<String>,
    /// The port of sshd; none: what `~/.ssh/config` says, else 22.
    pub port: Option<u16>,
    /// The key that the server has to show; none: the one that was accepted at enrolment.
    pub host_key: Option<HostKey>,
}

/// The public half of a host key, as `KIND BASE64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostKey(String);

impl HostKey {
    /// Understands a line of `ssh-keyscan`, of `known_hosts` without its names, or of
    /// `/etc/ssh/ssh_host_*_key.pub`; what follows the key is left out.
    pub fn new(text: &str) -> Option<Self> {
        use base64::Engine as _;
        let mut words = text.split_ascii_whitespace();
        let (kind, key) = (words.next()?, words.next()?);
        let bytes = base64::engine::general_purpose::STANDARD.decode(key).ok()?;
        let length = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        let says = bytes.get(4..)?.get(..length)?;
        (KEY_KINDS.contains(&kind) && says == kind.as_bytes())
            .then(|| Self(format!("{kind} {key}")))
    }

    /// `KIND BASE64`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Reads how a server is reached. Only servers that somebody else has made need to say so.
pub(super) fn read(
    section: &mut Section<'_>,
    provider: Option<Provider>,
    sink: &mut Sink,
) -> Option<Reach> {
    let (address, user) = (section.get("address"), section.get("user"));
    let (port, host_key) = (section.get("port"), section.get("host_key"));
    if provider.is_some_and(|provider| provider != Provider::Ssh) {
        for item in [address, user, port, host_key].into_iter().flatten() {
            meaningless(&item, provider, sink);
        }
        return None;
    }
    if provider.is_some() && address.is_none() {
        let message = "a server has no address";
        let found = Diagnostic::error(
            Code::MissingKey,
            section.span.clone(),
            message,
            "`address` is missing",
        );
        let help = "write `{ name = \"one\", address = \"203.0.113.7\" }`: a host name, an IP \
                    address, or a `Host` of your `~/.ssh/config`";
        sink.push(found.help(help));
    }
    let address = address.and_then(|item| address_of(&item, sink));
    let user = user.and_then(|item| user_of(&item, sink));
    let port = port.and_then(|item| item.number(sink, 1, u32::from(u16::MAX)));
    let host_key = host_key.and_then(|item| key_of(&item, sink));
    Some(Reach {
        address: address?,
        user,
        port: port.and_then(|port| u16::try_from(port).ok()),
        host_key,
    })
}

fn meaningless(item: &Item<'_>, provider: Option<Provider>, sink: &mut Sink) {
    let provider = provider.unwrap_or_default();
    let label = match provider {
        Provider::Local => "every server is on this machine",
        Provider::Ssh => "not needed",
        Provider::Nspawn => "onward gives its servers an address and a key",
    };
    let message = format!("`{}` means nothing with the provider `{provider}`", item.key);
    let found = Diagnostic::error(Code::Meaningless, item.key_span.clone(), message, label);
    sink.push(found.help("remove it"));
}

fn address_of(item: &Item<'_>, sink: &mut Sink) -> Option<String> {
    let text = item.text(sink)?;
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    let label = if text.text.is_empty() {
        "is empty"
    } else if text.text.contains('@') {
        "holds the user, who has a key of its own"
    } else if text.text.contains("://") {
        "is a URL"
    } else if text.text.starts_with('-') || !text.text.chars().all(legal) {
        "is neither a host name nor an IP address"
    } else if text.text.len() > ADDRESS_BYTES_MAX {
        "is longer than any host name"
    } else {
        return Some(text.text.to_owned());
    };
    let message = format!("`{}` is no address", super::parse::shown(text.text));
    let found = Diagnostic::error(Code::InvalidAddress, text.span, message, label);
    sink.push(found.help(
        "write a host name or an IP address alone, for example `address = \"203.0.113.7\", user = \
         \"admin\", port = 2222`",
    ));
    None
}

fn user_of(item: &Item<'_>, sink: &mut Sink) -> Option<String> {
    let text = item.text(sink)?;
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let fits = !text.text.is_empty()
        && text.text.len() <= USER_BYTES_MAX
        && !text.text.starts_with('-')
        && text.text.chars().all(legal);
    if fits {
        return Some(text.text.to_owned());
    }
    let message = format!("`{}` is no name of a user", super::parse::shown(text.text));
    let found =
        Diagnostic::error(Code::InvalidName, text.span, message, "nobody can log in with it");
    sink.push(found.help("write the name of an account on the server, for example `admin`"));
    None
}

fn key_of(item: &Item<'_>, sink: &mut Sink) -> Option<HostKey> {
    let text = item.text(sink)?;
    let key = HostKey::new(text.text);
    if key.is_none() {
        let message = "this is not the public half of a host key";
        let label = format!("has to be `KIND BASE64`, KIND one of {}", KEY_KINDS.join(", "));
        let found = Diagnostic::error(Code::InvalidAddress, text.span, message, label);
        sink.push(found.help(
            "on the server, `cat /etc/ssh/ssh_host_ed25519_key.pub` prints it; copy the first two \
             words",
        ));
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIJXo3b1X4pSTKqB3YDTbGMfdLZzOsMIeF5dFSzhBKfEx";

    #[test]
    fn a_host_key_is_what_it_says() {
        let key = HostKey::new(&format!("ssh-ed25519 {KEY} root@one\n")).expect("a key");
        assert_eq!(key.as_str(), format!("ssh-ed25519 {KEY}"));
        for wrong in [KEY, "ssh-ed25519", "ssh-ed25519 AAAA", &format!("ssh-rsa {KEY}"), ""] {
            assert_eq!(HostKey::new(wrong), None, "{wrong}");
        }
    }
}

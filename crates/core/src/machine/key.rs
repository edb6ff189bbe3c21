//! Public keys that may sign in.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// The longest line of a key: an RSA key of 16,384 bits and a comment.
const BYTES_MAX: usize = 4096;

/// The kinds of keys that are taken. DSA is not: OpenSSH refuses it since 7.0.
const KINDS: [&str; 7] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-rsa",
];

/// One public key, as a line of a `.pub` file: kind, key, and a comment that says whose it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuthorizedKey {
    kind: String,
    body: String,
    comment: String,
}

/// Why a text is no public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// It is the private half, which belongs to nobody else.
    #[error("this is a private key; the public one is the line in the file that ends with `.pub`")]
    Private,
    /// It is not the line of one public key.
    #[error(
        "this is no public key: it is one line as in a `.pub` file, `ssh-ed25519 AAAA… ana@laptop`"
    )]
    Line,
    /// Nobody takes keys of this kind, or no longer.
    #[error("keys of the kind `{0}` are not taken: make one with `ssh-keygen -t ed25519`")]
    Kind(String),
    /// The kind and the key do not belong together, or a part is missing.
    #[error("the key after `{0}` is not a whole key of that kind: copy the line again")]
    Body(String),
}

impl AuthorizedKey {
    /// How people tell keys apart: `SHA256:…`, as `ssh-keygen -l` prints it.
    pub fn fingerprint(&self) -> String {
        let body = STANDARD.decode(&self.body).unwrap_or_default();
        format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(body)))
    }

    /// Whether it is the same key, whatever the comments say.
    pub fn is_same(&self, other: &Self) -> bool {
        self.kind == other.kind && self.body == other.body
    }

    /// How messages call it: comment and fingerprint.
    pub fn shown(&self) -> String {
        match self.comment.is_empty() {
            true => self.fingerprint(),
            false => format!("{} ({})", self.fingerprint(), self.comment),
        }
    }

    /// The keys of a file as sshd reads it. Lines that are no key that this reads, for example with
    /// options before the key, are given as they are.
    pub fn read_all(text: &str) -> Vec<Result<Self, String>> {
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(|line| line.parse().map_err(|_| line.to_owned())).collect()
    }
}

impl FromStr for AuthorizedKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let text = text.trim();
        if text.contains("PRIVATE KEY") {
            return Err(InvalidKey::Private);
        }
        if text.len() > BYTES_MAX || text.contains(char::is_control) {
            return Err(InvalidKey::Line);
        }
        let mut parts = text.splitn(3, ' ').map(str::trim);
        let (Some(kind), Some(body)) = (parts.next(), parts.next()) else {
            return Err(InvalidKey::Line);
        };
        let looks_like_kind = ["ssh-", "ecdsa-", "sk-"].iter().any(|start| kind.starts_with(start));
        if !looks_like_kind {
            return Err(InvalidKey::Line);
        }
        if !KINDS.contains(&kind) {
            return Err(InvalidKey::Kind(kind.to_owned()));
        }
        if !is_of_kind(body, kind) {
            return Err(InvalidKey::Body(kind.to_owned()));
        }
        let comment = parts.next().unwrap_or_default();
        Ok(Self { kind: kind.to_owned(), body: body.to_owned(), comment: comment.to_owned() })
    }
}

/// A key begins with its kind, and each of its parts with its length; the last part ends it.
fn is_of_kind(body: &str, kind: &str) -> bool {
    let Ok(bytes) = STANDARD.decode(body) else { return false };
    let mut rest = bytes.as_slice();
    let mut parts = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let Some((part, after)) = after.split_at_checked(length) else { return false };
        parts.push(part);
        rest = after;
    }
    rest.is_empty() && parts.len() >= 2 && parts[0] == kind.as_bytes()
}

impl fmt::Display for AuthorizedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, body, comment } = self;
        match comment.is_empty() {
            true => write!(f, "{kind} {body}"),
            false => write!(f, "{kind} {body} {comment}"),
        }
    }
}

impl Serialize for AuthorizedKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AuthorizedKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANA: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILWfyWmSyJn3zNPZd0R8S4mY0vZ0s6dM4kBqO0Yd6dJx ana@laptop";

    #[test]
    fn a_key_is_read_and_written_as_it_was() {
        let key: AuthorizedKey = ANA.parse().unwrap();
        assert_eq!(key.to_string(), ANA);
        assert!(key.fingerprint().starts_with("SHA256:") && key.fingerprint().len() == 50);
        assert_eq!(key.shown(), format!("{} (ana@laptop)", key.fingerprint()));
    }

    #[test]
    fn what_is_no_key_says_why() {
        let body = ANA.split(' ').nth(1).unwrap();
        let cases = [
            ("-----BEGIN OPENSSH PRIVATE KEY-----", InvalidKey::Private),
            ("ana", InvalidKey::Line),
            ("command=\"x\" ssh-ed25519 AAAA", InvalidKey::Line),
            ("ssh-ed25519 AAAA\nssh-ed25519 BBBB", InvalidKey::Line),
            ("ssh-dss AAAA", InvalidKey::Kind("ssh-dss".to_owned())),
            ("ssh-ed25519 AAAA", InvalidKey::Body("ssh-ed25519".to_owned())),
            (&format!("ssh-rsa {body}"), InvalidKey::Body("ssh-rsa".to_owned())),
            (&ANA[..60], InvalidKey::Body("ssh-ed25519".to_owned())),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<AuthorizedKey>(), Err(expected), "{text}");
        }
    }

    #[test]
    fn a_file_of_keys_keeps_what_it_does_not_understand() {
        let text = format!("# mine\n\n{ANA}\nfrom=\"10.0.0.1\" {ANA}\n");
        let found = AuthorizedKey::read_all(&text);
        assert_eq!(found.len(), 2);
        assert!(found[0].is_ok() && found[1].as_ref().is_err_and(|line| line.starts_with("from")));
    }
}

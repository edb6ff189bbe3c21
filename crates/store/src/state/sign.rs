//! What stands in the place of a document that is not here: it was moved, or it is on its way.
//!
//! A sign is no document, so that a version of onward that does not know signs finds a damaged
//! file and changes nothing.

use std::fmt;

use onward_core::model::{Digest, Generation, ServerName};
use serde::{Deserialize, Serialize};

/// What is in the place of the document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Sign {
    /// The documents were moved away: this place is closed.
    Moved {
        /// Where they are now.
        to: Address,
        /// The last generation that was written here.
        generation: Generation,
        /// Digest of its bytes: whatever descends from it is the same truth.
        digest: Digest,
    },
    /// The documents are being moved here.
    Arriving {
        /// Where they come from, and still are when the move was given up.
        from: Address,
    },
}

/// What the address of a server's place begins with. No path and no URL does.
const SERVER: &str = "server ";

/// A place for documents in words: the URL of a store, the path of a directory, or a server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Address(String);

impl Address {
    /// The address of a place.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The place that a server of the environment keeps: the same words for everybody, whatever way
    /// each of them has to it.
    pub fn of_server(server: &ServerName) -> Self {
        Self(format!("{SERVER}{server}"))
    }

    /// The server whose place it is, when it is one's.
    pub fn server(&self) -> Option<ServerName> {
        self.0.strip_prefix(SERVER)?.parse().ok()
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Longer than any sign; a document is never looked at twice.
const SIGN_BYTES_MAX: usize = 4096;

impl Sign {
    /// The bytes that are kept.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a sign has only text keys");
        bytes.push(b'\n');
        bytes
    }

    /// The sign, when the bytes are one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let short = bytes.len() <= SIGN_BYTES_MAX;
        short.then(|| serde_json::from_slice(bytes).ok()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_place_of_its_own() {
        let two: ServerName = "two".parse().unwrap();
        assert_eq!(Address::of_server(&two).server(), Some(two));
        for other in ["s3://bucket/state", "/srv/server two", "server ", "server a b"] {
            assert_eq!(Address::new(other).server(), None, "{other}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let moved = Sign::Moved {
            to: Address::new("s3://bucket/state"),
            generation: Generation(7),
            digest: Digest::of(b"bytes"),
        };
        let arriving = Sign::Arriving { from: Address::new("/srv/shop/.onward/state") };
        for sign in [moved, arriving] {
            assert_eq!(Sign::decode(&sign.encode()), Some(sign));
        }
        assert_eq!(Sign::decode(b"{}"), None);
        assert_eq!(Sign::decode(b"{\"schema\": 1}"), None);
    }
}

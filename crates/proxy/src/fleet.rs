//! Several servers' proxies as one: a balancer passes requests on to the proxies of its peers.
//!
//! ```text
//! client ─► balancer's proxy ─┬─► own instances
//!                             └─► a peer's proxy ─► that server's instances
//! ```
//!
//! A request that a balancer passes on carries the key of the environment's fleet. Whoever says it
//! is believed about the client, and gets an instance of this server: a request passes at most two
//! proxies. A peer that has no answer of an instance says so in a header of its own, and whether
//! the request ever reached an instance; what did not is given to another server.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::table::Instance;

/// On a request: the fleet's key. On an answer: that no instance gave it, and which of [`Missed`].
pub(crate) const HOP: HeaderName = HeaderName::from_static("onward-hop");

/// What makes the proxies of several servers one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fleet {
    /// What a peer says with each request that it passes on. Only peers may know it.
    pub key: String,
    /// The proxies of other servers that answer the same requests; empty where nothing is balanced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<Instance>,
}

/// Why a peer has no answer of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missed {
    /// No instance got anything of the request.
    Unsent,
    /// An instance may have seen it.
    Lost,
}

impl Missed {
    /// Says it in an answer.
    pub(crate) fn tell(self, headers: &mut HeaderMap) {
        let word = match self {
            Self::Unsent => "unsent",
            Self::Lost => "lost",
        };
        headers.insert(HOP, HeaderValue::from_static(word));
    }

    /// What a peer's answer says; none when an instance gave it.
    pub(crate) fn told(headers: &HeaderMap) -> Option<Self> {
        let word = headers.get(HOP)?;
        Some(if word == "unsent" { Self::Unsent } else { Self::Lost })
    }
}

/// Which way a request went, as seen by the proxy that counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From a client to an instance of this server.
    Own,
    /// From a client to a peer.
    ToPeer,
    /// From a peer, which counts it as the client's.
    FromPeer,
}

/// Takes the key that a request says off it.
pub(crate) fn take_key(headers: &mut HeaderMap) -> Option<HeaderValue> {
    headers.remove(HOP)
}

/// Makes a request the one that a peer gets, or undoes that for an instance of this server.
///
/// A body is announced and only sent when the peer has an instance for it: until then the request
/// can still go elsewhere.
pub(crate) fn address(headers: &mut HeaderMap, peers_key: Option<&HeaderValue>, has_body: bool) {
    let Some(key) = peers_key else {
        headers.remove(HOP);
        headers.remove(header::EXPECT);
        return;
    };
    headers.insert(HOP, key.clone());
    if has_body {
        headers.insert(header::EXPECT, HeaderValue::from_static("100-continue"));
    }
}

//! The control protocol: one JSON object a line, each way, over a unix socket.
//!
//! | request | answer |
//! |---|---|
//! | `{"do":"set","table":{…}}` | `{"ok":"set"}`, once the table is durable and in force |
//! | `{"do":"status"}` | `{"ok":"status", …}` |
//! | `{"do":"cut","instance":"ID"}` | `{"ok":"cut"}` |
//! | `{"do":"accept"}` | `{"ok":"accepting"}`: a proxy that waited accepts from now on |
//! | `{"do":"leave","heir":"PATH"}` | `{"ok":"left"}`: it accepts nobody any more, finishes what it has and tells the heir what it counted |
//! | `{"do":"heritage"}` | `{"ok":"heritage", …}`: what it counted, for a successor |
//! | `{"do":"inherit","epoch":"…","entry":{…}}` | `{"ok":"inherited"}` |
//! | `{"do":"listener"}` | `{"ok":"listener"}` with the listening socket attached to its first byte |
//! | `{"do":"https_listener"}` | the same with the socket for TLS |
//! | `{"do":"certify","certificates":{…}}` | `{"ok":"certified"}`, once they are durable and in force |
//!
//! A refusal is `{"ok":"no","why":"stale","text":"…"}`. [`crate::Client`] speaks all of this.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::certificates::Certificates;
use crate::counters::Counters;
use crate::heritage::{Entry, Heritage};
use crate::stage::Stage;
use crate::table::Table;

/// Longest line either side reads: a table file of the largest table stays below it.
pub(crate) const MAX_LINE: usize = 64 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Request {
    Set { table: Table },
    Status,
    Cut { instance: String },
    Certify { certificates: Certificates },
    Listener,
    HttpsListener,
    Accept,
    Leave { heir: PathBuf },
    Heritage,
    Inherit { epoch: String, entry: Entry },
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "ok", rename_all = "snake_case")]
pub(crate) enum Answer {
    Set,
    Status(Status),
    Cut,
    Certified,
    Listener,
    Accepting,
    Left,
    Heritage(Heritage),
    Inherited,
    No { why: Why, text: String },
}

/// Why the proxy refused a request on its control socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Why {
    /// The table's version is lower than the one in force, or the same with another content.
    Stale,
    /// The table breaks a rule of [`Table::validate`], or a certificate can't be used.
    Invalid,
    /// The table couldn't be made durable; the old one stays in force.
    Storage,
    /// `cut` named an instance that the proxy doesn't know, or it has no such socket.
    Unknown,
    /// The line isn't a request.
    Malformed,
}

/// What the proxy knows about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the table in force; `None` before the first one.
    pub version: Option<u64>,
    /// Counters may be compared only within one epoch. A proxy that takes over from another one
    /// continues its epoch and its counters; any other start begins a new one.
    pub epoch: String,
    /// Differs for each process of a proxy.
    #[serde(default)]
    pub id: String,
    /// How far the proxy is in its life.
    #[serde(default)]
    pub stage: Stage,
    /// When the proxy started, milliseconds since 1970.
    pub started_unix_ms: u64,
    /// Process id of the proxy.
    pub pid: u32,
    /// The file that it was started from, when the system says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<PathBuf>,
    /// The proxy got SIGTERM: it accepts nobody and finishes what it has.
    pub draining: bool,
    /// Open client connections, upgraded ones included.
    pub connections: u64,
    /// Requests held at this moment, waiting for an instance.
    pub held: u64,
    /// Requests refused for their form (400, 405, 414, 417, 431, 505), before any route was chosen.
    pub refused: u64,
    /// Requests that matched no route (answered 404, or 503 while there is no route at all).
    pub unrouted: u64,
    /// Lines of the access log that were dropped, because the disk was slower than the requests.
    #[serde(default)]
    pub access_dropped: u64,
    /// Clients that came with TLS and could not agree: no certificate for their name, another
    /// protocol, or nobody who goes on.
    #[serde(default)]
    pub handshakes_failed: u64,
    /// Connections closed at once because their client had too many open
    /// ([`crate::Limits::connections_per_client`]).
    #[serde(default)]
    pub turned_away: u64,
    /// [`crate::Certificates::identity`] of those in force; `None` before the first.
    #[serde(default)]
    pub certificates: Option<String>,
    /// The instances of the table, and those that left it and still have something open.
    pub instances: Vec<InstanceStatus>,
    /// Counters by route and release; the last 20 releases of each route.
    pub releases: Vec<ReleaseStatus>,
}

/// One instance as the proxy sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// Id from the table.
    pub id: String,
    /// Address from the table.
    pub addr: SocketAddr,
    /// Whether the table in force routes to it. Once it doesn't, `in_flight` only falls.
    pub in_table: bool,
    /// Requests that were given to it and aren't over.
    pub in_flight: u64,
    /// Upgraded connections (WebSockets) to it.
    pub upgraded: u64,
}

/// Counters of one release behind one route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseStatus {
    /// Name of the route.
    pub route: String,
    /// Number of the release; 0 is the sum of those that served longest ago.
    pub release: u64,
    /// The counters, cumulative within [`Status::epoch`].
    #[serde(flatten)]
    pub counters: Counters,
}

impl Status {
    /// The instance with this id; when it occurs with several addresses, the one in the table.
    #[must_use]
    pub fn instance(&self, id: &str) -> Option<&InstanceStatus> {
        let mut all = self.instances.iter().filter(|instance| instance.id == id);
        let first = all.next()?;
        Some(all.find(|instance| instance.in_table).filter(|_| !first.in_table).unwrap_or(first))
    }

    /// Counters of one release behind one route; zero when nothing was routed to it.
    #[must_use]
    pub fn release(&self, route: &str, release: u64) -> Counters {
        let mut all = self.releases.iter();
        let found = all.find(|status| status.route == route && status.release == release);
        found.map(|status| status.counters.clone()).unwrap_or_default()
    }
}

//! The routing table: which requests go to which instances.
//!
//! A table is a value. The proxy holds exactly one and exchanges it whole; it never edits it.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::fleet::Fleet;

/// Most routes a table may have: a server carries tens of apps, not thousands.
pub const MAX_ROUTES: usize = 1_000;
/// Most instances a route may have.
pub const MAX_INSTANCES: usize = 256;
/// Longest hold of a route: no browser waits longer than five minutes.
pub const MAX_HOLD_MS: u64 = 300_000;

/// The whole routing table at one version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Rises with each different table. The proxy refuses one that is lower than what it holds.
    pub version: u64,
    /// Tried in this order; the first whose hosts match takes the request.
    pub routes: Vec<Route>,
}

/// Where the requests for some hosts go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Unique name, for example `shop/local`. Counters are kept by it.
    pub name: String,
    /// Host names without port, compared without case. Empty: any host.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Number of the release that serves. Counters are kept by it.
    pub release: u64,
    /// Who answers. May be empty: then requests are held for `hold_ms`.
    pub instances: Vec<Instance>,
    /// Milliseconds that a request is held while no instance can be connected, before the proxy
    /// answers 502 or 503 itself.
    #[serde(default = "default_hold_ms")]
    pub hold_ms: u64,
    /// The other servers that answer the same requests; none for a server that is alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<Fleet>,
}

/// One running process that answers requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    /// Name of the instance, for example `web-12-1`; `cut` and `status` use it.
    pub id: String,
    /// Where it listens.
    pub addr: SocketAddr,
}

fn default_hold_ms() -> u64 {
    10_000
}

/// Why a table can't be used at all.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Invalid {
    /// Two routes with one name would share their counters.
    #[error("the table has two routes named {0:?}")]
    SameRoute(String),
    /// Two instances of one route with one id could not be told apart by `cut`.
    #[error("route {route:?} has two instances named {id:?}")]
    SameInstance {
        /// Name of the route.
        route: String,
        /// The id that occurs twice.
        id: String,
    },
    /// One of the limits of this module is passed.
    #[error("{what} is {value}, the limit is {limit}")]
    TooMuch {
        /// What is counted.
        what: &'static str,
        /// How much there is.
        value: u64,
        /// How much there may be.
        limit: u64,
    },
}

impl Table {
    /// Checks what the types don't say: unique names, and the limits of this module.
    ///
    /// # Errors
    /// [`Invalid`] names the first thing that is wrong.
    pub fn validate(&self) -> Result<(), Invalid> {
        within("number of routes", self.routes.len() as u64, MAX_ROUTES as u64)?;
        let mut names = BTreeSet::new();
        for route in &self.routes {
            if !names.insert(&route.name) {
                return Err(Invalid::SameRoute(route.name.clone()));
            }
            route.validate()?;
        }
        Ok(())
    }
}

impl Route {
    fn validate(&self) -> Result<(), Invalid> {
        let peers = self.fleet.as_ref().map_or(&[][..], |fleet| &fleet.peers);
        let number = self.instances.len() + peers.len();
        within("number of instances", number as u64, MAX_INSTANCES as u64)?;
        within("hold_ms", self.hold_ms, MAX_HOLD_MS)?;
        let mut ids = BTreeSet::new();
        for instance in self.instances.iter().chain(peers) {
            if !ids.insert(&instance.id) {
                return Err(Invalid::SameInstance {
                    route: self.name.clone(),
                    id: instance.id.clone(),
                });
            }
        }
        Ok(())
    }

    /// Whether this route takes requests for `host` (the value of the Host header, port and all).
    #[must_use]
    pub fn takes(&self, host: &str) -> bool {
        if self.hosts.is_empty() {
            return true;
        }
        let name = without_port(host);
        self.hosts.iter().any(|own| own.eq_ignore_ascii_case(name))
    }
}

/// The host without its port; an IPv6 literal keeps its brackets.
fn without_port(host: &str) -> &str {
    match host.rfind(':') {
        Some(at) if host[at + 1..].bytes().all(|byte| byte.is_ascii_digit()) => &host[..at],
        _ => host,
    }
}

fn within(what: &'static str, value: u64, limit: u64) -> Result<(), Invalid> {
    if value > limit { Err(Invalid::TooMuch { what, value, limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(name: &str, hosts: &[&str]) -> Route {
        Route {
            name: name.into(),
            hosts: hosts.iter().map(ToString::to_string).collect(),
            release: 1,
            instances: vec![],
            hold_ms: 0,
            fleet: None,
        }
    }

    #[test]
    fn hosts_are_compared_without_port_and_case() {
        let route = route("a", &["shop.example.com", "[::1]"]);
        assert!(route.takes("SHOP.example.com:8080"));
        assert!(route.takes("[::1]:80") && route.takes("[::1]"));
        assert!(!route.takes("example.com") && !route.takes(""));
    }

    #[test]
    fn names_are_unique() {
        let table = Table { version: 1, routes: vec![route("a", &[]), route("a", &["x"])] };
        assert_eq!(table.validate(), Err(Invalid::SameRoute("a".into())));
    }
}

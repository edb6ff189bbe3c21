//! The routing table: which requests go to which instances.
//!
//! A table is a value. The proxy holds exactly one and exchanges it whole; it never edits it.
//! Which route takes a request is told in `matching.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::fleet::Fleet;
use crate::host::{BadHost, HostPattern};
use crate::policy::{Challenge, Https, Limited, Maintenance, Site};

/// Most routes a table may have: a server carries tens of apps, not thousands.
pub const MAX_ROUTES: usize = 1_000;
/// Most instances a route may have.
pub const MAX_INSTANCES: usize = 256;
/// Longest hold of a route: no browser waits longer than five minutes.
pub const MAX_HOLD_MS: u64 = 300_000;
/// Most host names of a route, aliases included: a shop in every country.
pub const MAX_HOSTS: usize = 256;
/// Longest path prefix of a route, in bytes.
pub const MAX_PATH: usize = 256;
/// Most places where metrics are told: one for each environment of a server.
const MAX_METRICS: usize = 32;

/// Most challenges under way: each name of a certificate has one.
const MAX_CHALLENGES: usize = 1_000;

/// The whole routing table at one version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Rises with each different table. The proxy refuses one that is lower than what it holds.
    pub version: u64,
    /// The most specific host, then the longest path takes a request; among routes that are equal
    /// in both the first.
    pub routes: Vec<Route>,
    /// Where `GET /metrics` is answered, and nothing else; loopback addresses only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<SocketAddr>,
    /// Questions of certificate authorities that are under way, with their answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub challenges: Vec<Challenge>,
}

/// Where the requests for some hosts go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Unique name, for example `shop/local`. Counters are kept by it.
    pub name: String,
    /// Host names without port, compared without case; `*.example.com` is every name below
    /// `example.com`. Empty: any host. The first is the canonical one.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Also answers on any host that no other route names, besides `hosts`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub any_host: bool,
    /// Host names whose requests are redirected to the canonical one, path and query kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Only requests for this path and what is below it: `/admin`, without a slash at its end.
    /// Empty: every path.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The app doesn't see `path`, which is told to it as `X-Forwarded-Prefix`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub strip: bool,
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
    /// Files that the proxy answers with itself. When it can't, the instances are asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<Site>,
    /// New requests get a page and 503; what an instance has already goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
    /// Each request of this route gets a line in the access log.
    #[serde(default, skip_serializing_if = "is_false")]
    pub access_log: bool,
    /// What one request, and all of them together, may take.
    #[serde(default, skip_serializing_if = "Limited::is_none")]
    pub limits: Limited,
    /// How its hosts are reached with TLS; `None`: as without, and nobody is sent there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https: Option<Https>,
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

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_false(value: &bool) -> bool {
    !value
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
    /// Two routes want the same requests, and nothing says who gets them.
    #[error("{what} is taken by route {owner:?} and by route {route:?}")]
    SameClaim {
        /// Host and path.
        what: String,
        /// The route that comes first.
        owner: String,
        /// The other one.
        route: String,
    },
    /// A host name that no request can have.
    #[error("route {route:?}: {reason}")]
    Host {
        /// Name of the route.
        route: String,
        /// What is wrong with it.
        reason: BadHost,
    },
    /// Something else about a route that can't be.
    #[error("route {route:?}: {reason}")]
    Route {
        /// Name of the route.
        route: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A challenge that can't be one.
    #[error("{0}")]
    Challenge(&'static str),
    /// Metrics tell what no stranger should read.
    #[error("metrics are only told on this machine, and {0} is not one of its own addresses")]
    PublicMetrics(SocketAddr),
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
    /// Checks what the types don't say: unique names and claims, host names, and the limits of this
    /// module.
    ///
    /// # Errors
    /// [`Invalid`] names the first thing that is wrong.
    pub fn validate(&self) -> Result<(), Invalid> {
        within("number of routes", self.routes.len() as u64, MAX_ROUTES as u64)?;
        within("number of metrics addresses", self.metrics.len() as u64, MAX_METRICS as u64)?;
        within("number of challenges", self.challenges.len() as u64, MAX_CHALLENGES as u64)?;
        for challenge in &self.challenges {
            challenge.validate().map_err(Invalid::Challenge)?;
        }
        if let Some(public) = self.metrics.iter().find(|address| !address.ip().is_loopback()) {
            return Err(Invalid::PublicMetrics(*public));
        }
        let mut names = BTreeSet::new();
        let mut claims: BTreeMap<(HostPattern, &str), &str> = BTreeMap::new();
        for route in &self.routes {
            if !names.insert(&route.name) {
                return Err(Invalid::SameRoute(route.name.clone()));
            }
            route.validate()?;
            for host in route.claims()? {
                let what = format!("{host}{}", route.path);
                if let Some(owner) = claims.insert((host, &route.path), &route.name) {
                    let (owner, route) = (owner.to_owned(), route.name.clone());
                    return Err(Invalid::SameClaim { what, owner, route });
                }
            }
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
        let names = self.hosts.len() + self.aliases.len();
        within("number of host names", names as u64, MAX_HOSTS as u64)?;
        let wrong = |reason| Invalid::Route { route: self.name.clone(), reason };
        if !is_path(&self.path) {
            return Err(wrong("its path is not of the form /NAME/NAME"));
        }
        if !self.aliases.is_empty() && self.canonical().is_none() {
            return Err(wrong("its aliases have no host to redirect to"));
        }
        if let Some(maintenance) = &self.maintenance {
            maintenance.validate().map_err(wrong)?;
        }
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

    /// The hosts that this route names, aliases included. The catch-all isn't among them: several
    /// routes may be the answer to everything else, and the first is.
    fn claims(&self) -> Result<Vec<HostPattern>, Invalid> {
        let all = self.hosts.iter().chain(&self.aliases);
        let wrong = |reason| Invalid::Host { route: self.name.clone(), reason };
        all.map(|host| HostPattern::parse(host).map_err(wrong)).collect()
    }

    /// The host that aliases are redirected to: the first, when it is one name.
    #[must_use]
    pub fn canonical(&self) -> Option<&str> {
        self.hosts.first().map(String::as_str).filter(|host| !host.starts_with('*'))
    }
}

/// Empty, or segments that mean the same to everybody.
fn is_path(path: &str) -> bool {
    let segment = |text: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        !text.is_empty() && text != "." && text != ".." && text.bytes().all(plain)
    };
    path.is_empty()
        || (path.len() <= MAX_PATH
            && path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(segment)))
}

fn within(what: &'static str, value: u64, limit: u64) -> Result<(), Invalid> {
    if value > limit { Err(Invalid::TooMuch { what, value, limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(name: &str, hosts: &[&str]) -> Route {
        let hosts = hosts.iter().map(ToString::to_string).collect();
        Route { name: name.into(), hosts, release: 1, ..Route::default() }
    }

    fn table(routes: &[Route]) -> Table {
        Table { version: 1, routes: routes.to_vec(), ..Table::default() }
    }

    #[test]
    fn names_are_unique() {
        let twice = table(&[route("a", &[]), route("a", &["x"])]);
        assert_eq!(twice.validate(), Err(Invalid::SameRoute("a".into())));
    }

    #[test]
    fn nobody_takes_what_another_has() {
        let below = Route { path: "/b".into(), ..route("b", &["x.example"]) };
        assert_eq!(table(&[route("a", &["x.example"]), below.clone()]).validate(), Ok(()));
        assert_eq!(table(&[route("a", &[]), route("b", &[])]).validate(), Ok(()));
        let same = Route { path: "/b".into(), ..route("c", &["y.example", "X.Example"]) };
        let text = table(&[below, same]).validate().unwrap_err().to_string();
        assert_eq!(text, "x.example/b is taken by route \"b\" and by route \"c\"");
        let alias = Route { aliases: vec!["x.example".into()], ..route("c", &["y.example"]) };
        assert!(table(&[route("a", &["x.example"]), alias]).validate().is_err());
    }

    #[test]
    fn paths_mean_the_same_to_everybody() {
        for good in ["", "/admin", "/a/b-c_d.e~1"] {
            assert!(is_path(good), "{good}");
        }
        for bad in ["admin", "/", "/a/", "//a", "/a//b", "/..", "/a/./b", "/a?b", "/%61", "/ü"] {
            assert!(!is_path(bad), "{bad}");
        }
    }

    #[test]
    fn metrics_stay_on_this_machine() {
        let at = |address: &str| Table { metrics: vec![address.parse().unwrap()], ..table(&[]) };
        assert_eq!(at("127.0.0.1:9100").validate(), Ok(()));
        assert_eq!(at("[::1]:9100").validate(), Ok(()));
        assert!(matches!(at("0.0.0.0:9100").validate(), Err(Invalid::PublicMetrics(_))));
    }

    #[test]
    fn a_table_of_an_earlier_version_is_the_same_bytes() {
        let text = r#"{"version":3,"routes":[{"name":"a","hosts":[],"release":1,"instances":[],"hold_ms":5}]}"#;
        let table: Table = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&table).unwrap(), text);
    }
}

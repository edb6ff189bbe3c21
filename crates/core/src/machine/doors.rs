//! Which ports of a server are open, by who talks to whom.
//!
//! The rules of one server follow from all servers of the environment: a server that comes, goes or
//! takes another role changes the rules of the others, without anybody editing them.

use std::collections::BTreeSet;

use super::facts::Protocol;
use super::firewall::{Opening, Ports};
use super::network::Network;
use crate::model::{Role, ServerName};

/// The ports of HTTP and HTTPS.
const HTTP: [u16; 2] = [80, 443];

/// One server of the environment, as the others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: ServerName,
    /// What it is for.
    pub roles: BTreeSet<Role>,
    /// The addresses that its connections come from.
    pub addresses: Vec<Network>,
}

/// Somebody talks to the servers with a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Talk {
    /// Who: the servers with this role; none: everybody.
    pub from: Option<Role>,
    /// To the servers with one of these roles.
    pub to: BTreeSet<Role>,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// To these ports.
    pub ports: Ports,
}

/// Who talks to whom about the app: everybody to the balancers, they to the servers of `web`; with
/// no balancer, everybody to the servers of `web`.
pub fn talks_of_app(members: &[Member], balancer: &Role, web: &BTreeSet<Role>) -> Vec<Talk> {
    let has_balancer = members.iter().any(|member| member.roles.contains(balancer));
    let front = if has_balancer { &BTreeSet::from([balancer.clone()]) } else { web };
    let talk = |from: Option<Role>, to: &BTreeSet<Role>, port: u16| Talk {
        from,
        to: to.clone(),
        protocol: Protocol::Tcp,
        ports: port.into(),
    };
    let mut talks: Vec<Talk> = HTTP.iter().map(|port| talk(None, front, *port)).collect();
    if has_balancer {
        talks.push(talk(Some(balancer.clone()), web, HTTP[0]));
    }
    talks
}

/// The openings of `server` for the others of `members`, in order. What everybody may do is not
/// said again for some.
pub fn openings(server: &ServerName, members: &[Member], talks: &[Talk]) -> Vec<Opening> {
    let Some(own) = members.iter().find(|member| member.name == *server) else { return Vec::new() };
    let mut openings: Vec<Opening> = Vec::new();
    for talk in talks.iter().filter(|talk| !talk.to.is_disjoint(&own.roles)) {
        let (from, why) = match &talk.from {
            None => (None, "everybody".to_owned()),
            Some(role) => {
                let others = members
                    .iter()
                    .filter(|member| member.name != *server && member.roles.contains(role));
                let all: Vec<Network> =
                    others.flat_map(|member| member.addresses.iter().copied()).collect();
                (Some(Network::merged(&all)), format!("role {role}"))
            }
        };
        let is_nobody = from.as_ref().is_some_and(Vec::is_empty);
        let covers = |other: &Opening| {
            other.from.is_none() && other.ports == talk.ports && other.protocol == talk.protocol
        };
        if !is_nobody && !openings.iter().any(covers) {
            openings.push(Opening { protocol: talk.protocol, ports: talk.ports, from, why });
        }
    }
    openings
}

/// The addresses of the servers besides `server`, which reach it by SSH.
pub fn peers(server: &ServerName, members: &[Member]) -> Vec<Network> {
    let others = members.iter().filter(|member| member.name != *server);
    Network::merged(&others.flat_map(|member| member.addresses.iter().copied()).collect::<Vec<_>>())
}

//! What each server's machine shall be: from the project file and from what the servers say of
//! themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use onward_core::machine::doors::{self, Member};
use onward_core::machine::{AuthorizedKey, Facts, Harden, Network, Owner, Setup, UserName};
use onward_core::model::{Role, ServerName};

use crate::project::{BALANCER, Machine, Resolved, wishes};

/// What is known of a server before it is set up.
#[derive(Debug, Clone)]
pub struct Known {
    /// How it is reached: a name, or an address.
    pub address: String,
    /// The port of sshd, when the project file says it.
    pub port: Option<u16>,
    /// The account that onward signs in as.
    pub login: UserName,
    /// Keys that sign in as it besides those of the admins, as the one of a lab.
    pub login_keys: Vec<AuthorizedKey>,
    /// What it says of itself; none while it cannot be asked.
    pub facts: Option<Facts>,
}

/// The set-up of each server of an environment that is known.
pub fn setups(
    resolved: &Resolved,
    known: &BTreeMap<ServerName, Known>,
) -> BTreeMap<ServerName, Setup> {
    let members: Vec<Member> = wishes::servers(resolved)
        .into_iter()
        .map(|(name, roles)| {
            let addresses = known.get(&name).map(addresses).unwrap_or_default();
            Member { name, roles, addresses }
        })
        .collect();
    let balancer: Role = BALANCER.parse().expect("it is a legal name");
    let web = roles_with_traffic(resolved);
    let talks = match web.is_empty() {
        true => Vec::new(),
        false => doors::talks_of_app(&members, &balancer, &web),
    };
    let setup = |(name, known): (&ServerName, &Known)| {
        let mut setup = setup(resolved, known);
        setup.openings.splice(0..0, doors::openings(name, &members, &talks));
        if !setup.ssh.from.is_empty() || is_guest(known, &setup) {
            setup.ssh.peers = doors::peers(name, &members);
        }
        (name.clone(), setup)
    };
    known.iter().map(setup).collect()
}

/// Whether another environment sets the machine up, whose SSH may not be open to everybody.
fn is_guest(known: &Known, setup: &Setup) -> bool {
    let record = known.facts.as_ref().and_then(|facts| facts.record.as_ref());
    record.is_some_and(|record| record.setup.owner != setup.owner)
}

/// What follows from the file and the server alone.
fn setup(resolved: &Resolved, known: &Known) -> Setup {
    let owner = Owner { app: resolved.app.clone(), environment: resolved.environment.clone() };
    let Machine {
        harden,
        admins,
        root_login,
        ssh_from,
        open,
        packages,
        timezone,
        locale,
        swap_mib,
        updates,
    } = resolved.machine.clone();
    let mut setup = Setup::new(owner, known.login.clone());
    setup.is_settled = harden.is_some();
    setup.harden = harden.unwrap_or_default();
    setup.root_login = root_login.unwrap_or(setup.root_login);
    setup.admins = admins;
    setup.login_keys.clone_from(&known.login_keys);
    setup.ssh.ports = known.port.into_iter().collect();
    setup.ssh.from = ssh_from;
    setup.openings = open;
    setup.packages = packages;
    setup.timezone = timezone;
    setup.locale = locale;
    setup.swap_mib = swap_mib;
    setup.updates = updates.unwrap_or(setup.harden == Harden::Full);
    setup
}

/// The addresses that a server's connections come from: its own, and the one that it is reached by,
/// which may be translated into them.
fn addresses(known: &Known) -> Vec<Network> {
    let own = known.facts.iter().flat_map(|facts| facts.addresses.iter().copied());
    let reached: Option<IpAddr> = known.address.parse().ok();
    Network::merged(&own.chain(reached).map(Network::from).collect::<Vec<_>>())
}

/// The roles of the servers whose processes get requests.
fn roles_with_traffic(resolved: &Resolved) -> BTreeSet<Role> {
    let serving = resolved.processes.iter().filter(|process| process.name.has_traffic());
    let mut roles = BTreeSet::new();
    for process in serving {
        match process.on.is_empty() {
            true => roles.extend(process.name.as_str().parse::<Role>()),
            false => roles.extend(process.on.iter().cloned()),
        }
    }
    roles
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::{parse, resolve};

    const FILE: &str = r#"
app = "shop"
[process.web]
run = "a"
[process.worker]
run = "b"
[admin.ana]
keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILWfyWmSyJn3zNPZd0R8S4mY0vZ0s6dM4kBqO0Yd6dJx ana"]
[environment.production]
provider = "ssh"
servers = [
  { name = "front", address = "192.0.2.1", roles = ["balancer", "manager"] },
  { name = "one", address = "one.example.com", roles = ["web"], port = 2222 },
  { name = "jobs", address = "192.0.2.3", roles = ["worker"] },
]
open = [9000]
ssh_from = ["198.51.100.0/24"]
[environment.plain]
provider = "ssh"
servers = [{ name = "one", address = "192.0.2.9" }]
"#;

    fn known(address: &str, login: &str, own: &str) -> Known {
        let addresses = own.parse().into_iter().collect();
        let facts = Some(Facts { addresses, ..Facts::default() });
        let login = login.parse().unwrap();
        Known { address: address.to_owned(), port: None, login, login_keys: Vec::new(), facts }
    }

    fn doors(setup: &Setup) -> Vec<String> {
        let from = |from: &Option<Vec<Network>>| match from {
            None => "all".to_owned(),
            Some(some) => some.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        };
        setup.openings.iter().map(|own| format!("{} {}", own.ports, from(&own.from))).collect()
    }

    #[test]
    fn a_fleet_gets_the_doors_that_it_needs() {
        let project = parse(FILE).unwrap();
        let resolved = resolve(&project, Some("production".parse().unwrap())).unwrap();
        let mut all = BTreeMap::from([
            ("front".parse().unwrap(), known("192.0.2.1", "root", "10.0.0.1")),
            ("one".parse().unwrap(), known("one.example.com", "root", "10.0.0.2")),
            ("jobs".parse().unwrap(), known("192.0.2.3", "ana", "10.0.0.3")),
        ]);
        all.get_mut(&"one".parse().unwrap()).unwrap().port = Some(2222);
        let found = setups(&resolved, &all);
        let of = |name: &str| found.iter().find(|(own, _)| own.as_str() == name).unwrap().1;
        assert_eq!(doors(of("front")), ["80 all", "443 all", "9000 all"]);
        assert_eq!(doors(of("one")), ["80 10.0.0.1 192.0.2.1", "9000 all"]);
        assert_eq!(doors(of("jobs")), ["9000 all"]);
        let one = of("one");
        assert_eq!(one.ssh.ports, BTreeSet::from([2222]));
        assert_eq!(one.ssh.peers.len(), 4, "both others, by both of their addresses");
        assert!(one.root_login && !of("jobs").root_login);
        assert_eq!(one.admins.len(), 1);
        assert!(one.updates && !one.is_settled);
    }

    #[test]
    fn a_server_alone_is_reached_by_everybody() {
        let project = parse(FILE).unwrap();
        let resolved = resolve(&project, Some("plain".parse().unwrap())).unwrap();
        let all = BTreeMap::from([("one".parse().unwrap(), known("192.0.2.9", "root", "x"))]);
        let found = setups(&resolved, &all);
        let one = found.values().next().unwrap();
        assert_eq!(doors(one), ["80 all", "443 all"]);
        assert!(one.ssh.peers.is_empty());
    }
}

//! Servers behind SSH: the way there, the clock, space, memory, units, names in DNS, ports.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use jiff::SignedDuration;
use onward_core::document::Document;
use onward_server::looking::Checkup;

use super::check::Check;
use super::machine;
use crate::cli::context::Context;
use crate::cli::drift::{self, CLOCKS_DIFFER};
use crate::cli::fleet;
use crate::providers::Server;
use crate::providers::local::Contact;
use crate::providers::ssh::{SshServer, fingerprint};

/// The ports at which people come.
const PORTS: [u16; 2] = [80, 443];
/// The time that a port has to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);

/// Looks at each server that is behind SSH; nothing where none is.
pub fn checks(context: &Context) -> Vec<Check> {
    if context.ways().is_none() {
        return Vec::new();
    }
    let stored = context.look().ok().flatten();
    let document = stored.as_ref().map(|stored| &*stored.document);
    let servers = fleet::servers(context, document);
    let each = fleet::on_each(&servers, |server| {
        // Also of one alone: this machine has a disk and a clock, too.
        let place = format!("{}: ", server.name());
        let found = server.ssh().map(|ssh| of_server(context, server, ssh)).unwrap_or_default();
        found.into_iter().map(|check| check.at(&place)).collect::<Vec<_>>()
    });
    let mut checks: Vec<_> = each.into_iter().flatten().collect();
    let entries = fleet::entries(context, document);
    let entries: Vec<_> = entries.iter().filter_map(Server::ssh).cloned().collect();
    let serves = document.is_some_and(|document| document.serving.is_some());
    if serves {
        checks.extend(entries.iter().flat_map(ports));
    }
    checks.extend(hosts(document).iter().map(|host| name(host, &entries)));
    checks
}

fn of_server(context: &Context, server: &Server, ssh: &SshServer) -> Vec<Check> {
    // What is wrong with the way there is told where agents are looked at.
    let Contact::Answers(..) = server.contact() else { return Vec::new() };
    let pin = ssh.pin().map_or_else(|| "none".to_owned(), |key| fingerprint(&key));
    let mut checks = vec![Check::fine("ssh", format!("{} answers; host key {pin}", ssh.place()))];
    let (checkup, ahead) = drift::look(context, server);
    checks.push(clock(server, ahead));
    checks.extend(of_checkup(server, &checkup));
    checks
}

fn clock(server: &Server, ahead: SignedDuration) -> Check {
    if ahead.abs() < CLOCKS_DIFFER {
        return Check::fine("clock", "as here");
    }
    let fix = format!(
        "`onward ssh {} -- timedatectl` shows whether its time is kept; `apt-get install \
         systemd-timesyncd` there keeps it",
        server.name()
    );
    Check::warning("clock", drift::clock_text(ahead), fix)
}

fn of_checkup(server: &Server, checkup: &Checkup) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Some(disk) = checkup.disk {
        checks.push(machine::space(disk));
    }
    checks.extend(checkup.memory_available.map(machine::memory));
    if !checkup.failed_units.is_empty() {
        let units = checkup.failed_units.join(", ");
        let fix = format!("`onward ssh {} -- systemctl status --failed` shows why", server.name());
        let is_own = checkup.failed_units.iter().any(|unit| unit.starts_with("onward-"));
        let text = format!("failed: {units}");
        checks.push(match is_own {
            true => Check::broken("units", text, fix),
            false => Check::warning("units", text, fix),
        });
    }
    checks
}

/// Whether people come through to a server that answers them.
fn ports(server: &SshServer) -> Vec<Check> {
    let host = server.host();
    let check = |port: u16| {
        let answers = addresses(&host, port)
            .iter()
            .any(|address| TcpStream::connect_timeout(address, ANSWERS_WITHIN).is_ok());
        let text = format!("{}: port {port} of {host}", server.name());
        match answers {
            true => Check::fine("ports", format!("{text} answers")),
            false => Check::warning(
                "ports",
                format!("{text} is not reached from here"),
                "open it in the firewall of whoever hosts the server (its own one follows `up`)",
            ),
        }
    };
    PORTS.into_iter().map(check).collect()
}

/// The names that the release that serves answers to.
fn hosts(document: Option<&Document>) -> Vec<String> {
    let serving = document.and_then(|document| document.release(document.serving?));
    let routing = serving.map(|release| &release.config.routing);
    let all = routing.into_iter().flat_map(|own| own.hosts.iter().chain(&own.aliases));
    all.filter(|host| !host.contains('*')).cloned().collect()
}

/// Whether a name leads to the servers that people reach first, and to no other.
fn name(host: &str, entries: &[SshServer]) -> Check {
    let of = |host: &str| -> BTreeSet<IpAddr> {
        addresses(host, PORTS[0]).iter().map(SocketAddr::ip).collect()
    };
    let wanted: BTreeSet<IpAddr> = entries.iter().flat_map(|server| of(&server.host())).collect();
    compared(host, &of(host), &wanted)
}

fn compared(host: &str, found: &BTreeSet<IpAddr>, wanted: &BTreeSet<IpAddr>) -> Check {
    let listed = |all: &BTreeSet<IpAddr>| {
        let all: Vec<_> = all.iter().map(ToString::to_string).collect();
        all.join(", ")
    };
    let fix = format!("let {host} lead to {} where its DNS is kept", listed(wanted));
    if found.is_empty() {
        return Check::warning("dns", format!("{host} leads nowhere"), fix);
    }
    if found.is_subset(wanted) {
        return Check::fine("dns", format!("{host} leads to {}", listed(found)));
    }
    let text =
        format!("{host} leads to {}, and people are served at {}", listed(found), listed(wanted));
    Check::warning("dns", text, fix)
}

fn addresses(host: &str, port: u16) -> Vec<SocketAddr> {
    (host, port).to_socket_addrs().map(Iterator::collect).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict;
    use super::*;

    #[test]
    fn a_name_has_to_lead_to_servers_that_people_reach() {
        let all = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let wanted: BTreeSet<IpAddr> = all(&["10.0.0.1", "10.0.0.2"]);
        let verdict = |found: &[&str]| compared("shop.test", &all(found), &wanted).verdict;
        assert_eq!(verdict(&["10.0.0.1"]), Verdict::Fine);
        assert_eq!(verdict(&["10.0.0.1", "10.0.0.9"]), Verdict::Warning);
        assert_eq!(verdict(&[]), Verdict::Warning);
        let text = compared("shop.test", &all(&["10.0.0.9"]), &wanted);
        assert_eq!(
            text.text,
            "shop.test leads to 10.0.0.9, and people are served at 10.0.0.1, 10.0.0.2"
        );
        assert!(text.fix.unwrap().contains("10.0.0.1, 10.0.0.2"));
    }
}

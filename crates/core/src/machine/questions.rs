//! What has to be asked before a machine is hardened: what works now and would not any more.

use std::collections::BTreeMap;

use super::accounts::counted;
use super::change::Question;
use super::facts::{Facts, Listener, Protocol};
use super::firewall;
use super::key::AuthorizedKey;
use super::setup::{Harden, Setup};
use super::user::UserName;

/// The ports of the proxy.
const PROXY_PORTS: [u16; 2] = [80, 443];
/// Programs that may have them: the proxy, and systemd, which holds its sockets.
const PROXY_PROGRAMS: [&str; 2] = ["onward", "systemd"];
/// Ports of programs that work without being reached: addresses by DHCP, clocks, names.
const NOBODY_ASKS: [(Protocol, u16); 5] = [
    (Protocol::Udp, 68),
    (Protocol::Udp, 546),
    (Protocol::Udp, 123),
    (Protocol::Udp, 323),
    (Protocol::Udp, 5353),
];

/// Every question that is not answered, and what would have been asked when the project file had not
/// settled it.
pub(super) fn questions(setup: &Setup, facts: &Facts) -> (Vec<Question>, Vec<String>) {
    let mut cuts = Vec::new();
    if setup.harden == Harden::Full && facts.firewall.rules.is_none() {
        cuts.extend(ports(setup, facts));
        cuts.extend(others(facts));
    }
    if setup.harden != Harden::Off {
        cuts.extend(accounts(setup, facts));
    }
    let (asked, notes) = match setup.is_settled {
        true => (Vec::new(), cuts.into_iter().map(|question| question.text).collect()),
        false => (cuts, Vec::new()),
    };
    let open = asked.into_iter().chain(own_login(setup));
    (open.filter(|question| !setup.answered.contains(&question.id)).collect(), notes)
}

/// Who listens on ports that would be closed, or on those of the proxy.
fn ports(setup: &Setup, facts: &Facts) -> Vec<Question> {
    let mut by_port: BTreeMap<(Protocol, u16), &Listener> = BTreeMap::new();
    for listener in facts.listening.iter().filter(|listener| !listener.address.is_loopback()) {
        by_port.entry((listener.protocol, listener.port)).or_insert(listener);
    }
    let mut questions = Vec::new();
    for ((protocol, port), listener) in by_port {
        let program = match listener.process.as_str() {
            "" => "a program",
            name => name,
        };
        let id = format!("port {port}/{protocol}");
        let is_proxys = protocol == Protocol::Tcp && PROXY_PORTS.contains(&port);
        if is_proxys && PROXY_PROGRAMS.contains(&program) {
            // It is for whoever the openings are for.
            continue;
        }
        if is_proxys {
            questions.push(Question {
                id,
                text: format!("{program} has port {port}, which the proxy needs"),
                instead: format!("stop {program} and see that it does not start again"),
            });
        } else if !firewall::lets_in(setup, facts, protocol, port)
            && !NOBODY_ASKS.contains(&(protocol, port))
        {
            let written = match protocol {
                Protocol::Tcp => format!("{port}"),
                Protocol::Udp => format!("\"{port}/udp\""),
            };
            questions.push(Question {
                id,
                text: format!(
                    "{program} listens on port {port} ({protocol}), which the firewall closes \
                     for everybody outside"
                ),
                instead: format!("`open = [{written}]` leaves it open, `harden = \"ssh\"` leaves out the firewall"),
            });
        }
    }
    questions
}

/// What others do with packets.
fn others(facts: &Facts) -> Vec<Question> {
    let forwards = facts.forwards_for.iter().map(|interface| Question {
        id: format!("forward {interface}"),
        text: format!("packets are forwarded for {interface}, which the firewall stops"),
        instead: "`harden = \"ssh\"` leaves out the firewall".to_owned(),
    });
    let firewalls = facts.other_firewalls.iter().map(|name| Question {
        id: format!("firewall {name}"),
        text: format!("{name} is active: what onward lets in, {name} may still refuse"),
        instead: format!("switch {name} off, or `harden = \"ssh\"` leaves out the firewall"),
    });
    forwards.chain(firewalls).collect()
}

/// Who signs in today and could not any more. Asked once: afterwards the list is onward's, and what
/// differs from it is shown as a change.
fn accounts(setup: &Setup, facts: &Facts) -> Vec<Question> {
    let is_in_force = facts.files.contains_key(super::sshd::DROP_IN)
        && facts.record.as_ref().is_some_and(|record| record.setup.has_exact_accounts());
    if !setup.has_exact_accounts() || is_in_force {
        return Vec::new();
    }
    let staying = setup.who_signs_in();
    let mut questions = Vec::new();
    for (name, account) in &facts.accounts {
        let staying = staying.iter().find(|admin| admin.name == *name);
        let keeps = |line: &String| {
            let key: Option<AuthorizedKey> = line.parse().ok();
            let wanted = staying.into_iter().flat_map(|admin| &admin.keys);
            key.is_some_and(|key| wanted.into_iter().any(|other| other.is_same(&key)))
        };
        let going: Vec<&String> = account.own_keys.iter().filter(|line| !keeps(line)).collect();
        if going.is_empty() {
            continue;
        }
        let shown: Vec<String> = going
            .iter()
            .map(|line| {
                line.parse().map_or_else(|_| (*line).clone(), |key: AuthorizedKey| key.shown())
            })
            .collect();
        let what = match staying {
            Some(_) => format!("{name} signs in with {} that no admin has", counted(going.len())),
            None => format!("{name} signs in with {}, and is no admin", counted(going.len())),
        };
        questions.push(Question {
            id: format!("account {name}"),
            text: format!("{what}, which open nothing any more: {}", shown.join(", ")),
            instead: format!("name {name} and its keys with `[admin.{name}] keys = […]`"),
        });
    }
    questions
}

/// Whether onward would lock itself out: nothing in the project file settles that.
fn own_login(setup: &Setup) -> Option<Question> {
    let is_out = setup.harden != Harden::Off && setup.login.is_root() && !setup.root_login;
    is_out.then(|| Question {
        id: format!("login {}", UserName::root()),
        text: "onward signs in as root, who may not sign in any more".to_owned(),
        instead: "sign in as one of the admins, with `user` of the server, or `root_login = true`"
            .to_owned(),
    })
}

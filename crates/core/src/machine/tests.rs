//! A plan that is carried out leaves nothing to plan, whatever was there; rules never lose SSH.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::doors::{self, Member};
use super::*;
use crate::model::{Digest, Role};

const KEYS: [&str; 3] = [
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILWfyWmSyJn3zNPZd0R8S4mY0vZ0s6dM4kBqO0Yd6dJx ana@laptop",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA ben",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBERERERERERERERERERERERERERERERERERERERERER ci",
];

fn key(number: usize) -> AuthorizedKey {
    KEYS[number].parse().unwrap()
}

fn user(name: &str) -> UserName {
    name.parse().unwrap()
}

fn owner(environment: &str) -> Owner {
    Owner { app: "shop".parse().unwrap(), environment: environment.parse().unwrap() }
}

fn setup() -> Setup {
    Setup::new(owner("production"), UserName::root())
}

fn with_admins(names: &[(&str, usize)]) -> Setup {
    let admins =
        names.iter().map(|(name, number)| Admin { name: user(name), keys: vec![key(*number)] });
    Setup { admins: admins.collect(), ..setup() }
}

/// A Debian as an image brings it.
fn bare() -> Facts {
    let account = Account { own_keys: vec![KEYS[0].to_owned()], ..Account::default() };
    Facts {
        system: System {
            name: "Debian GNU/Linux 12".to_owned(),
            packages: Some(PackageSystem::Apt),
        },
        accounts: BTreeMap::from([(UserName::root(), account)]),
        sshd: SshdFacts {
            ports: BTreeSet::from([22]),
            effective: BTreeMap::from([("passwordauthentication".to_owned(), "yes".to_owned())]),
        },
        ..Facts::default()
    }
}

/// What the machine is after an effect, as the server's adapter promises it.
fn take(facts: &mut Facts, effect: &Effect) {
    match effect {
        Effect::Install(packages) => facts.packages.extend(packages.iter().cloned()),
        Effect::MakeGroup => facts.has_group = true,
        Effect::MakeAccount(name) => {
            facts.accounts.entry(name.clone()).or_default();
        }
        Effect::Join(name) => facts.accounts.get_mut(name).expect("it is there").is_member = true,
        Effect::Leave(name) => facts.accounts.get_mut(name).expect("it is there").is_member = false,
        Effect::Write { path, mode, content } => {
            facts.files.insert(path.clone(), FileFact { content: content.clone(), mode: *mode });
        }
        Effect::Remove(path) => {
            facts.files.remove(path);
        }
        Effect::CheckSshd(expected) => facts.sshd.effective.extend(expected.clone()),
        Effect::ReloadSshd => {}
        Effect::LoadFirewall => {
            let rules = facts.files[FIREWALL_FILE].content.as_bytes();
            facts.firewall.rules = Some(Digest::of(rules));
        }
        Effect::UnloadFirewall => facts.firewall.rules = None,
        Effect::Enable { unit, .. } => {
            facts.enabled.insert(unit.clone());
        }
        Effect::Disable(unit) => {
            facts.enabled.remove(unit);
        }
        Effect::Timezone(name) => facts.timezone = Some(name.clone()),
        Effect::Locale(name) => facts.locale = Some(name.clone()),
        Effect::Swap(mib) => facts.own_swap_mib = Some(*mib),
        Effect::NoSwap => facts.own_swap_mib = None,
    }
}

fn carry_out(setup: &Setup, mut facts: Facts) -> Facts {
    for change in plan(setup, &facts).unwrap().changes {
        change.effects.iter().for_each(|effect| take(&mut facts, effect));
    }
    let guests = facts.record.take().map(|record| record.guests).unwrap_or_default();
    facts.record = Some(Record { setup: setup.clone(), guests, rules: facts.firewall.rules });
    facts
}

fn sentences(plan: &Plan) -> Vec<&str> {
    plan.changes.iter().map(|change| change.sentence.as_str()).collect()
}

fn ids(plan: &Plan) -> Vec<&str> {
    plan.questions.iter().map(|question| question.id.as_str()).collect()
}

#[test]
fn a_bare_machine_is_hardened_in_an_order_that_risks_nothing_too_early() {
    let setup = with_admins(&[("ana", 0)]);
    let plan = plan(&setup, &bare()).unwrap();
    assert_eq!(
        sentences(&plan),
        [
            "Packages are installed with apt: nftables, sudo",
            "A reboot undoes what was not confirmed before it",
            "The group onward-admins is made: who is in it may sign in",
            "The account ana is made, without a password",
            "The account root is let in, with the keys of the project file",
            "ana may sign in with 1 key",
            "root may sign in with 1 key",
            "The admins may become root with sudo",
            "sshd takes keys only, of admins only, root with a key too, and no weak algorithms",
            "The firewall denies everything but what is listed, IPv4 and IPv6",
            "Packages are installed with apt: systemd-timesyncd, unattended-upgrades",
            "The clock follows servers of time",
            "Security updates install themselves; the machine is not rebooted for them",
            "Who signs in may have 65,536 files open",
        ]
    );
    assert!(plan.questions.is_empty(), "{:?}", plan.questions);
    let guarded = plan.changes.iter().filter(|change| change.is_guarded()).count();
    assert_eq!(guarded, 5);
}

#[test]
fn without_admins_accounts_and_keys_stay_as_they_are() {
    let facts = carry_out(&setup(), bare());
    assert!(facts.files.keys().all(|path| !path.starts_with(KEYS_DIRECTORY)));
    assert!(!facts.files[DROP_IN].content.contains("AllowGroups"));
    assert!(!facts.has_group);
}

#[test]
fn keys_that_somebody_else_put_beside_those_of_onward_stay() {
    let mut facts = carry_out(&with_admins(&[("ana", 0)]), bare());
    let somebodys = FileFact { content: format!("{}\n", KEYS[1]), mode: 0o644 };
    let paths = [keys_file(&user("root")), format!("{KEYS_DIRECTORY}/nobody-here")];
    for path in &paths {
        facts.files.insert(path.clone(), somebodys.clone());
    }
    let facts = carry_out(&setup(), facts);
    assert!(paths.iter().all(|path| facts.files.get(path) == Some(&somebodys)));
    assert!(!facts.files.contains_key(&keys_file(&user("ana"))), "the control: onward's own go");
}

#[test]
fn who_is_taken_out_of_the_file_may_not_sign_in_any_more() {
    let facts = carry_out(&with_admins(&[("ana", 0), ("ben", 1)]), bare());
    let without = with_admins(&[("ana", 0)]);
    let plan = plan(&without, &facts).unwrap();
    assert_eq!(
        sentences(&plan),
        [
            "1 key of root that the project file does not name go",
            "ben is no admin any more, and may not sign in; the account and its files stay",
        ]
    );
    let ben = key(1);
    assert!(plan.changes.iter().all(|change| change.details == [format!("- {}", ben.shown())]));
    let facts = carry_out(&without, facts);
    assert!(!facts.files.contains_key(&keys_file(&user("ben"))));
    assert!(!facts.accounts[&user("ben")].is_member);
}

#[test]
fn a_key_that_somebody_added_is_shown_before_it_goes() {
    let setup = with_admins(&[("ana", 0)]);
    let mut facts = carry_out(&setup, bare());
    let path = keys_file(&user("ana"));
    let file = facts.files.get_mut(&path).unwrap();
    file.content.push_str(&format!("{}\nfrom=\"10.0.0.1\" {}\n", KEYS[2], KEYS[1]));
    let plan = plan(&setup, &facts).unwrap();
    assert_eq!(sentences(&plan), ["2 keys of ana that the project file does not name go"]);
    let expected = [format!("- {}", key(2).shown()), format!("- from=\"10.0.0.1\" {}", KEYS[1])];
    assert_eq!(plan.changes[0].details, expected);
}

#[test]
fn rules_that_were_changed_by_hand_are_loaded_again() {
    let mut facts = carry_out(&setup(), bare());
    facts.firewall.rules = Some(Digest::of(b"with a rule more"));
    let plan = plan(&setup(), &facts).unwrap();
    assert_eq!(
        sentences(&plan),
        ["The firewall's rules differ from their file, and are loaded again"]
    );
}

fn listener(protocol: Protocol, port: u16, address: &str, process: &str) -> Listener {
    let address: IpAddr = address.parse().unwrap();
    Listener { protocol, port, address, process: process.to_owned() }
}

#[test]
fn what_would_be_cut_off_is_asked_first() {
    let mut facts = bare();
    facts.listening = vec![
        listener(Protocol::Tcp, 22, "0.0.0.0", "sshd"),
        listener(Protocol::Tcp, 80, "0.0.0.0", "nginx"),
        listener(Protocol::Tcp, 443, "::", "systemd"),
        listener(Protocol::Tcp, 5432, "0.0.0.0", "postgres"),
        listener(Protocol::Tcp, 443, "0.0.0.0", "onward"),
        listener(Protocol::Tcp, 6379, "127.0.0.1", "redis-server"),
        listener(Protocol::Udp, 68, "0.0.0.0", "dhclient"),
        listener(Protocol::Udp, 51820, "::", ""),
    ];
    facts.forwards_for = vec!["docker0".to_owned()];
    facts.other_firewalls = vec!["ufw".to_owned()];
    facts
        .accounts
        .insert(user("old"), Account { own_keys: vec![KEYS[1].to_owned()], ..Account::default() });
    let setup = with_admins(&[("ana", 0)]);
    let found = plan(&setup, &facts).unwrap();
    let all = [
        "port 80/tcp",
        "port 5432/tcp",
        "port 51820/udp",
        "forward docker0",
        "firewall ufw",
        "account old",
    ];
    assert_eq!(ids(&found), all);
    let answered =
        Setup { answered: all[1..].iter().map(ToString::to_string).collect(), ..setup.clone() };
    assert_eq!(ids(&plan(&answered, &facts).unwrap()), ["port 80/tcp"]);
    let settled = plan(&Setup { is_settled: true, ..setup.clone() }, &facts).unwrap();
    assert!(settled.questions.is_empty());
    assert_eq!(settled.notes.len(), all.len());
    let ssh = plan(&Setup { harden: Harden::Ssh, ..setup.clone() }, &facts).unwrap();
    assert_eq!(ids(&ssh), ["account old"]);
    assert!(
        plan(&Setup { harden: Harden::Off, ..setup.clone() }, &facts).unwrap().questions.is_empty()
    );
    let hardened = carry_out(&setup, facts);
    assert!(plan(&setup, &hardened).unwrap().questions.is_empty(), "it is not asked again");
}

#[test]
fn onward_does_not_lock_itself_out_without_being_told_to() {
    let setup = Setup { root_login: false, is_settled: true, ..with_admins(&[("ana", 0)]) };
    assert_eq!(ids(&plan(&setup, &bare()).unwrap()), ["login root"]);
    let setup = Setup { login: user("ana"), ..setup };
    assert!(plan(&setup, &bare()).unwrap().questions.is_empty());
}

#[test]
fn a_machine_has_one_owner_and_the_ports_of_its_guests() {
    let mut facts = carry_out(&setup(), bare());
    let other = Setup { owner: owner("staging"), ..setup() };
    let refused = plan(&other, &facts).unwrap_err();
    assert_eq!(refused.to_string(), "the machine is set up by shop/production");
    let opening = Opening {
        protocol: Protocol::Tcp,
        ports: 8080.into(),
        from: None,
        why: "everybody".to_owned(),
    };
    let guest = Guest { owner: owner("staging"), openings: vec![opening] };
    facts.record.as_mut().unwrap().guests.push(guest);
    let plan = plan(&setup(), &facts).unwrap();
    assert_eq!(plan.changes[0].details, ["+ tcp dport 8080 for everybody"]);
}

/// What a machine is once a guest is on it, or has left it.
fn with_guest(guest: &Setup, mut facts: Facts) -> Facts {
    let Stay { plan, record } = Stay::of(guest, &facts).expect("a guest");
    for change in plan.changes {
        change.effects.iter().for_each(|effect| take(&mut facts, effect));
    }
    facts.record = Some(Record { rules: facts.firewall.rules, ..record });
    facts
}

#[test]
fn a_guest_has_its_ports_until_it_leaves_and_the_owner_keeps_them() {
    let opening = |port: u16, from: Option<Vec<Network>>| Opening {
        protocol: Protocol::Tcp,
        ports: port.into(),
        from,
        why: "people".to_owned(),
    };
    let own = Setup { openings: vec![opening(80, None)], ..setup() };
    assert_eq!(Stay::of(&own, &bare()), None, "nobody's machine has no guests");
    let facts = carry_out(&own, bare());
    assert_eq!(Stay::of(&own, &facts), None, "its owner is no guest");

    let from: Vec<Network> = vec!["192.0.2.7".parse().unwrap()];
    let openings = vec![opening(80, None), opening(8080, Some(from))];
    let guest = Setup { owner: owner("staging"), openings, ..setup() };
    let stay = Stay::of(&guest, &facts).unwrap();
    assert!(!stay.is_known(&facts));
    let added = "+ ip saddr 192.0.2.7 tcp dport 8080 for people";
    assert_eq!(stay.plan.changes[0].details, [added]);
    let facts = with_guest(&guest, facts);
    let again = Stay::of(&guest, &facts).unwrap();
    assert!(again.plan.changes.is_empty() && again.is_known(&facts));
    assert!(plan(&own, &facts).unwrap().changes.is_empty(), "its owner leaves them open");

    let third = Setup { owner: owner("qa"), openings: vec![opening(9000, None)], ..setup() };
    let facts = with_guest(&third, facts);
    let gone = Setup { openings: Vec::new(), ..guest };
    let leaving = Stay::of(&gone, &facts).unwrap();
    let removed = "- ip saddr 192.0.2.7 tcp dport 8080 for people";
    assert_eq!(leaving.plan.changes[0].details, [removed], "80 is its owner's too");
    let facts = with_guest(&gone, facts);
    let left: Vec<_> = facts.record.as_ref().unwrap().guests.iter().map(|own| &own.owner).collect();
    assert_eq!(left, [&owner("qa")]);
    assert!(Stay::of(&gone, &facts).unwrap().is_known(&facts), "who has no ports is no guest");
}

#[test]
fn a_guest_opens_nothing_where_there_is_no_firewall_and_its_servers_come_by_ssh() {
    let peers: Vec<Network> = vec!["192.0.2.7".parse().unwrap()];
    let ssh = SshDoor { peers: peers.clone(), ..SshDoor::default() };
    let guest = Setup { owner: owner("staging"), ssh, ..setup() };
    let off = Setup { harden: Harden::Off, updates: false, ..setup() };
    let opening =
        Opening { protocol: Protocol::Tcp, ports: 80.into(), from: None, why: String::new() };
    let with_port = Setup { openings: vec![opening], ..guest.clone() };
    let stay = Stay::of(&with_port, &carry_out(&off, bare())).unwrap();
    assert!(stay.plan.changes.is_empty());
    assert_eq!(stay.record.guests.len(), 1, "it is remembered for a firewall that comes");

    let open = carry_out(&setup(), bare());
    assert!(Stay::of(&guest, &open).unwrap().is_known(&open), "SSH is open to everybody");
    let from: Vec<Network> = vec!["198.51.100.0/24".parse().unwrap()];
    let closed = Setup { ssh: SshDoor { from, ..SshDoor::default() }, ..setup() };
    let facts = carry_out(&closed, bare());
    let stay = Stay::of(&guest, &facts).unwrap();
    let added = "+ ip saddr 192.0.2.7 tcp dport 22 for SSH of the servers of shop/staging";
    assert_eq!(stay.plan.changes[0].details, [added]);
}

#[test]
fn nothing_of_onward_is_left_when_hardening_is_off() {
    let facts = carry_out(&with_admins(&[("ana", 0)]), bare());
    let off = Setup { harden: Harden::Off, updates: false, ..setup() };
    let facts = carry_out(&off, facts);
    assert!(facts.files.is_empty(), "{:?}", facts.files.keys());
    assert_eq!(facts.firewall.rules, None);
    assert!(facts.enabled.iter().all(|unit| !unit.starts_with("onward")));
}

fn member(name: &str, roles: &[&str], address: &str) -> Member {
    Member {
        name: name.parse().unwrap(),
        roles: roles.iter().map(|role| role.parse().unwrap()).collect(),
        addresses: vec![address.parse().unwrap()],
    }
}

#[test]
fn a_server_that_comes_changes_the_rules_of_the_others() {
    let balancer: Role = "balancer".parse().unwrap();
    let web = BTreeSet::from(["web".parse().unwrap()]);
    let doors = |members: &[Member], name: &str| -> Vec<String> {
        let talks = doors::talks_of_app(members, &balancer, &web);
        let shown = |opening: &Opening| match &opening.from {
            None => format!("{} all", opening.ports),
            Some(from) => {
                let from: Vec<String> = from.iter().map(ToString::to_string).collect();
                format!("{} {}", opening.ports, from.join(" "))
            }
        };
        doors::openings(&name.parse().unwrap(), members, &talks).iter().map(shown).collect()
    };
    let mut all = vec![member("one", &["web", "worker"], "192.0.2.1")];
    assert_eq!(doors(&all, "one"), ["80 all", "443 all"]);
    all.push(member("front", &["balancer", "manager"], "192.0.2.9"));
    assert_eq!(doors(&all, "one"), ["80 192.0.2.9"]);
    assert_eq!(doors(&all, "front"), ["80 all", "443 all"]);
    all.push(member("front2", &["balancer", "web"], "2001:db8::9"));
    assert_eq!(doors(&all, "one"), ["80 192.0.2.9 2001:db8::9"]);
    assert_eq!(doors(&all, "front2"), ["80 all", "443 all"], "everybody is said once");
    all.push(member("jobs", &["worker"], "192.0.2.4"));
    assert!(doors(&all, "jobs").is_empty());
    assert_eq!(doors::peers(&"jobs".parse().unwrap(), &all).len(), 3);
}

#[test]
fn the_rules_read_as_people_expect() {
    let mut setup = setup();
    setup.ssh.from = vec!["198.51.100.0/24".parse().unwrap()];
    setup.ssh.peers = vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    setup.openings = vec![Opening {
        protocol: Protocol::Udp,
        ports: Ports { first: 60000, last: 61000 },
        from: Some(vec!["10.0.0.0/8".parse().unwrap(), "10.1.0.0/16".parse().unwrap()]),
        why: "the project \"file\"; drop".to_owned(),
    }];
    let rules = firewall::rules(&setup, &bare());
    for line in [
        "ip saddr { 192.0.2.1, 198.51.100.0/24 } tcp dport 22 accept comment \"SSH\"",
        "ip6 saddr 2001:db8::1 tcp dport 22 accept comment \"SSH\"",
        "ip saddr 10.0.0.0/8 udp dport 60000-61000 accept comment \"the project file drop\"",
        "type filter hook input priority filter; policy drop;",
        "type filter hook forward priority filter; policy drop;",
    ] {
        assert!(rules.contains(line), "{line} is not in\n{rules}");
    }
    assert!(!rules.contains("flush ruleset"));
}

fn any_setup() -> impl Strategy<Value = Setup> {
    let names = subsequence(vec![("ana", 0), ("ben", 1), ("ci", 2)], 0..=3);
    let harden = select(vec![Harden::Full, Harden::Ssh, Harden::Off]);
    let doors = subsequence(vec![80u16, 443, 5432, 8080], 0..=4);
    let from = subsequence(vec!["10.0.0.0/8", "10.1.0.0/16", "192.0.2.1", "2001:db8::/32"], 0..=4);
    let extra = (any::<bool>(), any::<bool>(), any::<bool>(), proptest::option::of(1u32..4096));
    (names, harden, doors, from, extra).prop_map(|(names, harden, doors, from, extra)| {
        let (updates, root_login, is_ana, swap_mib) = extra;
        let mut setup = with_admins(&names);
        setup.harden = harden;
        setup.updates = updates;
        setup.root_login = root_login;
        setup.swap_mib = swap_mib;
        setup.timezone = updates.then(|| "Europe/Vienna".to_owned());
        setup.locale = root_login.then(|| "de_AT.UTF-8".to_owned());
        if is_ana {
            setup.login = user("ana");
        }
        let networks: Vec<Network> = from.iter().map(|text| text.parse().unwrap()).collect();
        setup.openings = doors
            .iter()
            .map(|port| Opening {
                protocol: Protocol::Tcp,
                ports: (*port).into(),
                from: (port % 2 == 0).then(|| networks.clone()),
                why: "test".to_owned(),
            })
            .collect();
        setup.ssh.from = networks;
        setup
    })
}

proptest! {
    #[test]
    fn at_the_end_nothing_is_left_to_change(
        setups in proptest::collection::vec(any_setup(), 1..4),
        ports in proptest::collection::btree_set(1u16.., 0..3),
    ) {
        let mut facts = bare();
        facts.sshd.ports = ports;
        for setup in &setups {
            facts = carry_out(setup, facts);
            let left = plan(setup, &facts).unwrap();
            prop_assert!(left.changes.is_empty(), "{:?}", sentences(&left));
        }
    }

    #[test]
    fn the_rules_never_lose_ssh(
        setup in any_setup(),
        ports in proptest::collection::btree_set(1u16.., 0..3),
    ) {
        let mut facts = bare();
        facts.sshd.ports = ports.clone();
        let rules = firewall::rules(&setup, &facts);
        let ports = if ports.is_empty() { BTreeSet::from([22]) } else { ports };
        let doors: Vec<&str> = rules.lines().filter(|line| line.contains("\"SSH\"")).collect();
        prop_assert!(!doors.is_empty());
        for port in ports {
            let is_in = |line: &&str| {
                let words = |c: char| !c.is_ascii_digit();
                line.split("tcp dport").nth(1).is_some_and(|rest| rest.split(words).any(|word| word == port.to_string()))
            };
            prop_assert!(doors.iter().all(is_in), "{port} is not in {doors:?}");
        }
        if setup.ssh.from.is_empty() {
            prop_assert!(doors.len() == 1 && !doors[0].contains("saddr"));
        }
    }

    #[test]
    fn keys_and_networks_never_panic(text in "\\PC*") {
        let _ = text.parse::<AuthorizedKey>();
        let _ = text.parse::<Network>();
        let _ = text.parse::<UserName>();
    }

    #[test]
    fn a_setup_is_read_as_it_was_written(setup in any_setup()) {
        let text = serde_json::to_string(&setup).unwrap();
        prop_assert_eq!(serde_json::from_str::<Setup>(&text).unwrap(), setup);
    }
}

//! Machines become what they shall be, stay so, and take back what would lock the operator out.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use onward::machine::{Converged, Looks, Trouble};
use onward::project::{HostKey, Reach, Resolved, parse, resolve};
use onward::providers::nspawn::ServerSpec;
use onward::providers::ssh::{Pins, SshServer};
use onward_core::machine::{
    Admin, AuthorizedKey, Event, Opening, Owner, Protocol, Setup, UserName,
};
use onward_fleet_tests::{Fleet, eventually};

use super::installed::{program, put};

/// Where onward is on a server.
const ONWARD: &str = "/var/lib/onward/bin/current";
/// A key that nobody here has the other half of.
const STRANGER: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBERERERERERERERERERERERERERERERERERERERERER stranger";
/// The time that the operator has where nobody shall come back, in seconds.
const CONFIRM_WITHIN_S: u32 = 6;

/// Boots a server with onward on it, and no agent.
fn boot() -> Option<Fleet> {
    let fleet = Fleet::boot(1)?;
    put(&fleet, &program(), "0123456789abcdef");
    Some(fleet)
}

fn key(text: &str) -> AuthorizedKey {
    text.parse().expect("a key")
}

/// The public half of the key that logs in to the servers of a fleet.
fn own_key(fleet: &Fleet) -> AuthorizedKey {
    let public = fleet.lab().key_file().with_extension("pub");
    key(&std::fs::read_to_string(public).expect("the public half"))
}

fn setup() -> Setup {
    let owner =
        Owner { app: "shop".parse().expect("a name"), environment: "lab".parse().expect("a name") };
    let opening = |port: u16| Opening {
        protocol: Protocol::Tcp,
        ports: port.into(),
        from: None,
        why: "everybody".to_owned(),
    };
    Setup { openings: vec![opening(80), opening(443)], ..Setup::new(owner, UserName::root()) }
}

/// A set-up that runs on a server, as a person would start it by hand.
struct Running {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Running {
    fn of(fleet: &Fleet, setup: &Setup) -> Self {
        let command = format!(
            "systemd-run --quiet --collect --pipe --wait --unit=trial {ONWARD} agent set-up"
        );
        let mut child = fleet
            .ssh(0)
            .command()
            .arg(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("ssh runs");
        let text = serde_json::to_vec(setup).expect("a set-up is written");
        child.stdin.take().expect("a pipe").write_all(&text).expect("it is taken");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Self { child, lines }
    }

    /// What it tells up to the event that is looked for, that one among it; to its end when there is none.
    fn until(&mut self, is_it: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut all = Vec::new();
        for line in self.lines.by_ref().map_while(Result::ok) {
            let event: Event = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
            let is_last = is_it(&event);
            all.push(event);
            if is_last {
                break;
            }
        }
        all
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes a set-up so, and confirms it over a new connection. How many changes there were.
fn make(fleet: &Fleet, setup: &Setup) -> usize {
    let mut running = Running::of(fleet, setup);
    let mut all = running.until(|event| matches!(event, Event::Confirm { .. }));
    if let Some(Event::Confirm { token, .. }) = all.last() {
        let command = format!("{ONWARD} agent set-up --confirm {}", token.as_str());
        fleet.run(0, &command);
        all.extend(running.until(|_| false));
    }
    match all.last() {
        Some(Event::Finished { ok: true, changed, .. }) => *changed,
        _ => panic!("{all:#?}"),
    }
}

/// What a lockout must leave as it was: every file of onward's outside its own tree, and the rules.
fn way_in(fleet: &Fleet) -> String {
    fleet.run(
        0,
        "find /etc/ssh /etc/sudoers.d /etc/onward -type f 2> /dev/null | sort | xargs sha256sum; \
         nft -s list ruleset; ls /var/lib/onward/machine/undo.json 2>&1; true",
    )
}

fn is_reached(fleet: &Fleet, port: u16) -> bool {
    let address = SocketAddr::from((fleet.machines()[0].address, port));
    TcpStream::connect_timeout(&address, Duration::from_millis(800)).is_ok()
}

/// Listens on a port of the server, on every address.
fn listen(fleet: &Fleet, port: u16) {
    let perl = format!(
        "use IO::Socket::INET; my $l = IO::Socket::INET->new(LocalPort => {port}, Listen => 5, \
         ReuseAddr => 1) or die; while (1) {{ my $c = $l->accept; }}"
    );
    fleet.run(0, &format!("systemd-run --quiet --unit=listens-{port} perl -e '{perl}'"));
    eventually("it listens", || is_reached(fleet, port));
}

#[test]
fn a_bare_server_is_hardened_and_then_nothing_is_left_to_do() {
    let Some(fleet) = boot() else { return };
    let mut setup = setup();
    setup.packages = ["systemd-timesyncd", "unattended-upgrades"].map(str::to_owned).into();
    setup.timezone = Some("Etc/GMT+5".to_owned());
    listen(&fleet, 7777);
    // Packages come by a set-up that hardens nothing, so that the rest can be measured.
    let packages =
        Setup { harden: onward_core::machine::Harden::Off, updates: false, ..setup.clone() };
    make(&fleet, &packages);
    assert!(is_reached(&fleet, 7777), "nothing is hardened yet");

    let asked = Running::of(&fleet, &setup).until(|_| false);
    let [Event::Asks { questions }, Event::Finished { ok: false, changed: 0, .. }] = &asked[..]
    else {
        panic!("{asked:#?}");
    };
    assert_eq!(questions[0].id, "port 7777/tcp");
    assert!(is_reached(&fleet, 7777), "nothing is changed before it is answered");

    setup.answered.insert("port 7777/tcp".to_owned());
    let began = Instant::now();
    assert!(make(&fleet, &setup) > 3);
    eprintln!("FIGURE hardening beyond packages: {} ms", began.elapsed().as_millis());
    assert!(!is_reached(&fleet, 7777), "what nothing lets in is dropped");
    assert!(is_reached(&fleet, 22));
    let effective = fleet.run(0, "sshd -T");
    for line in ["passwordauthentication no", "permitrootlogin without-password"] {
        assert!(effective.contains(line), "{line}: {effective}");
    }
    assert_eq!(fleet.run(0, "date +%z").trim(), "-0500");

    let began = Instant::now();
    assert_eq!(make(&fleet, &setup), 0, "it is so already");
    eprintln!("FIGURE second run: {} ms", began.elapsed().as_millis());
    let began = Instant::now();
    fleet.run(0, "true");
    eprintln!("FIGURE of it a bare ssh: {} ms", began.elapsed().as_millis());

    // All of it is there after a power cut, and rules that others took away come back.
    let before = way_in(&fleet);
    power_cut(&fleet);
    assert_eq!(way_in(&fleet), before);
    fleet.run(0, "nft delete table inet onward");
    assert_eq!(make(&fleet, &setup), 1);
    assert_eq!(way_in(&fleet), before);

    // And nothing of it when it is not wanted any more.
    let off = Setup { harden: onward_core::machine::Harden::Off, updates: false, ..setup };
    make(&fleet, &off);
    let left = "find /etc/onward /etc/ssh /etc/systemd -name '*onward*' -not -name '*lab*' -type f; nft list ruleset";
    assert_eq!(fleet.run(0, &format!("({left}) 2> /dev/null; true")), "");
}

fn power_cut(fleet: &Fleet) {
    let name = fleet.name(0).clone();
    fleet.lab().power_cut(&name).expect("cut");
    fleet.up(&[ServerSpec::of(name)]).expect("it boots");
}

/// What happens while the machine waits to be confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meanwhile {
    /// Nothing.
    Nothing,
    /// The set-up is killed.
    Killed,
    /// The operator's connection ends.
    Disconnected,
    /// The power is cut.
    PowerCut,
    /// The machine is rebooted.
    Reboot,
}

#[test]
fn twenty_of_twenty_lockouts_are_undone() {
    use Meanwhile::{Disconnected, Killed, Nothing, PowerCut, Reboot};
    let all = [Nothing, Killed, Disconnected, PowerCut, Reboot];
    std::thread::scope(|scope| {
        let each: Vec<_> =
            all.into_iter().map(|meanwhile| scope.spawn(move || lockouts(meanwhile))).collect();
        let undone: usize = each.into_iter().map(|own| own.join().expect("no lockout")).sum();
        eprintln!("FIGURE lockouts undone: {undone}");
        assert!(undone == 20 || undone == 0, "all of them, or they were left out: {undone}");
    });
}

/// Every way to lock oneself out, on a server of its own. How many were undone.
fn lockouts(meanwhile: Meanwhile) -> usize {
    let Some(fleet) = boot() else { return 0 };
    // The packages that a hardened server has are not what is tried here.
    let base = Setup { harden: onward_core::machine::Harden::Full, updates: false, ..setup() };
    make(&fleet, &base);
    let before = way_in(&fleet);
    let own = own_key(&fleet);
    let admin = |name: &str, own: &AuthorizedKey| {
        vec![Admin { name: name.parse().expect("a name"), keys: vec![own.clone()] }]
    };
    let answered = ["login root", "account root"].map(str::to_owned).into();
    let mut port = base.clone();
    port.ssh.from = vec!["192.0.2.0/24".parse().expect("a network")];
    let cases = [
        ("the rules drop the operator", port),
        ("sshd refuses root", Setup { root_login: false, answered, ..base.clone() }),
        (
            "the operator is in no group",
            Setup {
                root_login: false,
                admins: admin("ana", &own),
                answered: ["login root", "account root"].map(str::to_owned).into(),
                ..base.clone()
            },
        ),
        (
            "the operator's key is gone",
            Setup {
                admins: admin("ben", &key(STRANGER)),
                answered: ["account root"].map(str::to_owned).into(),
                ..base.clone()
            },
        ),
    ];
    let mut undone = 0;
    for (what, lockout) in cases {
        let lockout = Setup { confirm_within_s: CONFIRM_WITHIN_S, ..lockout };
        if meanwhile == Meanwhile::Killed {
            kill_later(&fleet);
        }
        let mut running = Running::of(&fleet, &lockout);
        let told = running.until(|event| matches!(event, Event::Confirm { .. }));
        assert!(matches!(told.last(), Some(Event::Confirm { .. })), "{what}: {told:#?}");
        let armed = Instant::now();
        assert!(
            !gets_in(&fleet),
            "{what}, {meanwhile:?}: nobody is locked out, so nothing is tried"
        );
        match meanwhile {
            Meanwhile::Nothing => {}
            Meanwhile::Killed => assert!(running.until(|_| false).len() < 3, "it was killed"),
            Meanwhile::Disconnected => drop(running),
            Meanwhile::PowerCut => power_cut(&fleet),
            Meanwhile::Reboot => {
                let name = fleet.name(0).clone();
                fleet.lab().reboot(&name).expect("it reboots");
            }
        }
        eventually("the way in is back", || gets_in(&fleet));
        eprintln!("FIGURE {what}, {meanwhile:?}: in again after {:?}", armed.elapsed());
        eventually("all is as it was", || way_in(&fleet) == before);
        undone += 1;
    }
    undone
}

fn gets_in(fleet: &Fleet) -> bool {
    is_reached(fleet, 22) && fleet.ssh(0).run("true").is_success()
}

/// Kills the set-up when its changes are in force, also on a busy machine, and before they are undone.
fn kill_later(fleet: &Fleet) {
    fleet.run(
        0,
        "systemd-run --quiet --collect sh -c 'until [ -e /var/lib/onward/machine/undo.json ]; do \
         sleep 0.02; done; sleep 3; systemctl kill --signal=KILL trial.service'",
    );
}

fn resolved(text: &str) -> Resolved {
    let text = format!(
        "app = \"shop\"\n[process.web]\nrun = \"a\"\n{text}\n[environment.lab]\nprovider = \
         \"nspawn\"\nservers = [{{ name = \"one\" }}]\ndefault = true\n"
    );
    resolve(&parse(&text).expect("a file"), None).expect("an environment")
}

/// The server as a command reaches it, with an agent on it.
fn server(fleet: &Fleet) -> SshServer {
    fleet.run(0, &format!("{ONWARD} agent install --server one >&2"));
    let machine = &fleet.machines()[0];
    let reach = Reach {
        address: machine.address.to_string(),
        user: Some("root".to_owned()),
        port: None,
        host_key: HostKey::new(&machine.host_key),
    };
    let (app, environment) = ("shop".parse().expect("a name"), "lab".parse().expect("a name"));
    let pins = Pins::below(fleet.directory(), &app, &environment);
    SshServer::new(machine.name.clone(), reach, Some(fleet.lab().key_file()), pins)
}

fn look(resolved: &Resolved, server: &SshServer, keys: &[AuthorizedKey]) -> Looks {
    let login = |_: &SshServer| (UserName::root(), keys.to_vec());
    Looks::of(resolved, std::slice::from_ref(server), login).expect("it answers")
}

fn converge(looks: &Looks) -> Option<Converged> {
    let tell = |server: &_, event: &_| eprintln!("{server}: {event:?}");
    looks.converge(&tell, &|| false).into_values().next()
}

/// What `id -u` says of a person who signs in and becomes root; nothing of one who cannot.
fn becomes_root(fleet: &Fleet, user: &str) -> String {
    let by_root = fleet.ssh(0).command();
    let mut command = std::process::Command::new(by_root.get_program());
    for argument in by_root.get_args() {
        let text = argument.to_str().expect("text");
        command.arg(text.replace("root@", &format!("{user}@")));
    }
    command.arg("id -un; sudo -n id -u").stdin(Stdio::null());
    let output = command.output().expect("ssh runs");
    String::from_utf8(output.stdout).expect("text").replace('\n', " ").trim().to_owned()
}

#[test]
fn people_come_and_go_over_the_agent() {
    let Some(fleet) = boot() else { return };
    let server = server(&fleet);
    let own = own_key(&fleet);
    let ana = format!("[admin.ana]\nkeys = [\"{own}\"]");
    let file = |rest: &str| {
        let mut resolved = resolved(&format!("{ana}\n{rest}"));
        resolved.machine.updates = Some(false);
        resolved
    };
    let as_user = |user: &str| becomes_root(&fleet, user);

    let both = file(&format!("[admin.ben]\nkeys = [\"{own}\", \"{STRANGER}\"]"));
    let looks = look(&both, &server, &[]);
    assert!(looks.questions().is_empty(), "{:#?}", looks.questions());
    assert!(matches!(converge(&looks), Some(Converged::Done(_))));
    assert_eq!(as_user("ana"), "ana 0");
    assert_eq!(as_user("ben"), "ben 0");
    assert!(look(&both, &server, &[]).is_converged());

    // What somebody adds by hand is shown before it goes, and in a home it opens nothing.
    fleet.run(0, &format!("echo '{STRANGER}' >> /etc/ssh/authorized_keys.d/ana"));
    let lines = look(&both, &server, &[]).lines().join("\n");
    assert!(lines.contains("1 key of ana that the project file does not name go"), "{lines}");
    assert!(lines.contains("(stranger)"), "{lines}");

    // Without ben, his account and his keys open nothing.
    let looks = look(&file(""), &server, &[]);
    let lines = looks.lines().join("\n");
    assert!(lines.contains("ben is no admin any more"), "{lines}");
    assert!(matches!(converge(&looks), Some(Converged::Done(_))), "{lines}");
    assert_eq!(as_user("ana"), "ana 0");
    assert_eq!(as_user("ben"), "");
    assert_eq!(
        fleet.run(0, "grep -c stranger /etc/ssh/authorized_keys.d/* || true").lines().count(),
        2
    );

    // A file that would lock out says so, after the server took it back by itself.
    let mut wrong = file("");
    wrong.machine.ssh_from = vec!["192.0.2.0/24".parse().expect("a network")];
    let mut looks = look(&wrong, &server, &[]);
    looks.confirm_within(CONFIRM_WITHIN_S);
    let Some(Converged::Trouble(trouble)) = converge(&looks) else { panic!("locked out") };
    let Trouble::Undone { no_way_in: Some(why), .. } = &trouble else { panic!("{trouble:?}") };
    eprintln!("{why}: {:?}", trouble.sentences());
    assert!(is_reached(&fleet, 22));
    let looks = look(&file(""), &server, &[]);
    assert!(looks.is_converged(), "it is as it was, but for {:?}", looks.lines());
}

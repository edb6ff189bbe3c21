//! What people ask for in a run, and how the releases that they bring behave.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use onward_core::document::Server;
use onward_core::engine::{Ask, Request};
use onward_core::model::{
    AppName, BundleRef, Config, Digest, EnvironmentName, Generation, Part, Process, ReleaseNumber,
    RequestId, Role, Run, ServerName, Stop, Strategy,
};

use super::rng::Rng;

/// How a release behaves on every server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    Good,
    SlowStart,
    NeverReady,
    ExitsAtOnce,
    DiesInWatch,
    FailsProbeInWatch,
    ServerErrors,
    CommandFails,
    CheckFails,
    BadDigest,
    WorkerDies,
    DiesInSecondStep,
}

impl Behaviour {
    const ALL: [Self; 12] = [
        Self::Good,
        Self::SlowStart,
        Self::NeverReady,
        Self::ExitsAtOnce,
        Self::DiesInWatch,
        Self::FailsProbeInWatch,
        Self::ServerErrors,
        Self::CommandFails,
        Self::CheckFails,
        Self::BadDigest,
        Self::WorkerDies,
        Self::DiesInSecondStep,
    ];

    /// The bundle of a release that behaves so. `serial` makes it another bundle.
    pub fn bundle(self, serial: u64) -> BundleRef {
        let mut bytes = [0; 32];
        bytes[0] = self as u8;
        bytes[1..9].copy_from_slice(&serial.to_le_bytes());
        BundleRef { digest: Digest::from_bytes(bytes), label: format!("{self:?}-{serial}") }
    }

    /// How the release of a bundle behaves.
    pub fn of(bundle: &BundleRef) -> Self {
        let index = usize::from(bundle.digest.as_bytes()[0]);
        Self::ALL.get(index).copied().unwrap_or(Self::Good)
    }
}

/// What one person asks for.
#[derive(Debug, Clone)]
pub struct Intent {
    /// When it is asked first, in milliseconds after the one before.
    pub after_ms: u64,
    /// What is asked.
    pub wish: Wish,
}

/// The kinds of intents.
#[derive(Debug, Clone)]
pub enum Wish {
    /// Through the shipped runner.
    Ask(Request),
    /// The document is edited by hand, so that it demands this.
    Edit(Edit),
}

/// An edit of the demand.
#[derive(Debug, Clone, Copy)]
pub enum Edit {
    /// An earlier release, when there is one.
    Earlier,
    /// Nothing.
    Nothing,
    /// So many instances of the process with traffic.
    Scale(u32),
}

/// Everything that people do in a run.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The intents of each submitter.
    pub people: Vec<Vec<Intent>>,
    /// Whether the agents also fetch their orders from the store.
    pub pull: bool,
}

/// The longest time that an instance has until its first answer, in milliseconds.
pub const WITHIN_MS: u64 = 400;
/// How long new releases are watched, in milliseconds.
pub const WATCH_MS: u64 = 200;
/// How long previous releases are kept warm, in milliseconds.
pub const WARM_MS: u64 = 1_500;

/// How many configurations there are: with or without a worker, commands, warmth; one with two
/// instances of each process; then steps, numbers in all, and workers that overlap.
const CONFIGS: u64 = 14;

/// The app of all runs.
pub fn app() -> AppName {
    "shop".parse().expect("a legal name")
}

/// The environment of all runs.
pub fn environment() -> EnvironmentName {
    "production".parse().expect("a legal name")
}

/// The parts that all runs share, made once.
#[derive(Debug, Clone)]
pub struct Shared {
    configs: Vec<Arc<Config>>,
    servers: Vec<BTreeMap<ServerName, Server>>,
}

/// How many sets of servers one run chooses from.
const SETS: usize = 5;

/// The servers of an environment by their roles: all alike, one without traffic, then a balancer
/// before two, a balancer with traffic of its own before one, and a balancer before one and a half.
/// Then those of the runs in which balancers come, go and move: all alike again, two balancers
/// before one, two with traffic of their own before one, and another balancer, at last without the
/// server that was the balancer in most of the others.
const SERVER_SETS: [&[(&str, &[&str])]; 2 * SETS] = [
    &[("one", &["web", "worker"]), ("two", &["web", "worker"]), ("zoe", &["web", "worker"])],
    &[("one", &["web", "worker"]), ("two", &["web", "worker"]), ("zoe", &["worker"])],
    &[("one", &["balancer"]), ("two", &["web", "worker"]), ("zoe", &["web", "worker"])],
    &[("one", &["balancer", "web", "worker"]), ("two", &["web", "worker"])],
    &[("one", &["balancer"]), ("two", &["worker"]), ("zoe", &["web"])],
    &[("one", &["web", "worker"]), ("two", &["web", "worker"]), ("zoe", &["web", "worker"])],
    &[("one", &["balancer"]), ("two", &["balancer"]), ("zoe", &["web", "worker"])],
    &[("one", &["balancer", "web", "worker"]), ("two", &["balancer", "web"]), ("zoe", &["web"])],
    &[("one", &["web", "worker"]), ("two", &["balancer", "web"]), ("zoe", &["web", "worker"])],
    &[("two", &["balancer"]), ("zoe", &["web", "worker"])],
];

impl Default for Shared {
    fn default() -> Self {
        Self {
            configs: (0..CONFIGS as u32).map(|bits| Arc::new(config(bits))).collect(),
            servers: SERVER_SETS.iter().map(|set| servers(set)).collect(),
        }
    }
}

fn config(bits: u32) -> Config {
    let process = || Process {
        run: Run::Command("./run".to_owned()),
        probe: None,
        stop: Stop { signal: "TERM".to_owned(), within_ms: 1_000 },
        overlap: bits == 13,
        limits: onward_core::model::Limits::default(),
        count: if bits == 8 { 2 } else { 1 },
        total: None,
        on: BTreeSet::new(),
    };
    let mut processes = BTreeMap::from([("web".parse().expect("a legal name"), process())]);
    if bits & 1 != 0 || bits >= 8 {
        processes.insert("worker".parse().expect("a legal name"), process());
    }
    if bits == 11 || bits == 12 {
        processes.values_mut().for_each(|own| own.total = Some(4));
    }
    let strategy = match bits {
        9 => Strategy::Batches(Part::Servers(1)),
        10 | 12 => Strategy::Canary(Part::Percent(30)),
        _ => Strategy::All,
    };
    Config {
        processes,
        strategy,
        release_command: (bits & 2 != 0).then(|| "./migrate".to_owned()),
        check_command: (bits & 2 != 0).then(|| "./smoke".to_owned()),
        watch_ms: WATCH_MS,
        warm_ms: if bits & 4 != 0 { WARM_MS } else { 0 },
        ..Config::default()
    }
}

fn servers(set: &[(&str, &[&str])]) -> BTreeMap<ServerName, Server> {
    let roles = |names: &[&str]| -> BTreeSet<Role> {
        names.iter().map(|name| name.parse().expect("a legal name")).collect()
    };
    let server = |(name, own): &(&str, &[&str])| {
        let server = Server { address: format!("{name}.test:80"), roles: roles(own), reach: None };
        (name.parse().expect("a legal name"), server)
    };
    set.iter().map(server).collect()
}

impl Shared {
    /// The names of the servers.
    pub fn server_names(&self) -> Vec<ServerName> {
        self.servers[0].keys().cloned().collect()
    }

    /// The scenario without a choice: a deploy with everything, then one beside it and a rollback.
    pub fn plain(&self) -> Scenario {
        let deploy =
            |behaviour: Behaviour, serial| self.deploy(behaviour, serial, 7, &self.servers[0]);
        let people = vec![
            vec![
                intent("ana", 0, 0, deploy(Behaviour::Good, 1)),
                intent("ana", 1, 100, deploy(Behaviour::DiesInWatch, 2)),
            ],
            vec![intent("bob", 0, 700, Ask::Rollback { to: None })],
        ];
        Scenario { people, pull: false }
    }

    /// What people ask for in the run of a seed: one to two intents of each of two persons.
    /// `moves`: balancers come, go and move.
    pub fn draw(&self, rng: &mut Rng, moves: bool) -> Scenario {
        let sets = if moves { &self.servers[SETS..] } else { &self.servers[..SETS] };
        let config = rng.below(CONFIGS) as usize;
        // Half of the runs have one set of servers, the others change it now and then.
        let first = rng.below(SETS as u64) as usize;
        let set = if rng.percent(30) { 0 } else { first };
        let changes = rng.percent(50);
        let mut serial = 10;
        let mut people = Vec::new();
        for name in ["ana", "bob"] {
            let count = 1 + rng.below(2);
            let mut intents = Vec::new();
            for n in 0..count {
                serial += 1;
                let other = changes && rng.percent(60);
                let set = if other { rng.below(SETS as u64) as usize } else { set };
                let own = self.draw_intent(rng, name, n, serial, config, (set, &sets[set]));
                let join = self.join(name, count + n, 300, &own);
                intents.push(own);
                intents.extend(join);
            }
            people.push(intents);
        }
        Scenario { people, pull: rng.percent(30) }
    }

    fn draw_intent(
        &self,
        rng: &mut Rng,
        name: &str,
        n: u64,
        serial: u64,
        config: usize,
        (set, servers): (usize, &BTreeMap<ServerName, Server>),
    ) -> Intent {
        let after_ms = rng.below(900);
        let ask = match rng.below(100) {
            0..50 => {
                let config = if rng.percent(70) { config } else { rng.below(CONFIGS) as usize };
                let behaviour =
                    if rng.percent(60) { Behaviour::Good } else { rng.pick(&Behaviour::ALL) };
                let force = rng.percent(5);
                with(self.deploy(behaviour, serial, config, servers), force, rng.percent(20))
            }
            50..54 => self.draw_move(rng),
            54..64 => {
                let process = if rng.percent(75) { "web" } else { "worker" };
                let count = rng.below(6) as u32;
                let process = process.parse().expect("a legal name");
                Ask::Scale { counts: BTreeMap::from([(process, count)]) }
            }
            64..74 => Ask::Rollback { to: rng.percent(30).then_some(ReleaseNumber(1)) },
            74..84 => Ask::Abort,
            84..91 => Ask::Down,
            91..93 => Ask::Replace { server: self.draw_server(rng) },
            other => {
                let edit = match other {
                    0..95 => Edit::Scale(1 + rng.below(4) as u32),
                    95..98 => Edit::Earlier,
                    _ => Edit::Nothing,
                };
                return Intent { after_ms, wish: Wish::Edit(edit) };
            }
        };
        let mut intent = intent(name, n, after_ms, ask);
        if let Wish::Ask(request) = &mut intent.wish
            && rng.percent(20)
        {
            let names = self.server_names();
            // The first server is the one on which commands run.
            // The last may be the only one with traffic, and then nobody can tell a bad release.
            let left_out = if set == 0 { rng.pick(&[0, 0, 1, 2]) } else { rng.below(2) as usize };
            request.without.insert(names[left_out].clone());
        }
        if let Wish::Ask(request) = &mut intent.wish
            && rng.percent(6)
        {
            request.planned_at = Some(Generation(1 + rng.below(12)));
        }
        intent
    }

    /// A role goes to another server: mostly one that somebody has.
    fn draw_move(&self, rng: &mut Rng) -> Ask {
        let role = rng.pick(&["web", "web", "worker", "worker", "balancer"]);
        let role = role.parse().expect("a legal name");
        let to = self.draw_server(rng);
        let from = rng.percent(60).then(|| self.draw_server(rng));
        Ask::Move { role, to, from }
    }

    fn draw_server(&self, rng: &mut Rng) -> ServerName {
        let names = self.server_names();
        names[rng.below(names.len() as u64) as usize].clone()
    }

    /// What follows a server that was taken out: its machine, as new.
    fn join(&self, name: &str, n: u64, after_ms: u64, intent: &Intent) -> Option<Intent> {
        let Wish::Ask(Request { ask: Ask::Replace { server }, .. }) = &intent.wish else {
            return None;
        };
        let machine = Box::new(self.servers[0].get(server)?.clone());
        Some(self::intent(name, n, after_ms, Ask::Join { server: server.clone(), machine }))
    }

    fn deploy(
        &self,
        behaviour: Behaviour,
        serial: u64,
        config: usize,
        servers: &BTreeMap<ServerName, Server>,
    ) -> Ask {
        Ask::Deploy {
            bundle: behaviour.bundle(serial),
            config: Arc::clone(&self.configs[config]),
            servers: servers.clone(),
            force: false,
            reset: false,
        }
    }
}

fn with(mut ask: Ask, forced: bool, resets: bool) -> Ask {
    if let Ask::Deploy { force, reset, .. } = &mut ask {
        (*force, *reset) = (forced, resets);
    }
    ask
}

pub(super) fn intent(name: &str, n: u64, after_ms: u64, ask: Ask) -> Intent {
    let request = Request {
        id: RequestId::new(&format!("request-{name}-{n}")),
        ask,
        by: format!("{name}#{n}"),
        planned_at: None,
        without: BTreeSet::new(),
    };
    Intent { after_ms, wish: Wish::Ask(request) }
}

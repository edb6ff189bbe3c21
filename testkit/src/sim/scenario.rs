//! What people ask for in a run, and how the releases that they bring behave.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use onward_core::document::Server;
use onward_core::engine::{Ask, Request};
use onward_core::model::{
    AppName, BundleRef, Config, Digest, EnvironmentName, Process, ReleaseNumber, RequestId, Role,
    Run, ServerName, Stop,
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
}

impl Behaviour {
    const ALL: [Self; 11] = [
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

/// How many configurations there are: with or without a worker, commands, warmth, and one with two
/// instances of each process.
const CONFIGS: u64 = 9;

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
    all_web: BTreeMap<ServerName, Server>,
    mixed: BTreeMap<ServerName, Server>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            configs: (0..CONFIGS as u32).map(|bits| Arc::new(config(bits))).collect(),
            all_web: servers(&["web", "worker"]),
            mixed: servers(&["worker"]),
        }
    }
}

fn config(bits: u32) -> Config {
    let process = || Process {
        run: Run::Command("./run".to_owned()),
        probe: None,
        stop: Stop { signal: "TERM".to_owned(), within_ms: 1_000 },
        overlap: false,
        count: if bits == 8 { 2 } else { 1 },
        total: None,
        on: BTreeSet::new(),
    };
    let mut processes = BTreeMap::from([("web".parse().expect("a legal name"), process())]);
    if bits & 1 != 0 || bits == 8 {
        processes.insert("worker".parse().expect("a legal name"), process());
    }
    Config {
        processes,
        release_command: (bits & 2 != 0).then(|| "./migrate".to_owned()),
        check_command: (bits & 2 != 0).then(|| "./smoke".to_owned()),
        watch_ms: WATCH_MS,
        warm_ms: if bits & 4 != 0 { WARM_MS } else { 0 },
        ..Config::default()
    }
}

/// Three servers; the last has the roles that are given.
fn servers(last: &[&str]) -> BTreeMap<ServerName, Server> {
    let roles = |names: &[&str]| -> BTreeSet<Role> {
        names.iter().map(|name| name.parse().expect("a legal name")).collect()
    };
    let server = |address: &str, roles| Server { address: address.to_owned(), roles };
    BTreeMap::from([
        ("one".parse().expect("a legal name"), server("10.0.0.1", roles(&["web", "worker"]))),
        ("two".parse().expect("a legal name"), server("10.0.0.2", roles(&["web", "worker"]))),
        ("zoe".parse().expect("a legal name"), server("10.0.0.3", roles(last))),
    ])
}

impl Shared {
    /// The names of the servers.
    pub fn server_names(&self) -> Vec<ServerName> {
        self.all_web.keys().cloned().collect()
    }

    /// The scenario without a choice: a deploy with everything, then one beside it and a rollback.
    pub fn plain(&self) -> Scenario {
        let deploy = |behaviour: Behaviour, serial| self.deploy(behaviour, serial, 7, false);
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
    pub fn draw(&self, rng: &mut Rng) -> Scenario {
        let config = rng.below(CONFIGS) as usize;
        let mixed = rng.percent(25);
        let mut serial = 10;
        let mut people = Vec::new();
        for name in ["ana", "bob"] {
            let count = 1 + rng.below(2);
            let intents = (0..count).map(|n| {
                serial += 1;
                self.draw_intent(rng, name, n, serial, config, mixed)
            });
            people.push(intents.collect());
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
        mixed: bool,
    ) -> Intent {
        let after_ms = rng.below(900);
        let ask = match rng.below(100) {
            0..60 => {
                let config = if rng.percent(70) { config } else { rng.below(CONFIGS) as usize };
                let behaviour =
                    if rng.percent(60) { Behaviour::Good } else { rng.pick(&Behaviour::ALL) };
                self.deploy(behaviour, serial, config, mixed)
            }
            60..74 => Ask::Rollback { to: rng.percent(30).then_some(ReleaseNumber(1)) },
            74..84 => Ask::Abort,
            84..93 => Ask::Down,
            other => {
                let edit = if other < 98 { Edit::Earlier } else { Edit::Nothing };
                return Intent { after_ms, wish: Wish::Edit(edit) };
            }
        };
        let mut intent = intent(name, n, after_ms, ask);
        if let Wish::Ask(request) = &mut intent.wish
            && rng.percent(20)
        {
            let names = self.server_names();
            // The first server is the one on which commands run.
            let left_out = rng.pick(&[0, 0, 1, 2]);
            request.without.insert(names[left_out].clone());
        }
        intent
    }

    fn deploy(&self, behaviour: Behaviour, serial: u64, config: usize, mixed: bool) -> Ask {
        Ask::Deploy {
            bundle: behaviour.bundle(serial),
            config: Arc::clone(&self.configs[config]),
            servers: if mixed { self.mixed.clone() } else { self.all_web.clone() },
            force: false,
            reset: false,
        }
    }
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

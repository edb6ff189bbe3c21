//! A project's own operations in the simulated world: what happens when something goes wrong at
//! each point of them.
//!
//! The project's processes, counts, roles, servers and commands are the real ones. Its times are
//! shortened: how long something is waited for changes nothing of what happens then.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use onward_core::document::{Ended, Finished, Server};
use onward_core::engine::Ask;
use onward_core::model::{Config, OperationNumber, ServerName};

use super::SERVERS_MAX;
use super::client::Client;
use super::core::Core;
pub use super::core::Struck;
use super::fault::{Fault, InvalidPlan, Plan, Point};
use super::invariant::Violation;
use super::rng::Rng;
use super::run::{Schedule, World};
use super::scenario::{Behaviour, WARM_MS, WATCH_MS, intent};
use super::trace::Trace;

/// The most instances of a process that are rehearsed: more behave as these do.
const COUNT_MAX: u32 = 4;
/// When the next command comes, after one that died, in milliseconds.
const NEXT_COMMAND_MS: u64 = 30_000;
/// Delays of what is late or away, in decisions: a little, and longer than others wait.
const GAPS: [u32; 2] = [12, 120];
/// The most faults of one story of several.
const FAULTS_MAX: u64 = 4;

/// What the project's people do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// The first release comes.
    First,
    /// A good release comes.
    Deploy,
    /// A release comes whose instances never answer their probe.
    NeverReady,
    /// A release comes whose instances die after the switch.
    DiesInWatch,
    /// The release before comes back.
    Rollback,
    /// Everything is taken away.
    Down,
}

impl Act {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::First,
        Self::Deploy,
        Self::NeverReady,
        Self::DiesInWatch,
        Self::Rollback,
        Self::Down,
    ];

    /// The word that names it in a story.
    pub const fn word(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Deploy => "deploy",
            Self::NeverReady => "never-ready",
            Self::DiesInWatch => "dies-in-watch",
            Self::Rollback => "rollback",
            Self::Down => "down",
        }
    }
}

/// What people do, and what goes wrong meanwhile: it is told the same way every time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    /// What people do.
    pub act: Act,
    /// What goes wrong at which decision.
    pub plan: Plan,
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.act.word(), self.plan)
    }
}

impl FromStr for Story {
    type Err = InvalidPlan;

    fn from_str(text: &str) -> Result<Self, InvalidPlan> {
        let (word, plan) = text.split_once('/').unwrap_or((text, ""));
        let act = Act::ALL.into_iter().find(|act| act.word() == word);
        let act = act.ok_or_else(|| InvalidPlan::new(text))?;
        Ok(Self { act, plan: plan.parse()? })
    }
}

/// What came of the operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Then {
    /// It was done.
    Done,
    /// It was taken back or failed; what served before serves.
    TakenBack,
    /// It was never recorded, or was left before it was decided: nothing has changed.
    NothingChanged,
}

/// How a story ended.
#[derive(Debug, Clone)]
pub struct Told {
    /// Where the last fault struck; none when it never came to it.
    pub struck: Option<Struck>,
    /// What came of the operation.
    pub then: Then,
    /// Why it failed, when it did.
    pub reason: Option<String>,
    /// How long no server could have answered a request, in milliseconds of the world.
    pub dark_ms: u64,
    /// How long after the last fault everything was at rest, in milliseconds of the world.
    pub rest_ms: u64,
    /// How many release commands were begun.
    pub commands: u32,
    /// What did not hold: a bug of onward.
    pub violation: Option<Violation>,
    /// What happened, line by line, when that was asked for.
    pub trace: Trace,
}

/// A project that cannot be rehearsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{servers} servers cannot be rehearsed; up to {SERVERS_MAX} can")]
pub struct TooManyServers {
    /// How many there are.
    pub servers: usize,
}

/// A project in the simulated world.
#[derive(Debug, Clone)]
pub struct Rehearsal {
    config: Arc<Config>,
    servers: BTreeMap<ServerName, Server>,
    /// The world in which two releases were made and the second serves.
    served: World,
}

impl Rehearsal {
    /// Puts the project into a world of its own, and releases it twice.
    ///
    /// # Errors
    /// [`TooManyServers`].
    pub fn new(
        config: &Config,
        servers: &BTreeMap<ServerName, Server>,
    ) -> Result<Self, TooManyServers> {
        if servers.len() > SERVERS_MAX {
            return Err(TooManyServers { servers: servers.len() });
        }
        let empty = World::new(servers.keys().cloned(), Core::new(), round_robin());
        let config = Arc::new(shortened(config));
        let mut own = Self { config, servers: servers.clone(), served: empty };
        for serial in [1, 2] {
            let mut world = own.served.clone();
            own.ask(&mut world, own.release(Behaviour::Good, serial));
            world.live();
            own.served = Self::renewed(world);
        }
        Ok(own)
    }

    /// Every point of every act with everything that can go wrong there; then stories in which
    /// several things go wrong, until there are `at_least` in all.
    pub fn stories(&self, at_least: usize) -> Vec<Story> {
        let mut stories = Vec::new();
        let mut lengths = Vec::new();
        for act in Act::ALL {
            let points = self.points(act);
            for (decision, point) in (0..).zip(&points) {
                for fault in Fault::ALL.into_iter().filter(|fault| fault.has_meaning_at(*point)) {
                    let plans = GAPS.map(|gap| Plan::at(decision, fault, gap));
                    stories.extend(plans.map(|plan| Story { act, plan }));
                }
            }
            lengths.push((act, points.len() as u64));
        }
        let mut rng = Rng::new(1, 3);
        while stories.len() < at_least {
            let (act, length) = rng.pick(&lengths);
            let mut plan = Plan { gap: rng.pick(&GAPS), ..Plan::none() };
            for _ in 0..2 + rng.below(FAULTS_MAX - 1) {
                // What goes wrong makes an operation longer.
                let decision = rng.below(2 * length.max(1)) as u32;
                plan.faults.insert(decision, rng.pick(&Fault::ALL));
            }
            stories.push(Story { act, plan });
        }
        stories
    }

    /// How a story goes. With `lines` its trace can be read.
    pub fn tell(&self, story: &Story, lines: bool) -> Told {
        let mut world = self.world(story.act);
        let number = last_operation(&world).next();
        world.core.plan = story.plan.clone();
        if lines {
            world.core.trace = Trace::with_lines();
        }
        world.live();
        let struck = world.core.struck;
        let document = world.core.store.current().map(|stored| stored.document);
        let finished = document.as_deref().and_then(|document| document.finished(number));
        let (then, reason) = came_to(finished);
        Told {
            struck,
            then,
            reason,
            dark_ms: if matches!(story.act, Act::First | Act::Down) { 0 } else { world.dark_ms },
            rest_ms: struck.map_or(0, |struck| world.core.now_ms - struck.at_ms),
            commands: world.core.commands_begun,
            violation: world.core.violation,
            trace: world.core.trace,
        }
    }

    /// The decision points of an act in which nothing goes wrong.
    fn points(&self, act: Act) -> Vec<Point> {
        let mut world = self.world(act);
        world.core.points = Some(Vec::new());
        world.live();
        world.core.points.unwrap_or_default()
    }

    fn world(&self, act: Act) -> World {
        let mut world = match act {
            Act::First => World::new(self.servers.keys().cloned(), Core::new(), round_robin()),
            _ => self.served.clone(),
        };
        let ask = match act {
            Act::First | Act::Deploy => self.release(Behaviour::Good, 3),
            Act::NeverReady => self.release(Behaviour::NeverReady, 3),
            Act::DiesInWatch => self.release(Behaviour::DiesInWatch, 3),
            Act::Rollback => Ask::Rollback { to: None },
            Act::Down => Ask::Down,
        };
        self.ask(&mut world, ask);
        world
    }

    /// One person asks, once. Whatever the command leaves undone, the next command carries on.
    fn ask(&self, world: &mut World, ask: Ask) {
        let now = world.core.now_ms;
        let first = world.machines.len() as u8;
        let serial =
            world.core.store.current().map_or(0, |stored| stored.document.last_operation.0);
        let mut next = Client::runner(first, 0);
        next.wake_ms = now + NEXT_COMMAND_MS;
        let mut person = Client::person(first + 1, vec![intent("you", serial, 0, ask)], 0);
        person.wake_ms = now;
        world.core.commanders = &["next", "you"];
        world.clients = vec![next, person.without_patience()];
    }

    fn release(&self, behaviour: Behaviour, serial: u64) -> Ask {
        Ask::Deploy {
            bundle: behaviour.bundle(serial),
            config: Arc::clone(&self.config),
            servers: self.servers.clone(),
            force: false,
            reset: false,
        }
    }

    /// The same world, with everything that is counted at its beginning.
    fn renewed(mut world: World) -> World {
        world.turns = 0;
        world.eventful = 0;
        world.dark_ms = 0;
        world.core.decision = 0;
        world.core.commands_begun = 0;
        world.core.trace = Trace::default();
        world
    }
}

fn round_robin() -> Schedule {
    Schedule::RoundRobin { last: 0 }
}

fn last_operation(world: &World) -> OperationNumber {
    let current = world.core.store.current();
    current.map(|stored| stored.document.last_operation).unwrap_or_default()
}

fn came_to(finished: Option<&Finished>) -> (Then, Option<String>) {
    match finished.map(|own| &own.outcome) {
        Some(Ended::Done) => (Then::Done, None),
        Some(Ended::Failed(failure)) => (Then::TakenBack, Some(failure.reason.clone())),
        Some(Ended::Aborted { reason }) => (Then::NothingChanged, Some(reason.clone())),
        None => (Then::NothingChanged, None),
    }
}

/// The configuration as it is rehearsed.
fn shortened(config: &Config) -> Config {
    let mut own = config.clone();
    own.values.clear();
    own.watch_ms = WATCH_MS;
    own.warm_ms = if config.warm_ms > 0 { WARM_MS } else { 0 };
    for process in own.processes.values_mut() {
        process.count = process.count.min(COUNT_MAX);
        process.probe = None;
        process.stop.within_ms = process.stop.within_ms.min(1_000);
    }
    own
}

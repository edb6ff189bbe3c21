//! The deterministic simulation.
//!
//! The shipped engine, runner, admission and reconcile run in a world that is a function of a seed
//! or a plan. Only the world is made here: a store, three servers with their disks, processes and
//! proxies, the clock, and what gets lost between them.
//!
//! ```text
//!  2 runners, 2 persons ──Need──► decision n ──► store, servers ──► invariants I1…I16
//!  3 agents ────────────Action──►  + fault   ──► late queue
//! ```
//!
//! [`fault`] has the alphabet and says what each fault means where; [`invariant`] has the
//! invariants with their statements. There are no leases in this design: every run is a run
//! "with leases off".

mod agent;
mod client;
mod core;
pub mod fault;
mod fleet;
pub mod invariant;
mod machine;
mod observe;
pub mod rehearse;
mod rng;
mod run;
mod scenario;
mod shrink;
mod skew;
mod trace;

use onward_core::model::ServerName;

pub use self::core::FAULTS_MAX;
pub use fault::{Fault, InvalidPlan, Plan, Point};
pub use invariant::Violation;
pub use rng::Rng;
pub use run::{Outcome, Run, Simulator};
pub use shrink::shrink;
pub use trace::Trace;

/// The most actors that a run has: servers, two runners, two persons.
const ACTORS_MAX: usize = 36;
/// The most servers that a run has.
pub const SERVERS_MAX: usize = ACTORS_MAX - 4;

/// The name of an actor in traces: servers, then those who give commands.
fn actor_name(actor: u8, servers: &[ServerName], commanders: &[&str]) -> String {
    let actor = usize::from(actor);
    match (servers.get(actor), actor.checked_sub(servers.len())) {
        (Some(server), _) => server.to_string(),
        (None, other) => {
            other.and_then(|other| commanders.get(other)).copied().unwrap_or("world").to_owned()
        }
    }
}

/// The actor that is nobody.
const WORLD: u8 = u8::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    const COMMANDERS: [&str; 4] = ["runner-1", "runner-2", "ana", "bob"];

    #[test]
    fn actors_of_any_number_of_servers_have_their_own_names() {
        for names in [&["front"][..], &["one", "two", "zoe"], &["a", "b", "c", "d", "e", "f", "g"]]
        {
            let servers: Vec<ServerName> = names.iter().map(|name| name.parse().unwrap()).collect();
            let count = servers.len() as u8;
            let told: Vec<String> =
                (0..count + 4).map(|own| actor_name(own, &servers, &COMMANDERS)).collect();
            assert_eq!(told, [names, &COMMANDERS].concat());
            assert_eq!(actor_name(WORLD, &servers, &COMMANDERS), "world");
        }
    }
}

//! When every server answers with a version, and what was lost until then.

use std::thread;
use std::time::{Duration, Instant};

use onward_fleet_tests::Fleet;
use onward_load::{Connection, Sampler};

use crate::Outcome;

/// How often a server is asked.
const EVERY: Duration = Duration::from_millis(5);
/// A balancer sends requests to every server in turn: so many answers in a row are of all of them.
const IN_A_ROW: usize = 12;
/// The longest that anything may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// What one release came to.
#[derive(Debug)]
pub struct Measured<T> {
    /// Seconds until every server had answered with the version.
    pub seconds: f64,
    /// Requests that were lost.
    pub lost: usize,
    /// Requests that were answered.
    pub answered: usize,
    /// What the command came to.
    pub result: T,
}

/// The addresses at which the servers answer on `port`.
pub fn addresses(fleet: &Fleet, port: u16) -> Vec<String> {
    fleet.machines().iter().map(|machine| format!("{}:{port}", machine.address)).collect()
}

/// Runs a command while clients ask, until every server answers with `version`.
pub fn until<T: Send>(
    addresses: &[String],
    version: &str,
    command: impl FnOnce() -> Outcome<T> + Send,
) -> Outcome<Measured<T>> {
    let samplers: Vec<_> =
        addresses.iter().map(|address| Sampler::start(address, 1, 1, EVERY)).collect();
    let began = Instant::now();
    let (result, seconds) = thread::scope(|scope| -> Outcome<(T, f64)> {
        let waits: Vec<_> = addresses
            .iter()
            .map(|address| scope.spawn(move || answers(address, version, began)))
            .collect();
        let result = command().map_err(|error| error.to_string());
        let mut last = 0.0_f64;
        for wait in waits {
            let seconds = wait.join().map_err(|_| "a client panicked")?;
            last = last.max(seconds.ok_or("a server never answered with the new version")?);
        }
        Ok((result?, last))
    })?;
    let (mut lost, mut answered) = (0, 0);
    for sampler in samplers {
        let seen = sampler.end();
        lost += seen.losses.len();
        answered += seen.answers.len();
    }
    Ok(Measured { seconds, lost, answered, result })
}

/// The seconds until a server answers with a version and with nothing else.
fn answers(address: &str, version: &str, began: Instant) -> Option<f64> {
    let (mut row, mut first) = (0, 0.0);
    let mut connection = Connection::to(address);
    while began.elapsed() < PATIENCE {
        let is_new = connection.get("/").is_ok_and(|(_, text)| text.starts_with(version));
        if is_new && row == 0 {
            first = began.elapsed().as_secs_f64();
        }
        row = if is_new { row + 1 } else { 0 };
        if row == IN_A_ROW {
            return Some(first);
        }
        thread::sleep(EVERY);
    }
    None
}

//! When every server answers with a version, and what was lost until then.

use std::thread;
use std::time::{Duration, Instant};

use onward_fleet_tests::Fleet;
use onward_load::{Connection, Sampler};

use crate::Outcome;

/// How often a visitor asks a server.
const VISITS_EVERY: Duration = Duration::from_millis(20);
/// How often it is asked for its version, when there are four; of more servers each less often. The
/// servers have the processors of this machine, so whoever asks slows them down.
const ASKED_EVERY: Duration = Duration::from_millis(10);
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
        addresses.iter().map(|address| Sampler::start(address, 1, 1, VISITS_EVERY)).collect();
    let (result, seconds) = until_alone(addresses, version, command)?;
    let (mut lost, mut answered) = (0, 0);
    for sampler in samplers {
        let seen = sampler.end();
        lost += seen.losses.len();
        answered += seen.answers.len();
    }
    Ok(Measured { seconds, lost, answered, result })
}

/// The same without clients: what the command came to, and the seconds.
pub fn until_alone<T: Send>(
    addresses: &[String],
    version: &str,
    command: impl FnOnce() -> Outcome<T> + Send,
) -> Outcome<(T, f64)> {
    let every = ASKED_EVERY * u32::try_from(addresses.len().div_ceil(4))?;
    let began = Instant::now();
    thread::scope(|scope| {
        let waits: Vec<_> = addresses
            .iter()
            .map(|address| scope.spawn(move || answers(address, version, began, every)))
            .collect();
        let result = command().map_err(|error| error.to_string());
        let mut last = 0.0_f64;
        for wait in waits {
            let seconds = wait.join().map_err(|_| "a client panicked")?;
            last = last.max(seconds.ok_or("a server never answered with the new version")?);
        }
        Ok((result?, last))
    })
}

/// The seconds until a server answers with a version and with nothing else.
fn answers(address: &str, version: &str, began: Instant, every: Duration) -> Option<f64> {
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
        thread::sleep(every);
    }
    None
}

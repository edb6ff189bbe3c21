//! Nothing is lost: `wrk` and a sampler that never retries, from before the first to after the last
//! of many deploys, rollbacks, and with the agent killed; and what the deploys say that they counted.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::figure::{Figures, median, ms, quantile};
use super::place::{self, Place, Ran, app_pids};
use super::wrk::{Counted, Wrk};
use super::{Mode, Outcome};
use onward_load::{Sampler, Seen};

const CONNECTIONS: usize = 64;
/// Connections of the sampler, and how often each asks.
const SAMPLED: usize = 4;
const SAMPLE_EVERY: Duration = Duration::from_millis(4);
/// Between two commands, so that there are quiet seconds to compare with.
const PAUSE: Duration = Duration::from_millis(2200);
/// How long the agent is away.
const AGENT_AWAY: Duration = Duration::from_secs(10);
/// How long the app is away in the control: longer than the proxy holds requests.
pub(super) const APP_AWAY: Duration = Duration::from_secs(12);
/// What 20 deploys must have been tried with.
const REQUESTS_MIN: u64 = 400_000;
/// How much slower a second with a switch may be, in milliseconds, when twice is not enough.
const SWITCH_MS: f64 = 10.0;

/// Runs the gate, or with `control` shows that a planted bug makes the counters move.
pub fn run(mode: &Mode) -> Outcome<bool> {
    if mode.control {
        return control();
    }
    let binary = place::release_binary()?;
    let (deploys, rollbacks) = if mode.quick { (5, 3) } else { (20, 10) };
    let mut figures = Figures::default();

    let place = Place::hello(&binary, "[release]\nwatch = \"1s\"\n")?;
    place.run(&["up", "--json"])?.done()?;
    println!("load: {deploys} deploys");
    let run = Run::through(&place, deploys, |number| deploy(&place, number))?;
    if !mode.quick {
        figures.at_least("requests of wrk", run.counted.requests, REQUESTS_MIN);
    }
    run.tell(&mut figures, mode);

    println!("load: {rollbacks} rollbacks");
    let run = Run::through(&place, rollbacks, |number| rollback(&place, number))?;
    run.tell(&mut figures, mode);

    println!("load: the agent killed for {} s", AGENT_AWAY.as_secs());
    let before = place.status()?;
    let run = Run::through(&place, 1, |_| without_agent(&place))?;
    run.tell_losses(&mut figures);
    let after = place.status()?;
    figures.holds("the app's process is the same", app_pids(&before) == app_pids(&after));
    figures.holds("and nothing is degraded", after["degraded"] == Value::Array(Vec::new()));
    place.run(&["down", "-y"])?.done()?;
    Ok(figures.kept())
}

/// The same with something broken: the app is killed, and nobody is there to start it again. The
/// planted `stop-before-route` would be no control: it still waits for requests in flight, and under
/// load there are always some until the route has left.
fn control() -> Outcome<bool> {
    let binary = place::release_binary()?;
    let place = Place::hello(&binary, "[release]\nwatch = \"1s\"\n")?;
    place.run(&["up", "--json"])?.done()?;
    println!("load, control: the app is killed, with no agent to start it again");
    let run = Run::through(&place, 1, |_| {
        let pids = app_pids(&place.status()?);
        place::signal(place.pid_of("agent").ok_or("no agent runs")?, "KILL");
        pids.into_iter().for_each(|pid| place::signal(pid, "KILL"));
        sleep(APP_AWAY);
        place.run(&["up", "--json"])?.done()
    })?;
    let mut figures = Figures::default();
    figures.at_least("lost, as the clients count", run.lost_by_clients(), 1);
    figures.at_least("lost, as the proxy counts", run.lost_by_proxy(), 1);
    place.run(&["down", "-y"])?.done()?;
    Ok(figures.kept())
}

fn deploy(place: &Place, number: u64) -> Outcome<Ran> {
    place.write("number.txt", &format!("{number}\n"))?;
    place.run(&["deploy", "--json"])?.done()
}

/// Back, and forth again.
fn rollback(place: &Place, number: u64) -> Outcome<Ran> {
    let history = place.run(&["history", "--json"])?.done()?.json()?;
    let serving = history["serving"].as_u64().unwrap_or(0);
    let releases = history["releases"].as_array().cloned().unwrap_or_default();
    let mut others = releases.iter().filter_map(|r| r["number"].as_u64()).filter(|n| *n != serving);
    let other = if number.is_multiple_of(2) { others.next_back() } else { others.next() };
    let other = other.ok_or("there is one release only")?.to_string();
    place.run(&["rollback", &other, "--json"])?.done()
}

fn without_agent(place: &Place) -> Outcome<Ran> {
    place::signal(place.pid_of("agent").ok_or("no agent runs")?, "KILL");
    sleep(AGENT_AWAY);
    // The next command, whichever it is, brings the agent back.
    place.run(&["status", "--json"])?.done()
}

/// What was counted from before the first to after the last of several commands.
pub(super) struct Run {
    ran: Vec<Ran>,
    seen: Seen,
    counted: Counted,
    /// The proxy's counters before and after.
    first: Value,
    last: Value,
    windows: Vec<Window>,
}

/// What one operation counted, as places on the proxy's counter.
struct Window {
    from: u64,
    requests: u64,
    lost: u64,
    app_errors: u64,
    incomplete: bool,
    /// Whether the readings that were taken before and after the command enclose it.
    enclosed: bool,
}

impl Run {
    pub(super) fn through(
        place: &Place,
        times: u64,
        mut command: impl FnMut(u64) -> Outcome<Ran>,
    ) -> Outcome<Self> {
        let address = place.address()?;
        let first = place.status()?["traffic"].clone();
        let sampler = Sampler::start(&address, SAMPLED, 0, SAMPLE_EVERY);
        let wrk = Wrk::start(&address, CONNECTIONS)?;
        let (mut ran, mut windows) = (Vec::new(), Vec::new());
        sleep(PAUSE);
        for number in 1..=times {
            let before = place.status()?;
            ran.push(command(number)?);
            let after = place.status()?;
            windows.extend(window(place, &before, &after)?);
            sleep(PAUSE);
        }
        let counted = wrk.end()?;
        let seen = sampler.end();
        let last = place.status()?["traffic"].clone();
        Ok(Self { ran, seen, counted, first, last, windows })
    }

    /// The requests of wrk.
    pub(super) fn requests(&self) -> u64 {
        self.counted.requests
    }

    /// How long each command took.
    pub(super) fn took(&self) -> impl Iterator<Item = Duration> {
        self.ran.iter().map(|ran| ran.took)
    }

    fn difference(&self, name: &str) -> u64 {
        let of = |traffic: &Value| traffic[name].as_u64().unwrap_or(0);
        of(&self.last).saturating_sub(of(&self.first))
    }

    pub(super) fn lost_by_clients(&self) -> u64 {
        self.counted.socket_errors + self.counted.bad_status + self.seen.losses.len() as u64
    }

    pub(super) fn lost_by_proxy(&self) -> u64 {
        self.difference("lost") + self.difference("app_errors")
    }

    pub(super) fn tell_losses(&self, figures: &mut Figures) {
        figures.none("socket errors of wrk", self.counted.socket_errors);
        figures.none("answers to wrk that are not 2xx", self.counted.bad_status);
        figures.none("requests that the sampler lost", self.seen.losses.len() as u64);
        for loss in self.seen.losses.iter().take(5) {
            println!("    lost: {}", loss.why);
        }
        figures.none("requests that the proxy says it lost", self.difference("lost"));
        figures.none("errors of the app", self.difference("app_errors"));
        let asked = self.counted.requests + self.seen.answers.len() as u64;
        let counted = self.difference("requests");
        let text = format!("{counted} ({:+})", counted as i128 - i128::from(asked));
        let same_proxy = self.first["epoch"] == self.last["epoch"];
        // What wrk had asked for when it was stopped was answered and is not in its sum.
        let agrees = same_proxy && counted >= asked && counted <= asked + CONNECTIONS as u64;
        let bound = format!("{asked} + 0..={CONNECTIONS}");
        figures.tell("the proxy's count, and that of wrk and sampler", text, &bound, agrees);
    }

    fn tell(&self, figures: &mut Figures, mode: &Mode) {
        self.tell_losses(figures);
        let inside: u64 = self.windows.iter().map(|window| window.requests).sum();
        let lost: u64 = self.windows.iter().map(|window| window.lost + window.app_errors).sum();
        figures.none("lost or errors, as the operations say", lost);
        let complete = self.windows.iter().all(|window| !window.incomplete && window.enclosed);
        figures.holds(
            "each operation counted, between the readings before and after",
            complete && self.windows.len() == self.ran.len(),
        );
        let (mut at, mut between, mut in_order) =
            (self.first["requests"].as_u64().unwrap_or(0), 0, true);
        for window in &self.windows {
            in_order &= window.from >= at;
            between += window.from.saturating_sub(at);
            at = window.from + window.requests;
        }
        let end = self.last["requests"].as_u64().unwrap_or(0);
        let after = end.saturating_sub(at);
        println!("    in the operations {inside}, between them {between}, after them {after}");
        let sum = inside + between + after;
        let total = self.difference("requests");
        let agrees = in_order && end >= at && sum == total;
        figures.tell("the operations' own counts and the gaps", sum, &total.to_string(), agrees);
        self.tell_latency(figures, mode);
    }

    /// The second around each switch against the seconds in which no command ran.
    fn tell_latency(&self, figures: &mut Figures, mode: &Mode) {
        let half = Duration::from_millis(500);
        let switches = self.ran.iter().filter_map(|ran| {
            let release = ran.json().ok()?["serving"].as_u64()?;
            let of_release = self.seen.between(ran.began, ran.began + ran.took);
            let own = of_release.filter(|answer| answer.release == release);
            own.map(|answer| answer.asked).min()
        });
        let switched: Vec<f64> = switches.map(|at| self.p99(at - half, at + half)).collect();
        let quiet: Vec<f64> = self
            .ran
            .windows(2)
            .filter_map(|two| {
                let (from, to) = (two[0].began + two[0].took + half, two[1].began);
                (to > from + 2 * half).then(|| self.p99(from, from + 2 * half))
            })
            .collect();
        let (quiet, switch) = (median(&quiet), median(&switched));
        let bound = f64::max(2.0 * quiet, quiet + SWITCH_MS);
        println!("    p99 of a quiet second: median {quiet:.1} ms");
        if mode.quick {
            // A machine that does other things beside, and few switches: nothing to judge.
            println!("    p99 of the second around a switch: median {switch:.1} ms");
            return;
        }
        figures.at_most("p99 of the second around a switch, median", switch, "ms", bound);
    }

    fn p99(&self, from: Instant, to: Instant) -> f64 {
        let took: Vec<f64> = self.seen.between(from, to).map(|answer| ms(answer.took)).collect();
        quantile(&took, 0.99)
    }
}

/// What the operations between two readings counted.
fn window(place: &Place, before: &Value, after: &Value) -> Outcome<Option<Window>> {
    let generation = |status: &Value| status["generation"].as_u64().unwrap_or(0);
    let requests = |status: &Value| status["traffic"]["requests"].as_u64().unwrap_or(0);
    let (first, last) = (generation(before) + 1, generation(after));
    if last < first {
        return Ok(None);
    }
    let mut from = None;
    for generation in first..=last {
        let document =
            place.run(&["state", "show", &generation.to_string(), "--json"])?.done()?.json()?;
        let baseline = &document["operation"]["baseline"]["local"];
        if let Some(counted) = baseline["requests"].as_u64() {
            from.get_or_insert(counted);
        }
    }
    let history = place.run(&["history", "-n", "1", "--json"])?.done()?.json()?;
    let proof = &history["operations"][0]["proof"];
    let Some(from) = from.filter(|_| proof.is_object()) else { return Ok(None) };
    let number = |name: &str| proof[name].as_u64().unwrap_or(0);
    let enclosed = requests(before) <= from && from + number("requests") <= requests(after);
    Ok(Some(Window {
        from,
        requests: number("requests"),
        lost: number("lost"),
        app_errors: number("app_errors"),
        incomplete: proof["incomplete"].as_bool().unwrap_or(false),
        enclosed,
    }))
}

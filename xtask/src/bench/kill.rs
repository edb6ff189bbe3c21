//! Nothing stays half-done: the command is killed at every boundary of its work, agent and proxy at
//! random moments. No special command repairs anything; the next ordinary one does.

use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::converged::{self, Expected};
use super::figure::{Figures, ms, quantile};
use super::place::{self, Place, signal};
use super::strace::{self, Boundary};
use super::{Mode, Outcome};
use onward_load::{Sampler, Seen};

const WATCHED: &str = "[release]\nwatch = \"200ms\"\n";
/// From the begin of the next command until everything is as it should be.
const CONVERGES_WITHIN: Duration = Duration::from_secs(5);
/// The next answer after the proxy was killed, in milliseconds.
const NEXT_ANSWER_MS: f64 = 300.0;
/// Boundaries of the four verbs together.
const BOUNDARIES_MIN: u64 = 120;
/// How often each connection of the client asks.
const ASK_EVERY: Duration = Duration::from_millis(5);
/// Every so many boundaries in the short form.
const STRIDE: usize = 5;

/// Runs the gate, or with `control` shows that broken variants are noticed.
pub fn run(mode: &Mode) -> Outcome<bool> {
    if mode.control {
        return super::kill_control::run();
    }
    let binary = place::release_binary()?;
    let (step, times) = if mode.quick { (STRIDE, 5) } else { (1, 40) };
    let mut figures = Figures::default();
    let mut killed = 0;
    for verb in [Verb::Up, Verb::Deploy, Verb::Rollback, Verb::Down] {
        let mut tally = Tally::default();
        let place = Place::hello(&binary, WATCHED)?;
        verb.killed_everywhere(place, step, &mut tally)?;
        println!("kill: `{}` at {} of {} boundaries", verb.name(), tally.killed, tally.boundaries);
        tally.tell(&mut figures);
        killed += tally.killed;
    }
    if !mode.quick {
        figures.at_least("boundaries at which a command was killed", killed, BOUNDARIES_MIN);
    }
    let mut random = Random::seeded();
    agents(&Place::hello(&binary, WATCHED)?, times, &mut random, &mut figures)?;
    proxies(&Place::hello(&binary, WATCHED)?, times, &mut random, &mut figures)?;
    Ok(figures.kept())
}

/// What came of many kills.
#[derive(Debug, Default)]
struct Tally {
    boundaries: usize,
    killed: u64,
    lost: Option<u64>,
    failed: u64,
    took: Vec<f64>,
}

impl Tally {
    /// Runs the next ordinary command and waits until everything is as it should be.
    fn next(
        &mut self,
        place: &Place,
        after: &str,
        arguments: &[&str],
        expected: Expected,
    ) -> Outcome<()> {
        let began = Instant::now();
        let ran = place.run(arguments)?;
        if ran.code != Some(0) {
            self.failed += 1;
            let said = format!("{}{}", ran.stdout, ran.stderr);
            println!("    after {after}: {arguments:?} ended with {:?}: {said}", ran.code);
            return Ok(());
        }
        match converged::within(place, expected, began, CONVERGES_WITHIN) {
            Ok(took) => self.took.push(ms(took)),
            Err(why) => {
                self.failed += 1;
                println!("    after {after}: not converged by {arguments:?}: {why}");
            }
        }
        Ok(())
    }

    fn tell(&self, figures: &mut Figures) {
        figures.none("next commands that failed, or did not converge", self.failed);
        let worst = quantile(&self.took, 1.0);
        figures.at_most("converged after the next command's begin, worst", worst, "ms", 5000.0);
        if let Some(lost) = self.lost {
            figures.none("requests lost", lost);
        }
    }
}

/// The verbs that change something.
#[derive(Debug, Clone, Copy)]
enum Verb {
    Up,
    Deploy,
    Rollback,
    Down,
}

impl Verb {
    const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Deploy => "deploy",
            Self::Rollback => "rollback",
            Self::Down => "down",
        }
    }

    fn killed_everywhere(self, place: Place, step: usize, tally: &mut Tally) -> Outcome<()> {
        match self {
            Self::Up => up(place, step, tally),
            Self::Deploy | Self::Rollback => beside_a_client(self, &place, step, tally),
            Self::Down => down(&place, step, tally),
        }
    }
}

/// From nothing: each time in a new place.
fn up(place: Place, step: usize, tally: &mut Tally) -> Outcome<()> {
    let arguments = ["up", "--json"];
    let boundaries = strace::boundaries(&place, &arguments)?;
    tally.boundaries = boundaries.len();
    let binary = place.binary().to_owned();
    drop(place);
    for boundary in boundaries.iter().step_by(step) {
        let place = Place::hello(&binary, WATCHED)?;
        let ran = strace::killed_at(&place, &arguments, boundary)?;
        tally.killed += u64::from(ran.code.is_none());
        tally.next(&place, &boundary.to_string(), &arguments, Expected::Serving)?;
    }
    Ok(())
}

fn down(place: &Place, step: usize, tally: &mut Tally) -> Outcome<()> {
    let arguments = ["down", "-y", "--json"];
    place.run(&["up", "--json"])?.done()?;
    let boundaries = strace::boundaries(place, &arguments)?;
    tally.boundaries = boundaries.len();
    for boundary in boundaries.iter().step_by(step) {
        place.run(&["up", "--json"])?.done()?;
        let ran = strace::killed_at(place, &arguments, boundary)?;
        tally.killed += u64::from(ran.code.is_none());
        tally.next(place, &boundary.to_string(), &arguments, Expected::Nothing)?;
    }
    Ok(())
}

/// Deploys and rollbacks, with a client to whom nothing of it may be visible.
fn beside_a_client(verb: Verb, place: &Place, step: usize, tally: &mut Tally) -> Outcome<()> {
    place.run(&["up", "--json"])?.done()?;
    place.write("number.txt", "first\n")?;
    place.run(&["deploy", "--json"])?.done()?;
    let boundaries = count(verb, place)?;
    tally.boundaries = boundaries.len();
    let sampler = Sampler::start(&place.address()?, 2, 1, ASK_EVERY);
    for boundary in boundaries.iter().step_by(step) {
        let arguments = prepared(verb, place, &boundary.to_string())?;
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let ran = strace::killed_at(place, &arguments, boundary)?;
        tally.killed += u64::from(ran.code.is_none());
        let before = sampler.losses();
        tally.next(place, &boundary.to_string(), &arguments, Expected::Serving)?;
        if sampler.losses() > before {
            println!("    lost after the kill at {boundary}");
        }
    }
    let seen = sampler.end();
    tell_losses(&seen);
    tally.lost = Some(seen.losses.len() as u64);
    Ok(())
}

fn count(verb: Verb, place: &Place) -> Outcome<Vec<Boundary>> {
    let arguments = prepared(verb, place, "count")?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    strace::boundaries(place, &arguments)
}

/// The arguments of the next deploy or rollback, with something to do for it.
fn prepared(verb: Verb, place: &Place, change: &str) -> Outcome<Vec<String>> {
    let words = match verb {
        Verb::Rollback => {
            let serving = place.status()?["release"]["number"].as_u64();
            vec!["rollback", if serving == Some(1) { "2" } else { "1" }, "--json"]
        }
        _ => {
            place.write("number.txt", change)?;
            vec!["deploy", "--json"]
        }
    };
    Ok(words.into_iter().map(str::to_owned).collect())
}

/// The agent: every other time at rest, else while a deploy runs.
fn agents(place: &Place, times: u64, random: &mut Random, figures: &mut Figures) -> Outcome<()> {
    println!("kill: the agent, {times} times");
    place.run(&["up", "--json"])?.done()?;
    let sampler = Sampler::start(&place.address()?, 2, 1, ASK_EVERY);
    let (mut tally, mut adopted, mut codes) = (Tally::default(), 0, Vec::new());
    for number in 1..=times {
        if number.is_multiple_of(2) {
            let mut deploy = deploying(place, number)?;
            sleep(random.up_to(Duration::from_millis(500)));
            if let Some(pid) = place.pid_of("agent") {
                signal(pid, "KILL");
            }
            codes.push(deploy.wait()?.code().unwrap_or(-1));
            tally.next(place, "a kill", &["deploy", "--json"], Expected::Serving)?;
        } else {
            let before = place::app_pids(&place.status()?);
            signal(place.pid_of("agent").ok_or("no agent runs")?, "KILL");
            sleep(random.up_to(Duration::from_millis(200)));
            tally.next(place, "a kill", &["status", "--json"], Expected::Serving)?;
            adopted += u64::from(place::app_pids(&place.status()?) == before);
        }
    }
    let seen = sampler.end();
    tell_losses(&seen);
    tally.lost = Some(seen.losses.len() as u64);
    println!("    the deploys whose agent was killed ended with {codes:?}");
    tally.tell(figures);
    let at_rest = times.div_ceil(2);
    figures.tell(
        "same processes after a kill at rest",
        adopted,
        &at_rest.to_string(),
        adopted == at_rest,
    );
    Ok(())
}

/// The proxy: every other time at rest, else while a deploy runs.
fn proxies(place: &Place, times: u64, random: &mut Random, figures: &mut Figures) -> Outcome<()> {
    println!("kill: the proxy, {times} times");
    place.run(&["up", "--json"])?.done()?;
    let (mut tally, mut refused, mut cut, mut after) = (Tally::default(), 0, 0, 0);
    let mut next_answers = Vec::new();
    for number in 1..=times {
        let sampler = Sampler::start(&place.address()?, 2, 2, Duration::from_millis(2));
        let deploy = if number.is_multiple_of(2) { Some(deploying(place, number)?) } else { None };
        sleep(Duration::from_millis(50) + random.up_to(Duration::from_millis(400)));
        signal(place.pid_of("proxy").ok_or("no proxy runs")?, "KILL");
        let killed = Instant::now();
        sleep(Duration::from_millis(400));
        if let Some(mut deploy) = deploy {
            deploy.wait()?;
        }
        tally.next(place, "a kill", &["deploy", "--json"], Expected::Serving)?;
        let seen = sampler.end();
        refused += seen.losses.iter().filter(|loss| loss.refused).count() as u64;
        let (inside, later): (Vec<_>, Vec<_>) =
            seen.losses.iter().filter(|loss| !loss.refused).partition(|l| l.opened <= killed);
        cut += inside.len();
        after += later.len() as u64;
        for loss in later {
            println!("    lost, opened {:?} after the kill: {}", loss.opened - killed, loss.why);
        }
        let answered = seen.answers.iter().filter(|answer| answer.opened > killed);
        let first = answered.map(|answer| answer.asked + answer.took).min();
        next_answers.push(first.map_or(f64::INFINITY, |at| ms(at.duration_since(killed))));
    }
    tally.tell(figures);
    figures.none("connections refused", refused);
    figures.none("requests lost that were not inside the killed proxy", after);
    println!("    cut inside it: {cut} over {times} kills of 4 connections each");
    let of = |share| quantile(&next_answers, share);
    println!(
        "    next answer: median {:.1} ms, p90 {:.1} ms, least {:.1} ms",
        of(0.5),
        of(0.9),
        of(0.0)
    );
    figures.at_most("next answer on a new connection, worst", of(1.0), "ms", NEXT_ANSWER_MS);
    Ok(())
}

fn deploying(place: &Place, number: u64) -> Outcome<Child> {
    place.write("number.txt", &format!("{number}\n"))?;
    Ok(place.command(&["deploy", "--json"]).spawn()?)
}

fn tell_losses(seen: &Seen) {
    println!("    the client: {} answers, {} lost", seen.answers.len(), seen.losses.len());
    for loss in seen.losses.iter().take(5) {
        println!("    lost: {}", loss.why);
    }
}

/// Enough randomness to choose moments; the seed is printed.
struct Random(u64);

impl Random {
    fn seeded() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seed = u64::from(now.subsec_nanos()) | 1;
        println!("kill: moments are chosen with seed {seed}");
        Self(seed)
    }

    fn up_to(&mut self, most: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        most.mul_f64((self.0 % 1000) as f64 / 1000.0)
    }
}

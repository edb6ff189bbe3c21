//! The gate `kill` would notice: variants in which something is lost or left over.

use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::converged::{self, Expected};
use super::figure::Figures;
use super::place::{self, Place, app_pids, signal};
use super::{Outcome, strace};
use onward_load::Sampler;

/// Runs the broken variants; true when each of them was noticed.
pub fn run() -> Outcome<bool> {
    let binary = place::release_binary()?;
    let mut figures = Figures::default();
    let every = Duration::from_millis(5);
    println!("kill, control: variants in which something is wrong");

    let place = Place::hello(&binary, "[release]\nwatch = \"200ms\"\n")?;
    place.run(&["up", "--json"])?.done()?;
    let sampler = Sampler::start(&place.address()?, 2, 2, every);
    signal(place.pid_of("agent").ok_or("no agent runs")?, "KILL");
    signal(place.pid_of("proxy").ok_or("no proxy runs")?, "KILL");
    sleep(Duration::from_millis(500));
    let refused = sampler.end().losses.iter().filter(|loss| loss.refused).count();
    figures.at_least("refused, with nobody who holds the socket", refused as u64, 1);
    place.run(&["up", "--json"])?.done()?;
    figures.holds("the next command repairs it", converged::now(&place, Expected::Serving).is_ok());

    let sampler = Sampler::start(&place.address()?, 2, 2, every);
    let pids = app_pids(&place.status()?);
    signal(place.pid_of("agent").ok_or("no agent runs")?, "KILL");
    pids.into_iter().for_each(|pid| signal(pid, "KILL"));
    sleep(Duration::from_secs(12));
    figures.at_least("lost, with the app killed and no agent", sampler.losses() as u64, 1);
    place.run(&["up", "--json"])?.done()?;
    sampler.end();
    let began = Instant::now();
    let healed = converged::within(&place, Expected::Serving, began, Duration::from_secs(5));
    figures.holds("the next command repairs it", healed.is_ok());

    let mut orphan = Command::new("sleep");
    orphan.arg("60").current_dir(place.path()).stdin(Stdio::null());
    let mut orphan = orphan.spawn()?;
    figures.holds("an orphan is noticed", converged::now(&place, Expected::Serving).is_err());
    orphan.kill()?;
    orphan.wait()?;

    place.write("number.txt", "control\n")?;
    let boundaries = strace::boundaries(&place, &["deploy", "--json"])?;
    let middle = boundaries.get(boundaries.len() / 2).ok_or("a deploy without boundaries")?;
    place.write("number.txt", "again\n")?;
    strace::killed_at(&place, &["deploy", "--json"], middle)?;
    let open = converged::now(&place, Expected::Serving).is_err();
    figures.holds("a deploy that was killed half-way is noticed", open);
    Ok(figures.kept())
}

//! Counts of instances that change under load: nothing is lost, on one server and on two behind a
//! balancer.

use std::thread::sleep;

use serde_json::Value;

use super::figure::{Figures, median, ms, spread};
use super::load::{APP_AWAY, Run};
use super::place::{self, Place, app_pids};
use super::{Mode, Outcome};

/// How often the counts change in each part: as often up as down.
const CHANGES: u64 = 20;
const CHANGES_QUICK: u64 = 4;
/// What all changes of one part must have been tried with.
const REQUESTS_MIN: u64 = 200_000;
const MANY: usize = 8;
const FEW: usize = 2;

/// Runs the gate, or with `control` shows that instances that are killed make the counters move.
pub fn run(mode: &Mode) -> Outcome<bool> {
    if mode.control {
        return control();
    }
    let binary = place::release_binary()?;
    let changes = if mode.quick { CHANGES_QUICK } else { CHANGES };
    let mut figures = Figures::default();
    for servers in [1, 2] {
        println!("scale: web={MANY} and back to {FEW}, {changes} changes, servers: {servers}");
        let place = Place::hello(&binary, &format!("[environment.local]\ncount = {servers}\n"))?;
        place.run(&["up", "--json"])?.done()?;
        place.run(&["scale", &format!("web={FEW}"), "--json"])?.done()?;
        let mut as_asked = true;
        let run = Run::through(&place, changes, |number| {
            let count = if number.is_multiple_of(2) { FEW } else { MANY };
            let ran = place.run(&["scale", &format!("web={count}"), "--json"])?.done()?;
            as_asked &= in_service(&place.status()?) == count;
            Ok(ran)
        })?;
        if !mode.quick {
            figures.at_least("requests of wrk", run.requests(), REQUESTS_MIN);
        }
        run.tell_losses(&mut figures);
        figures.holds(
            "after each change as many instances were in service as were asked for",
            as_asked,
        );
        let took: Vec<f64> = run.took().map(ms).collect();
        println!("    one change: {:.0} ms, {}", median(&took), spread(&took));
        place.run(&["down", "-y"])?.done()?;
    }
    Ok(figures.kept())
}

/// Instances that get requests; others may still finish what they have begun.
fn in_service(status: &Value) -> usize {
    let all = status["processes"].as_array().into_iter().flatten();
    all.filter(|process| process["gets_traffic"] == true).count()
}

/// All instances are killed, and nobody is there to start them again. Some of them would be no
/// control: what they leave unanswered is asked of the others.
fn control() -> Outcome<bool> {
    let binary = place::release_binary()?;
    let place = Place::hello(&binary, "")?;
    place.run(&["up", "--json"])?.done()?;
    println!("scale, control: all instances are killed, with no agent to start them again");
    place.run(&["scale", &format!("web={MANY}"), "--json"])?.done()?;
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
    figures.holds("and all instances run again", app_pids(&place.status()?).len() == MANY);
    place.run(&["down", "-y"])?.done()?;
    Ok(figures.kept())
}

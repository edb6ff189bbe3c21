//! Requests through a balancer on a server of its own, while one deploy follows the other.

use std::time::{Duration, Instant};

use onward_fleet_tests::Fleet;
use onward_load::Sampler;

use crate::Outcome;
use crate::app::App;
use crate::figures::Figures;
use crate::ours::{Ours, SPLIT};
use crate::probe;

/// The balancer, which is also the manager, and the servers behind it.
const SERVERS: usize = 4;
/// At least so many deploys.
const DEPLOYS: usize = 20;
/// At least so many requests.
const REQUESTS: usize = 400_000;
/// Connections that are kept, and clients that open one for each request.
const CLIENTS: (usize, usize) = (16, 4);
/// The pause of a client between two requests.
const EVERY: Duration = Duration::from_micros(200);
/// The longest that all of it may take.
const PATIENCE: Duration = Duration::from_secs(900);

/// Counts what is lost, and shows afterwards that a loss is counted.
pub fn measure(figures: &mut Figures) -> Outcome<()> {
    let Some(fleet) = Fleet::boot(SERVERS) else { return Ok(()) };
    let app = App::make(fleet.directory())?;
    let ours = Ours::new(&fleet, &app, SPLIT)?;
    ours.run(&["up"])?;
    let balancer = probe::addresses(&fleet, 80).swap_remove(0);
    let visitors = Sampler::start(&balancer, CLIENTS.0, CLIENTS.1, EVERY);
    let (began, mut deploys) = (Instant::now(), 0);
    while deploys < DEPLOYS || visitors.answered() < REQUESTS {
        if began.elapsed() > PATIENCE {
            return Err("the requests take too long".into());
        }
        deploys += 1;
        app.set_version(&format!("b{deploys}"))?;
        ours.run(&["deploy"])?;
    }
    let (lost, seconds) = (visitors.losses(), began.elapsed().as_secs_f64());
    // The control: with the balancer gone, the same clients lose something.
    fleet.lab().power_cut(fleet.name(0))?;
    while visitors.losses() == lost {
        if began.elapsed() > PATIENCE {
            return Err("no loss is counted when the balancer is gone".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let answered = visitors.end().answers.len();
    figures.count("deploys through a balancer of its own", deploys);
    figures.count("seconds for all of them", seconds.round() as usize);
    figures.none(&format!("lost of {answered} requests"), lost);
    Ok(())
}

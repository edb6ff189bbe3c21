//! Requests through a balancer on a server of its own, while one deploy follows the other, and while
//! onward itself is upgraded everywhere.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use onward_fleet_tests::Fleet;
use onward_load::{Loss, Sampler, Seen};

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
/// Connections that are kept, and the pause between two requests over one.
const KEPT: (usize, Duration) = (16, Duration::from_micros(200));
/// Clients that open a connection for each request, and their pause: no more than 28,000 a minute can
/// be opened to one address, each keeps its port for that long.
const FRESH: (usize, Duration) = (2, Duration::from_millis(10));
/// How often onward itself is upgraded on all servers, there and back.
const UPGRADES: usize = 4;
/// Nobody may wait as long as for something that hangs, in seconds.
const LONGEST: f64 = 2.0;
/// The longest that all of it may take.
const PATIENCE: Duration = Duration::from_secs(900);

/// Counts what is lost, and shows afterwards that a loss is counted.
pub fn measure(figures: &mut Figures) -> Outcome<()> {
    let Some(fleet) = Fleet::boot(SERVERS) else { return Ok(()) };
    let app = App::make(fleet.directory())?;
    let ours = Ours::new(&fleet, &app, SPLIT)?;
    ours.run(&["up"])?;
    let balancer = probe::addresses(&fleet, 80).swap_remove(0);
    let visitors = Visitors::start(&balancer);
    let (began, mut deploys) = (Instant::now(), 0);
    while deploys < DEPLOYS || visitors.answered() < REQUESTS {
        if began.elapsed() > PATIENCE {
            return Err("the requests take too long".into());
        }
        deploys += 1;
        app.set_version(&format!("b{deploys}"))?;
        ours.run(&["deploy"])?;
    }
    let (of_deploys, seconds) = (visitors.losses(), began.elapsed().as_secs_f64());
    let upgrades = Instant::now();
    let rebuilt = rebuilt(ours.binary(), fleet.directory())?;
    for round in 0..UPGRADES {
        let program = if round % 2 == 0 { rebuilt.as_path() } else { ours.binary() };
        ours.run_with(program, &["agent", "upgrade"])?;
    }
    let (upgraded, lost) = (Instant::now(), visitors.losses());
    // The control: with the balancer gone, the same clients lose something.
    fleet.lab().power_cut(fleet.name(0))?;
    while visitors.losses() == lost {
        if began.elapsed() > PATIENCE {
            return Err("no loss is counted when the balancer is gone".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let seen = visitors.end();
    tell_why(&seen.losses[..lost.min(seen.losses.len())]);
    let asked = |from, to| seen.between(from, to).map(|answer| answer.took);
    figures.count("deploys through a balancer of its own", deploys);
    figures.seconds("seconds for all of them", &[seconds], PATIENCE.as_secs_f64());
    let answered = asked(began, upgrades).count();
    figures.none(&format!("lost of {answered} requests"), of_deploys);
    figures.count("upgrades of agent and proxy on all servers", UPGRADES);
    let answered = asked(upgrades, upgraded).count();
    figures.none(&format!("lost of {answered} requests"), lost - of_deploys);
    let longest = asked(upgrades, upgraded).max().unwrap_or_default();
    figures.at_most("the longest of these", longest.as_secs_f64(), "s", LONGEST);
    Ok(())
}

/// Those who keep their connection, and those who do not.
struct Visitors([Sampler; 2]);

impl Visitors {
    fn start(address: &str) -> Self {
        let kept = Sampler::start(address, KEPT.0, 0, KEPT.1);
        Self([kept, Sampler::start(address, 0, FRESH.0, FRESH.1)])
    }

    fn answered(&self) -> usize {
        self.0.iter().map(Sampler::answered).sum()
    }

    fn losses(&self) -> usize {
        self.0.iter().map(Sampler::losses).sum()
    }

    fn end(self) -> Seen {
        let mut all = Seen::default();
        for seen in self.0.map(Sampler::end) {
            all.answers.extend(seen.answers);
            all.losses.extend(seen.losses);
        }
        all.losses.sort_by_key(|loss| loss.opened);
        all
    }
}

/// What was lost, by its reason.
fn tell_why(losses: &[Loss]) {
    for (why, count) in onward_load::reasons(losses) {
        println!("  lost {count}: {why}");
    }
}

/// The same program as another build: what follows the last section is read by nobody.
fn rebuilt(binary: &Path, directory: &Path) -> Outcome<PathBuf> {
    let path = directory.join("onward-rebuilt");
    fs::copy(binary, &path)?;
    fs::File::options().append(true).open(&path)?.write_all(&[0])?;
    Ok(path)
}

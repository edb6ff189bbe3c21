//! From four servers to sixteen: what a release costs above saying `true` to each of them.

use std::thread;
use std::time::Instant;

use onward_fleet_tests::Fleet;

use crate::Outcome;
use crate::app::App;
use crate::figures::Figures;
use crate::ours::{COMBINED, Ours};
use crate::probe;

/// The sizes.
const SIZES: [usize; 2] = [4, 16];
/// How often each is measured.
const ROUNDS: usize = 3;
/// How much more the larger may cost.
const FACTOR: f64 = 3.0;

/// Measures one changed line on both sizes.
pub fn measure(figures: &mut Figures) -> Outcome<()> {
    let mut above = Vec::new();
    for size in SIZES {
        let Some(fleet) = Fleet::boot(size) else { return Ok(()) };
        let app = App::make(fleet.directory())?;
        let ours = Ours::new(&fleet, &app, COMBINED)?;
        ours.run(&["up"])?;
        let addresses = probe::addresses(&fleet, 80);
        let (mut line, mut bare) = (Vec::new(), Vec::new());
        for round in 1..=ROUNDS {
            let version = format!("v{round}");
            app.set_version(&version)?;
            let marked = format!("{version} ");
            line.push(probe::until_alone(&addresses, &marked, || ours.run(&["deploy"]))?.1);
            bare.push(say_true(&fleet));
        }
        let line = figures.yardstick(&format!("{size} servers: one changed line"), &line);
        let bare = figures.yardstick(&format!("{size} servers: ssh true to all at once"), &bare);
        above.push((line - bare).max(0.001));
    }
    let factor = above[1] / above[0];
    figures.at_most("growth of what is above ssh true, 4 to 16", factor, "×", FACTOR);
    Ok(())
}

/// The seconds that `ssh true` takes to all servers at once.
fn say_true(fleet: &Fleet) -> f64 {
    let began = Instant::now();
    thread::scope(|scope| {
        for index in 0..fleet.machines().len() {
            scope.spawn(move || fleet.run(index, "true"));
        }
    });
    began.elapsed().as_secs_f64()
}

//! The simulation is tested by planting bugs: each must be caught.

use onward_core::planted::Bug;
#[cfg(planted)]
use onward_core::planted::plant;
use onward_testkit::sim::{Run, Simulator, Violation};

use crate::levels;

/// The seeds within which a planted bug must be caught.
pub const SEEDS_MAX: u64 = 100_000;

/// How a bug was caught.
#[derive(Debug)]
pub struct Catch {
    /// The seed, and at once the number of seeds before it.
    pub seed: u64,
    /// What it broke.
    pub violation: Violation,
}

/// Whether this program was built with bugs that can be planted.
pub const CAN_PLANT: bool = cfg!(planted);

/// Plants a bug, in this thread, for as long as `what` lasts.
pub fn with<T>(bug: Bug, what: impl FnOnce() -> T) -> T {
    #[cfg(planted)]
    plant(Some(bug));
    let _ = bug;
    let result = what();
    #[cfg(planted)]
    plant(None);
    result
}

/// Runs seeds with a bug until it is caught.
pub fn hunt(bug: Bug) -> Option<Catch> {
    let simulator = Simulator::new();
    with(bug, || {
        (0..SEEDS_MAX).find_map(|seed| {
            let outcome = levels::run(&simulator, &Run::Seed(seed), false);
            outcome.violation.map(|violation| Catch { seed, violation })
        })
    })
}

//! `onward-sim`: the simulation as a command. `cargo xtask sim` builds it twice, as it is shipped
//! and with bugs that can be planted, and calls it.

use std::process::ExitCode;
use std::time::Instant;

use onward_core::planted::Bug;
use onward_sim::levels::Tally;
use onward_sim::{hunt, levels, show};
use onward_testkit::sim::{Plan, Run, Simulator};

/// The threads of a search.
const THREADS: usize = 2;

fn main() -> ExitCode {
    // A panic in a run is a finding of its own; its text is in the finding.
    std::panic::set_hook(Box::new(|_| {}));
    match Arguments::parse(std::env::args().skip(1)).map(|arguments| arguments.run()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

#[derive(Debug, Default)]
struct Arguments {
    seeds: Option<u64>,
    first: u64,
    seed: Option<u64>,
    plan: Option<Plan>,
    planted: Option<Bug>,
    hunt: bool,
    single: bool,
    pairs: Option<u64>,
    crash_loops: bool,
    same: Option<u64>,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut own = Self::default();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--seeds" => own.seeds = Some(number(&value()?)?),
                "--first" => own.first = number(&value()?)?,
                "--seed" => own.seed = Some(number(&value()?)?),
                "--plan" => own.plan = Some(value()?.parse().map_err(|error| format!("{error}"))?),
                "--planted" => own.planted = Some(bug(&value()?)?),
                "--hunt" => own.hunt = true,
                "--single" => own.single = true,
                "--pairs" => own.pairs = Some(number(&value()?)?.max(1)),
                "--crash-loops" => own.crash_loops = true,
                "--same" => own.same = Some(number(&value()?)?),
                _ => return Err(format!("`{word}` is not an argument of the simulation")),
            }
        }
        Ok(own)
    }

    /// Whether everything held, and every planted bug was caught.
    fn run(&self) -> bool {
        if let Some(bug) = self.planted {
            return show_planted(bug, self.seed);
        }
        if self.hunt {
            return hunt_all();
        }
        if let Some(replayed) = self.replayed() {
            let simulator = Simulator::new();
            println!("{}", show::story(&simulator, &replayed));
            return levels::run(&simulator, &replayed, false).violation.is_none();
        }
        let mut total = Tally::default();
        if self.single {
            add(&mut total, "every boundary × fault × delay", || {
                levels::single_faults(1, THREADS)
            });
        }
        if let Some(stride) = self.pairs {
            add(&mut total, "pairs of faults", || levels::fault_pairs(stride, THREADS));
        }
        if self.crash_loops {
            add(&mut total, "crash loops", || levels::crash_loops(THREADS));
        }
        if let Some(count) = self.seeds {
            println!("there are no leases: safety is compare-and-swap and the fence alone");
            add(&mut total, "swarm", || levels::swarm(self.first, count, THREADS));
        }
        if let Some(count) = self.same {
            let differing = levels::differing_seeds(self.first, count);
            println!("{count} seeds twice: {} differ {differing:?}", differing.len());
            if !differing.is_empty() {
                return false;
            }
        }
        let runs = self.seeds.unwrap_or(total.runs);
        println!("{runs} runs, {} violations", total.broken.len());
        total.broken.is_empty()
    }

    fn replayed(&self) -> Option<Run> {
        match (self.seed, &self.plan) {
            (Some(seed), None) => Some(Run::Seed(seed)),
            (Some(seed), Some(plan)) => Some(Run::Replay(seed, plan.clone())),
            (None, Some(plan)) => Some(Run::Plain(plan.clone())),
            (None, None) => None,
        }
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("`{text}` is not a number"))
}

fn bug(name: &str) -> Result<Bug, String> {
    let names: Vec<_> = Bug::ALL.iter().map(|bug| bug.name()).collect();
    let found = Bug::ALL.into_iter().find(|bug| bug.name() == name);
    found.ok_or_else(|| format!("no bug is called `{name}`; there are {}", names.join(", ")))
}

/// Runs a level, says what it was, and tells the story of the first run that broke something.
fn add(total: &mut Tally, name: &str, level: impl FnOnce() -> Tally) {
    let began = Instant::now();
    let tally = level();
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{name}: {} runs, {} faults, {} without, {} decisions, {} turns, \
         at rest within {}, {} violations, {seconds:.1} s",
        tally.runs,
        tally.faults,
        tally.idle,
        tally.decisions,
        tally.turns,
        tally.quiet_max,
        tally.broken.len(),
    );
    if let Some((run, _)) = tally.broken.first() {
        println!("{}", show::story(&Simulator::new(), run));
    }
    for (run, violation) in &tally.broken {
        println!("{}: {violation}", show::command_line(run));
    }
    total.merge(tally);
}

fn hunt_all() -> bool {
    let mut caught = 0;
    for bug in Bug::ALL {
        let began = Instant::now();
        let found = hunt::hunt(bug);
        let seconds = began.elapsed().as_secs_f64();
        match found {
            Some(found) => {
                caught += 1;
                println!(
                    "{:<26} caught at seed {:>6} in {seconds:>5.1} s by {}",
                    bug.name(),
                    found.seed,
                    found.violation
                );
            }
            None => println!("{:<26} not caught in {} seeds", bug.name(), hunt::SEEDS_MAX),
        }
    }
    println!("{caught} of {} planted bugs caught", Bug::ALL.len());
    caught == Bug::ALL.len()
}

fn show_planted(bug: Bug, seed: Option<u64>) -> bool {
    if !hunt::CAN_PLANT {
        println!("this build has no bugs that can be planted; use `cargo xtask sim`");
        return false;
    }
    let Some(seed) = seed.or_else(|| hunt::hunt(bug).map(|found| found.seed)) else {
        println!("{} was not caught in {} seeds", bug.name(), hunt::SEEDS_MAX);
        return false;
    };
    let simulator = Simulator::new();
    let story = hunt::with(bug, || show::story(&simulator, &Run::Seed(seed)));
    println!("{}: seed {seed}\n{story}", bug.name());
    story.contains("violation of")
}

//! After a crash anywhere: the time until eight servers are what they shall be again.

use std::io::{BufRead, BufReader};
use std::process::Child;
use std::time::Instant;

use onward::providers::nspawn::ServerSpec;
use onward_fleet_tests::Fleet;
use serde_json::Value;

use crate::Outcome;
use crate::app::App;
use crate::figures::Figures;
use crate::ours::{COMBINED, Ours};
use crate::probe;

/// How many servers there are.
const SERVERS: usize = 8;
/// The time until all are converged, from the next command or, for a manager, from when it has
/// booted, in seconds.
const WITHIN: f64 = 5.0;
/// The phases in which something crashes: two before the decision, two after it.
const PHASES: [&str; 4] = ["stage", "start", "switch", "watch"];

/// What crashes.
#[derive(Debug, Clone, Copy)]
enum Crash {
    /// The command, by SIGKILL.
    Command,
    /// The power of the manager, and the command with it.
    Manager,
    /// The agents of all servers, by SIGKILL, and the command with them.
    Agents,
}

impl Crash {
    const ALL: [Self; 3] = [Self::Command, Self::Manager, Self::Agents];

    const fn words(self) -> &'static str {
        match self {
            Self::Command => "the command is killed",
            Self::Manager => "the manager's power is cut",
            Self::Agents => "all agents are killed",
        }
    }

    fn strike(self, fleet: &Fleet, mut command: Child) -> Outcome<()> {
        if let Self::Manager = self {
            fleet.lab().power_cut(fleet.name(0))?;
        }
        command.kill()?;
        command.wait()?;
        match self {
            Self::Command => {}
            Self::Manager => {
                fleet.up(&[ServerSpec::of(fleet.name(0).clone())])?;
            }
            Self::Agents => {
                for index in 0..SERVERS {
                    fleet.run(index, "systemctl kill --signal=KILL onward-agent.service");
                }
            }
        }
        Ok(())
    }
}

/// Measures each crash in each phase.
pub fn measure(figures: &mut Figures) -> Outcome<()> {
    let Some(fleet) = Fleet::boot(SERVERS) else { return Ok(()) };
    let app = App::make(fleet.directory())?;
    let ours = Ours::new(&fleet, &app, COMBINED)?;
    ours.run(&["up"])?;
    let addresses = probe::addresses(&fleet, 80);
    let mut round = 0;
    for crash in Crash::ALL {
        let mut all = Vec::new();
        for phase in PHASES {
            round += 1;
            let version = format!("c{round}");
            app.set_version(&version)?;
            let command = until_phase(ours.start(&["deploy", "--json"])?, phase)?;
            crash.strike(&fleet, command)?;
            let began = Instant::now();
            // The next command: it joins what is in flight, or does it anew.
            probe::until_alone(&addresses, &format!("{version} "), || ours.run(&["deploy"]))?;
            let took = began.elapsed().as_secs_f64();
            println!("  {} in {phase}: {took:.2} s", crash.words());
            all.push(took);
        }
        figures.seconds(&format!("{SERVERS} servers, {}", crash.words()), &all, WITHIN);
        figures.at_most(
            "  the longest of its phases",
            all.into_iter().fold(0.0, f64::max),
            "s",
            WITHIN,
        );
    }
    Ok(())
}

/// Waits until a deploy comes to a phase.
fn until_phase(mut command: Child, phase: &str) -> Outcome<Child> {
    let output = command.stdout.take().ok_or("it has no output")?;
    for line in BufReader::new(output).lines() {
        let event: Value = serde_json::from_str(&line?)?;
        if event["event"] == "phase" && event["phase"] == phase {
            return Ok(command);
        }
    }
    Err(format!("the deploy did not come to the phase {phase}").into())
}

//! `cargo xtask bench`: the figures and gates, each with its yardstick or bound from the same run.

mod bad;
mod beside;
mod bundle;
mod clients;
mod converged;
mod figure;
mod figures;
mod fleet;
mod kill;
mod kill_control;
mod load;
mod place;
mod proxy;
mod scale;
mod sites;
mod strace;
mod tls;
mod upgrade;
mod wrk;

use std::error::Error;
use std::io;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Runs one; whether every bound was kept.
type Gate = fn(&Mode) -> Outcome<bool>;

/// The gates and figures, by name.
const ALL: [(&str, Gate); 11] = [
    ("load", load::run),
    ("scale", scale::run),
    ("kill", kill::run),
    ("bad", bad::run),
    ("upgrade", upgrade::run),
    ("figures", figures::run),
    ("proxy", |_| beside_nginx(proxy::run)),
    ("tls", |_| beside_nginx(tls::run)),
    ("static", |_| beside_nginx(sites::run)),
    ("bundle", |_| bundle::run()),
    ("fleet", fleet::run),
];

const USAGE: &str = "\
usage: cargo xtask bench [NAME …] [OPTIONS]

  load      deploys, rollbacks and a lost agent under load: nothing is lost
  scale     counts of instances that change under load: nothing is lost
  kill      the command killed at every step, agent and proxy at random: nothing stays half-done
  bad       bad releases: none gets traffic, or it is taken back
  upgrade   onward replaced by another version of itself under load: nothing is lost
  figures   how long things take, how much memory they use
  proxy     CPU for each request, with nginx beside it
  tls       the same with TLS and HTTP/2: processor time, requests a second, latency
  static    requests per CPU for static files, with nginx beside it
  bundle    bundles, with tar and zstd beside them
  fleet     releases to real servers, with Ansible, pyinfra and a bare loop beside them

  --quick    the short form, as CI runs it
  --strict   end with 1 when a bound is missed
  --control  load, scale, kill, bad and upgrade: show that a broken variant makes the counters move
";

/// How a gate is run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mode {
    /// The short form.
    pub quick: bool,
    /// Show that a broken variant is noticed.
    pub control: bool,
}

/// Runs what is named, or all.
pub fn run(arguments: &[String]) -> ExitCode {
    let mut mode = Mode::default();
    let (mut strict, mut names) = (false, Vec::new());
    for argument in arguments {
        match argument.as_str() {
            "--quick" => mode.quick = true,
            "--control" => mode.control = true,
            "--strict" => strict = true,
            name if ALL.iter().any(|(own, _)| *own == name) => names.push(name),
            other => {
                eprintln!("there is no figure `{other}`\n\n{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    let kept = selected(&names, &mode);
    if strict && !kept { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Runs what is named, or all, and prints a summary; whether every bound was kept.
pub fn selected(names: &[&str], mode: &Mode) -> bool {
    let mut rows = Vec::new();
    for (name, run) in ALL {
        if !names.is_empty() && !names.contains(&name) {
            continue;
        }
        let began = Instant::now();
        let verdict = match run(mode) {
            Ok(true) => "ok".to_owned(),
            Ok(false) => "MISS".to_owned(),
            Err(error) => format!("FAILED: {error}"),
        };
        rows.push((name, verdict, began.elapsed().as_secs_f64()));
        println!();
    }
    println!("{:<10} {:>8}   verdict", "bench", "seconds");
    for (name, verdict, seconds) in &rows {
        println!("{name:<10} {seconds:>8.1}   {verdict}");
    }
    rows.iter().all(|(_, verdict, _)| verdict == "ok")
}

/// Measures the proxy that its command makes from its control socket and its table file.
type Beside = fn(&dyn Fn(&Path, &Path) -> Command) -> io::Result<Vec<String>>;

fn beside_nginx(measure: Beside) -> Outcome<bool> {
    let binary = place::release_binary()?;
    let misses = measure(&|control, table| {
        let mut command = Command::new(&binary);
        command.args(["proxy", "run", "--control"]).arg(control).arg("--table").arg(table);
        command
    })?;
    for miss in &misses {
        println!("MISS: {miss}");
    }
    Ok(misses.is_empty())
}

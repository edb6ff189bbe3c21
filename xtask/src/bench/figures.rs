//! How long things take on this machine, and how much memory they use.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use super::figure::{Figures, median, ms, spread};
use super::place::{self, Place};
use super::{Mode, Outcome};
use crate::steps::{cargo, root};
use onward_load::Connection;

/// Runs of each figure.
const RUNS: u64 = 15;
/// Packages in the lock file with the default features.
const PACKAGES_MAX: usize = 300;

/// Measures and prints everything with its bound.
pub fn run(_: &Mode) -> Outcome<bool> {
    let binary = place::release_binary()?;
    let mut figures = Figures::default();
    println!("figures: medians of {RUNS} runs");
    let place = Place::hello(&binary, "[release]\nwatch = \"100ms\"\n")?;
    place.run(&["up", "--json"])?.done()?;

    switching(&place, &mut figures)?;
    commands(&place, &mut figures)?;
    memory(&place, &mut figures)?;
    sizes(&place, &mut figures)?;
    place.run(&["down", "-y"])?.done()?;
    planning(&mut figures)?;
    Ok(figures.kept())
}

/// From the start of the command to the first answer of the release that it brings.
fn switching(place: &Place, figures: &mut Figures) -> Outcome<()> {
    let start: Vec<f64> = (0..RUNS).map(|_| app_start(place)).collect::<Outcome<_>>()?;
    let address = place.address()?;
    let (mut deploys, mut rollbacks) = (Vec::new(), Vec::new());
    for number in 0..RUNS {
        place.write("number.txt", &format!("{number}\n"))?;
        let serving = place.status()?["release"]["number"].as_u64().unwrap_or(0);
        deploys.push(until_another_answers(place, &address, serving, &["deploy", "--json"])?);
        // Back to the warm one, and from there the next deploy begins.
        let new = place.status()?["release"]["number"].as_u64().unwrap_or(0);
        rollbacks.push(until_another_answers(place, &address, new, &["rollback", "--json"])?);
    }
    let app = median(&start);
    println!("    the app's own start: {app:.1} ms, {}", spread(&start));
    figures.at_most(
        "one changed line until switched, without the app's start",
        median(&deploys) - app,
        "ms",
        400.0,
    );
    println!("    with it: {:.1} ms, {}", median(&deploys), spread(&deploys));
    figures.at_most("warm rollback until switched", median(&rollbacks), "ms", 200.0);
    println!("    {}", spread(&rollbacks));
    Ok(())
}

/// The time until the compiled app answers when nobody but us starts it.
fn app_start(place: &Place) -> Outcome<f64> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut command = Command::new(place.path().join("hello"));
    command.env("PORT", port.to_string());
    let began = Instant::now();
    let mut app = command.spawn()?;
    let mut connection = Connection::to(&format!("127.0.0.1:{port}"));
    while connection.get("/").is_err() && began.elapsed() < Duration::from_secs(5) {
        thread::yield_now();
    }
    let took = ms(began.elapsed());
    app.kill()?;
    app.wait()?;
    Ok(took)
}

fn until_another_answers(
    place: &Place,
    address: &str,
    serving: u64,
    arguments: &[&str],
) -> Outcome<f64> {
    let ended = AtomicBool::new(false);
    let began = Instant::now();
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut connection = Connection::to(address);
            while !ended.load(Ordering::Relaxed) {
                if connection.get("/").is_ok_and(|(answer, _)| answer.release != serving) {
                    return Some(ms(began.elapsed()));
                }
                sleep(Duration::from_micros(500));
            }
            None
        });
        let ran = place.run(arguments);
        // A client that has not seen it by now never would.
        sleep(Duration::from_millis(50));
        ended.store(true, Ordering::Relaxed);
        let seen = asking.join().ok().flatten();
        ran?.done()?;
        seen.ok_or_else(|| "no other release answered".into())
    })
}

fn commands(place: &Place, figures: &mut Figures) -> Outcome<()> {
    for (name, arguments, bound) in [
        ("`up` with nothing changed", &["up", "--json"][..], 150.0),
        ("`status`", &["status"], 30.0),
        ("`--version`", &["--version"], 10.0),
    ] {
        let took: Vec<f64> = (0..RUNS)
            .map(|_| Ok(ms(place.run(arguments)?.done()?.took)))
            .collect::<Outcome<_>>()?;
        figures.at_most(name, median(&took), "ms", bound);
        println!("    {}", spread(&took));
    }
    Ok(())
}

/// At rest, after deploys and rollbacks.
fn memory(place: &Place, figures: &mut Figures) -> Outcome<()> {
    for (role, bound) in [("agent", 15.0), ("proxy", 10.0)] {
        let pid = place.pid_of(role).ok_or_else(|| format!("no {role} runs"))?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
        figures.at_most(&format!("memory of the {role} at rest"), kilobytes / 1024.0, "MB", bound);
    }
    Ok(())
}

fn sizes(place: &Place, figures: &mut Figures) -> Outcome<()> {
    let bytes = fs::metadata(place.binary())?.len() as f64;
    figures.at_most("size of the binary", bytes / 1e6, "MB", 20.0);
    let lock = fs::read_to_string(root().join("Cargo.lock"))?;
    let packages = lock.lines().filter(|line| *line == "[[package]]").count();
    figures.tell(
        "packages in Cargo.lock",
        packages,
        &format!("≤ {PACKAGES_MAX}"),
        packages <= PACKAGES_MAX,
    );
    Ok(())
}

/// A document for 10,000 servers: the example prints the milliseconds of each run.
fn planning(figures: &mut Figures) -> Outcome<()> {
    let arguments = [
        "run",
        "--quiet",
        "--release",
        "--locked",
        "-p",
        "onward-testkit",
        "--example",
        "plan_10000",
    ];
    let output = cargo(&arguments).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let took: Vec<f64> = text.lines().filter_map(|line| line.trim().parse().ok()).collect();
    if took.is_empty() {
        return Err(format!("no figure: {text}{}", String::from_utf8_lossy(&output.stderr)).into());
    }
    figures.at_most("10,000 servers: all orders and the next decision", median(&took), "ms", 100.0);
    println!("    {}", spread(&took));
    Ok(())
}

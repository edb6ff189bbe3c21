//! onward replaced by another version of itself under load, up and down: nothing is lost.
//!
//! Both versions are really built, from the same source with another version in it. Beside `wrk` and
//! the sampler one WebSocket and one long request live through each replacement.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::figure::{Figures, median, ms, quantile, spread};
use super::place::{self, Place, Ran, app_pids};
use super::wrk::{Counted, Wrk};
use super::{Mode, Outcome};
use crate::steps::{cargo, target};
use onward_load::{Sampler, Seen};

const CONNECTIONS: usize = 64;
/// Connections of the sampler that are kept, threads that open one for each request, and how often
/// each asks.
const SAMPLED: usize = 4;
const FRESH: usize = 2;
const SAMPLE_EVERY: Duration = Duration::from_millis(4);
/// Between two replacements.
const PAUSE: Duration = Duration::from_millis(1500);
/// The two versions.
const VERSIONS: [&str; 2] = ["0.1.0", "0.2.0"];
/// The longest time in which no answer came, in milliseconds.
const PAUSE_MS_MAX: f64 = 1000.0;
/// How long the long request takes, in milliseconds.
const LONG_MS: u64 = 1000;

/// An app that says its release, takes its time on `/long`, and echoes lines after an upgrade.
const APP: &str = r#"
import os, socketserver, time
release = os.environ["ONWARD_RELEASE"]
class Handler(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True
    def handle(self):
        while True:
            line = self.rfile.readline().decode("latin-1")
            if not line:
                return
            upgrade = False
            length = 0
            while True:
                header = self.rfile.readline().decode("latin-1").strip().lower()
                if not header:
                    break
                upgrade = upgrade or header.startswith("upgrade:")
                if header.startswith("content-length:"):
                    length = int(header.split(":")[1])
            self.rfile.read(length)
            if upgrade:
                self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
                while True:
                    said = self.rfile.readline()
                    if not said:
                        return
                    self.wfile.write(said)
            if line.split()[1] == "/long":
                time.sleep(LONG_MS / 1000)
            body = ("release %s\n" % release).encode()
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 1024
Server(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"#;

/// Runs the gate, or with `control` shows that a plain restart of the proxy is noticed.
pub fn run(mode: &Mode) -> Outcome<bool> {
    let binaries = VERSIONS.map(binary);
    let [first, second] = binaries;
    let binaries = [first?, second?];
    let place = app(&binaries[0])?;
    place.run(&["up", "--json"])?.done()?;
    if mode.control {
        return control(&place);
    }
    let times = if mode.quick { 4 } else { 20 };
    let mut figures = Figures::default();

    println!("upgrade: {times} replacements, up and down");
    let before = place.status()?;
    let run = Run::through(&place, times, |number| exchange(&place, &binaries, number))?;
    run.tell(&mut figures);
    figures.holds("the app's process is the same", app_pids(&before) == app_pids(&place.status()?));

    let deploys = if mode.quick { 2 } else { 6 };
    println!("upgrade: {deploys} deploys, each by the other version");
    let run = Run::through(&place, deploys, |number| deploy(&place, &binaries, number))?;
    run.tell_losses(&mut figures);
    place.run(&["down", "-y"])?.done()?;
    figures.holds("no process is left", place.processes().is_empty());
    Ok(figures.kept())
}

/// Agent and proxy killed and started again, as without a hand-over.
fn control(place: &Place) -> Outcome<bool> {
    println!("upgrade, control: agent and proxy are killed, then started again");
    let run = Run::through(place, 2, |_| {
        for role in ["agent", "proxy"] {
            place::signal(place.pid_of(role).ok_or("it does not run")?, "KILL");
        }
        place.run(&["status", "--json"])?.done()
    })?;
    let mut figures = Figures::default();
    figures.at_least("lost, as the clients count", run.lost_by_clients(), 1);
    figures.holds("the counters are not continued", run.first["epoch"] != run.last["epoch"]);
    place.run(&["down", "-y"])?.done()?;
    Ok(figures.kept())
}

/// onward of a version, built. Only what knows the version is compiled again for the other.
fn binary(version: &str) -> Outcome<PathBuf> {
    let directory = target().join("versions");
    fs::create_dir_all(&directory)?;
    let mut build = cargo(&["build", "--quiet", "--release", "--locked"]);
    build.env("ONWARD_BUILD_VERSION", version);
    if !build.status()?.success() {
        return Err(format!("onward {version} is not built").into());
    }
    let path = directory.join(format!("onward-{version}"));
    let _ = fs::remove_file(&path);
    fs::copy(target().join("release/onward"), &path)?;
    Ok(path)
}

fn app(binary: &std::path::Path) -> Outcome<Place> {
    let place = Place::new(binary)?;
    place.write("app.py", &APP.replace("LONG_MS", &LONG_MS.to_string()))?;
    place.write(
        "onward.toml",
        "app = \"hello\"\n[process.web]\nrun = \"python3 app.py\"\nprobe = { path = \"/\" }\n\
         [release]\nwatch = \"100ms\"\n",
    )?;
    Ok(place)
}

/// A command of one of the two versions.
fn by(place: &Place, binary: &PathBuf, arguments: &[&str]) -> Outcome<Ran> {
    let began = Instant::now();
    let mut command = Command::new(binary);
    command.args(arguments);
    place::ran(&place.within(command).output()?, began).done()
}

fn exchange(place: &Place, binaries: &[PathBuf; 2], number: u64) -> Outcome<Ran> {
    let binary = &binaries[usize::from(number % 2 == 1)];
    let address = place.address()?;
    let mut echo = Echo::open(&address)?;
    let long = thread::spawn({
        let address = address.clone();
        move || onward_load::Connection::to(&address).get("/long").map(|_| ())
    });
    // It is on its way when the proxy is replaced.
    sleep(Duration::from_millis(LONG_MS / 4));
    let ran = by(place, binary, &["agent", "upgrade", "--downgrade", "--json"])?;
    echo.says("still here")?;
    long.join().map_err(|_| "the long request panicked")?.map_err(|loss| loss.why)?;
    Ok(ran)
}

/// The newer one replaces what runs, the older one goes on with the newer.
fn deploy(place: &Place, binaries: &[PathBuf; 2], number: u64) -> Outcome<Ran> {
    if number % 2 == 1 {
        by(place, &binaries[0], &["agent", "upgrade", "--downgrade", "--json"])?;
    }
    place.write("number.txt", &format!("{number}\n"))?;
    by(place, &binaries[usize::from(number % 2 == 1)], &["deploy", "--json"])
}

/// An upgraded connection.
struct Echo(BufReader<TcpStream>);

impl Echo {
    fn open(address: &str) -> Outcome<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut echo = Self(BufReader::new(stream));
        echo.0.get_mut().write_all(
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n",
        )?;
        while !echo.line()?.trim().is_empty() {}
        Ok(echo)
    }

    fn line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        Ok(line)
    }

    fn says(&mut self, text: &str) -> Outcome<()> {
        self.0.get_mut().write_all(format!("{text}\n").as_bytes())?;
        let heard = self.line()?;
        if heard.trim() == text { Ok(()) } else { Err(format!("the echo said {heard:?}").into()) }
    }
}

/// What was counted from before the first to after the last.
struct Run {
    ran: Vec<Ran>,
    seen: Seen,
    counted: Counted,
    /// WebSockets and long requests, which the proxy counts as well.
    others: u64,
    first: Value,
    last: Value,
}

impl Run {
    fn through(
        place: &Place,
        times: u64,
        mut command: impl FnMut(u64) -> Outcome<Ran>,
    ) -> Outcome<Self> {
        let address = place.address()?;
        let first = place.status()?["traffic"].clone();
        let sampler = Sampler::start(&address, SAMPLED, FRESH, SAMPLE_EVERY);
        let wrk = Wrk::start(&address, CONNECTIONS)?;
        let mut ran = Vec::new();
        sleep(PAUSE);
        for number in 1..=times {
            ran.push(command(number)?);
            sleep(PAUSE);
        }
        let counted = wrk.end()?;
        let seen = sampler.end();
        let last = place.status()?["traffic"].clone();
        Ok(Self { ran, seen, counted, others: 2 * times, first, last })
    }

    fn difference(&self, name: &str) -> u64 {
        let of = |traffic: &Value| traffic[name].as_u64().unwrap_or(0);
        of(&self.last).saturating_sub(of(&self.first))
    }

    fn lost_by_clients(&self) -> u64 {
        self.counted.socket_errors + self.counted.bad_status + self.seen.losses.len() as u64
    }

    fn tell_losses(&self, figures: &mut Figures) {
        figures.none("socket errors of wrk", self.counted.socket_errors);
        figures.none("answers to wrk that are not 2xx", self.counted.bad_status);
        figures.none("requests that the sampler lost", self.seen.losses.len() as u64);
        for loss in self.seen.losses.iter().take(5) {
            println!("    lost: {}", loss.why);
        }
        figures.none("requests that the proxies say they lost", self.difference("lost"));
        figures.none("errors of the app", self.difference("app_errors"));
        figures.holds("the counters are continued", self.first["epoch"] == self.last["epoch"]);
    }

    fn tell(&self, figures: &mut Figures) {
        self.tell_losses(figures);
        let asked = self.counted.requests + self.seen.answers.len() as u64 + self.others;
        let counted = self.difference("requests");
        // What wrk had asked for on a connection that it then closed is not in its sum.
        let agrees = counted >= asked && counted <= asked + CONNECTIONS as u64;
        let text = format!("{counted} ({:+})", counted as i128 - i128::from(asked));
        let bound = format!("{asked} + 0..={CONNECTIONS}");
        figures.tell("the proxies' count, and that of the clients", text, &bound, agrees);
        let told: u64 = self.ran.iter().filter_map(|ran| ran.json().ok()?["lost"].as_u64()).sum();
        let all = self.ran.iter().all(|ran| ran.json().is_ok_and(|own| own["requests"].is_u64()));
        figures.none("lost, as the commands say", told);
        figures.holds("each command says of how many", all);
        let took: Vec<f64> = self.ran.iter().map(|ran| ms(ran.took)).collect();
        println!("    a replacement took {:.0} ms, {}", median(&took), spread(&took));
        let answers: Vec<f64> = self.seen.answers.iter().map(|own| ms(own.took)).collect();
        println!("    answers: p99 {:.1} ms", quantile(&answers, 0.99));
        figures.at_most("the longest answer", quantile(&answers, 1.0), "ms", PAUSE_MS_MAX);
    }
}

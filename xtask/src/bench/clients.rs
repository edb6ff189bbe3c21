//! The programs that make the load of one measurement, and what they say at its end.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use super::figure::quantile;
use crate::steps::has;

/// The host that certificates of a measurement are for.
pub(super) const HOST: &str = "localhost";

/// The load of one case.
pub(super) struct Load {
    /// The path that is asked for.
    pub(super) file: &'static str,
    /// Who asks, and how.
    pub(super) client: Client,
}

/// Who asks, and how.
pub(super) enum Client {
    /// wrk, over connections that are kept.
    Kept { scheme: &'static str, connections: u32 },
    /// wrk with TLS, and a new connection with a whole handshake for each request.
    New { at_once: u32 },
    /// `openssl s_time`: a new connection for each request, with a whole handshake or resumed.
    OneByOne { at_once: u32, resumes: bool },
    /// h2load: HTTP/2 with so many requests at once on each connection.
    Http2 { connections: u32, at_once: u32 },
}

/// What a client counted.
pub(super) struct Counted {
    pub(super) requests: f64,
    /// Requests without an answer, and answers other than 2xx and 3xx.
    pub(super) failures: u64,
    /// `None` when the client doesn't say.
    pub(super) latency: Option<Latency>,
}

/// How long requests take, in milliseconds.
#[derive(Clone, Copy)]
pub(super) struct Latency {
    pub(super) p50: f64,
    pub(super) p99: f64,
}

impl Load {
    /// HTTP/1.1 without TLS over so many kept connections.
    pub(super) const fn plain(file: &'static str, connections: u32) -> Self {
        Self { file, client: Client::Kept { scheme: "http", connections } }
    }

    /// How many connections it has open at once.
    pub(super) const fn connections(&self) -> u32 {
        match self.client {
            Client::Kept { connections, .. } | Client::Http2 { connections, .. } => connections,
            Client::New { at_once } | Client::OneByOne { at_once, .. } => at_once,
        }
    }

    /// A command that makes it for so many seconds.
    pub(super) fn command(&self, port: u16, seconds: u32, log: &Path) -> Command {
        let file = self.file;
        let mut command = match &self.client {
            Client::Kept { scheme, connections } => {
                let address = format!("{scheme}://{}:{port}/{file}", host_of(scheme));
                wrk(*connections, &address)
            }
            Client::New { at_once } => {
                let mut wrk = wrk(*at_once, &format!("https://{HOST}:{port}/{file}"));
                wrk.args(["-H", "Connection: close"]);
                wrk
            }
            Client::OneByOne { at_once, resumes } => {
                let how = if *resumes { "-reuse" } else { "-new" };
                return s_time(*at_once, how, port, file, seconds);
            }
            Client::Http2 { connections, at_once } => {
                let mut h2load = Command::new("h2load");
                h2load.args(["-t1", &format!("-c{connections}"), &format!("-m{at_once}")]);
                h2load.arg(format!("--log-file={}", log.display()));
                h2load.args(["-D", &seconds.to_string()]);
                h2load.arg(format!("https://{HOST}:{port}/{file}"));
                return h2load;
            }
        };
        command.arg(format!("-d{seconds}s"));
        command
    }

    /// What its command counted, from what it printed and what it wrote to `log`.
    pub(super) fn counted(&self, text: &str, log: &Path) -> io::Result<Counted> {
        let counted = match self.client {
            Client::Kept { .. } | Client::New { .. } => of_wrk(text),
            Client::OneByOne { resumes, .. } => of_s_time(text, resumes),
            Client::Http2 { .. } => of_h2load(text, log)?,
        };
        if counted.requests < 1.0 {
            return Err(io::Error::other(format!("there was no answer: {text}")));
        }
        Ok(counted)
    }
}

/// A certificate is for a name; without one nobody has to look one up.
fn host_of(scheme: &str) -> &'static str {
    if scheme == "https" { HOST } else { "127.0.0.1" }
}

fn wrk(connections: u32, address: &str) -> Command {
    let mut wrk = Command::new("wrk");
    wrk.args(["-t1", "--timeout", "10s", "--latency"]).arg(format!("-c{connections}")).arg(address);
    wrk
}

/// One process has one connection at a time. It says `GET … HTTP/1.0` and no more, so the rest of a
/// request of today goes in front of that.
fn s_time(at_once: u32, how: &str, port: u16, file: &str, seconds: u32) -> Command {
    let request =
        format!("/{file} HTTP/1.1\r\nHost: {HOST}:{port}\r\nConnection: close\r\nX-Version:");
    let all = format!(
        "for one in $(seq {at_once}); do \
         openssl s_time {how} -connect {HOST}:{port} -www \"$0\" -time {seconds} & done; wait"
    );
    let mut command = Command::new("sh");
    command.args(["-c", &all, &request]);
    command
}

fn of_wrk(text: &str) -> Counted {
    let lines = text.lines().map(str::trim);
    let reported = lines.clone().filter_map(|line| {
        let (what, numbers) = line.split_once(':')?;
        (what == "Socket errors" || what.starts_with("Non-2xx")).then_some(numbers)
    });
    let words = reported.flat_map(|numbers| numbers.split([' ', ',']));
    let of_quantile = |name| {
        let found = lines.clone().find_map(|line| line.strip_prefix(name))?;
        milliseconds(found.trim())
    };
    let latency = of_quantile("50%").zip(of_quantile("99%"));
    Counted {
        requests: number_before(text, " requests in").unwrap_or(0.0),
        failures: words.filter_map(|word| word.parse::<u64>().ok()).sum(),
        latency: latency.map(|(p50, p99)| Latency { p50, p99 }),
    }
}

/// A letter stands for each connection: `r` for one that was resumed, a star for a new one.
fn of_s_time(text: &str, resumes: bool) -> Counted {
    let lines = || text.lines().map(str::trim);
    let totals = lines().filter(|line| line.contains("real seconds"));
    let requests = totals.filter_map(|line| number_before(line, " connections in"));
    let marks = lines().filter(|line| line.bytes().all(|byte| b"rtsT3*.".contains(&byte)));
    let others = marks.flat_map(str::bytes).filter(|mark| (*mark == b'r') != resumes).count();
    Counted { requests: requests.sum(), failures: others as u64, latency: None }
}

/// Its log has a line for each request: when, its status, and how many microseconds it took.
fn of_h2load(text: &str, log: &Path) -> io::Result<Counted> {
    let written = fs::read_to_string(log)?;
    let took = written.lines().filter_map(|line| line.split('\t').nth(2)?.parse::<f64>().ok());
    let took: Vec<f64> = took.map(|micros| micros / 1000.0).collect();
    let count = |what| number_before(text, what).unwrap_or(0.0);
    Ok(Counted {
        requests: count(" succeeded,"),
        failures: count(" failed,") as u64,
        latency: Some(Latency { p50: quantile(&took, 0.5), p99: quantile(&took, 0.99) }),
    })
}

/// The number that stands right before `what`.
fn number_before(text: &str, what: &str) -> Option<f64> {
    text.split_once(what)?.0.split_ascii_whitespace().next_back()?.parse().ok()
}

/// `218.00us`, `4.23ms` or `1.02s`.
fn milliseconds(text: &str) -> Option<f64> {
    let scales = [("us", 0.001), ("ms", 1.0), ("s", 1000.0)];
    let scaled =
        scales.into_iter().find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, scale)));
    let (number, scale) = scaled?;
    Some(number.parse::<f64>().ok()? * scale)
}

/// Refuses to begin without what is needed: each program with the Debian package that has it.
pub(super) fn need(programs: &[(&str, &str)]) -> io::Result<()> {
    let missing: Vec<_> = programs.iter().filter(|(program, _)| !has(program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|(program, _)| *program).collect();
    let packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
    let (names, packages) = (names.join(", "), packages.join(" "));
    let text = format!("not found: {names}; what installs it: apt-get install {packages}");
    Err(io::Error::new(io::ErrorKind::NotFound, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_says() {
        let counted = of_wrk(
            "  Latency Distribution\n     50%    8.51ms\n     99%    1.02s\n  749 requests in 1.02s\n\
             \x20 Socket errors: connect 0, read 1, write 2, timeout 3\n  Non-2xx or 3xx responses: 4\n",
        );
        assert_eq!((counted.requests, counted.failures), (749.0, 10));
        let latency = counted.latency.expect("it says it");
        assert_eq!((latency.p50, latency.p99), (8.51, 1020.0));
        assert_eq!(milliseconds("500.00us"), Some(0.5));
    }

    #[test]
    fn what_s_time_says() {
        let one = "rrr*r\n\n5 connections in 0.22s; 3150.00 connections/user sec, bytes read 9\n\
                   5 connections in 3 real seconds, 309 bytes read per connection\n";
        let counted = of_s_time(&one.repeat(2), true);
        assert_eq!((counted.requests, counted.failures), (10.0, 2));
        assert_eq!(of_s_time(one, false).failures, 4);
    }

    #[test]
    fn what_h2load_says() {
        let text =
            "requests: 9 total, 9 started, 9 done, 7 succeeded, 2 failed, 1 errored, 0 timeout\n";
        let log = std::env::temp_dir().join(format!("onward-xtask-{}", std::process::id()));
        fs::write(&log, "17\t200\t1000\n18\t200\t3000\n19\t200\t2000\n").expect("it is written");
        let counted = of_h2load(text, &log).expect("it is read");
        let _ = fs::remove_file(&log);
        assert_eq!((counted.requests, counted.failures), (7.0, 2));
        let latency = counted.latency.expect("it says it");
        assert_eq!((latency.p50, latency.p99), (2.0, 3.0));
    }

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        need(&[("sh", "dash")]).expect("it is there");
        let error =
            need(&[("sh", "dash"), ("no-such-program", "a-package")]).expect_err("it isn't");
        let text = "not found: no-such-program; what installs it: apt-get install a-package";
        assert_eq!(error.to_string(), text);
    }
}

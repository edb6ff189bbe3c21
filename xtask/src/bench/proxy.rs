//! The proxy beside nginx: processor time per request and memory, in one run.
//!
//! The proxy under test has core 0; load (wrk) and backend (nginx with files) have core 1. Both
//! proxies keep connections to the backend, set the same forwarding headers and write no log. They
//! take turns in every round, so that what else the machine does hits both; what counts is the
//! median of their own processor time, not requests a second.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How often each case is measured with each proxy.
const ROUNDS: usize = 5;
/// How long one measurement lasts; long enough for a thousand ticks of processor time.
const SECONDS: u32 = 4;
/// How long a process may take to answer after its start.
const START_WITHIN: Duration = Duration::from_secs(10);
/// Ticks of `/proc/PID/stat` a second, on every Linux that Rust runs on.
const TICKS: f64 = 100.0;
/// Sizes of the two answers.
const SMALL: usize = 104;
const LARGE: usize = 100 * 1024;
/// Most memory at 1,000 connections, and idle.
const MOST_MB_BUSY: f64 = 32.0;
const MOST_MB_IDLE: f64 = 10.0;

/// One row of the table.
struct Case {
    name: &'static str,
    file: &'static str,
    connections: u32,
    /// Most processor time a request, as a multiple of nginx's.
    limit: f64,
}

const CASES: [Case; 3] = [
    Case { name: "64 connections, 104 bytes", file: "small", connections: 64, limit: 1.05 },
    Case { name: "1,000 connections, 104 bytes", file: "small", connections: 1_000, limit: 1.0 },
    Case { name: "64 connections, 100 KiB", file: "large", connections: 64, limit: 0.9 },
];

/// What one measurement gave.
#[derive(Clone, Copy)]
struct Sample {
    micros: f64,
    per_second: f64,
    megabytes: f64,
    failures: u64,
}

/// A process that is ended with its owner.
struct Process(Child);

impl Process {
    /// Starts a command that sees only one core, so that it makes one worker.
    fn on_core(core: u32, command: &Command, stdin: Stdio) -> io::Result<Self> {
        let mut pinned = Command::new("taskset");
        pinned.args(["-c", &core.to_string()]).arg(command.get_program()).args(command.get_args());
        pinned.stdin(stdin).stdout(Stdio::null()).spawn().map(Self)
    }

    fn processor_seconds(&self) -> io::Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        let fields = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
        let ticks: u64 =
            fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        Ok(ticks as f64 / TICKS)
    }

    fn resident_megabytes(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok());
        kilobytes.map_or(0.0, |kilobytes: f64| kilobytes / 1024.0)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A directory that goes away with its owner.
struct Workplace(PathBuf);

impl Workplace {
    fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("onward-bench-proxy-{}", std::process::id()));
        fs::create_dir_all(path.join("files"))?;
        fs::write(path.join("files/small"), vec![b'a'; SMALL])?;
        fs::write(path.join("files/large"), vec![b'a'; LARGE])?;
        Ok(Self(path))
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Starts an nginx of one process with this `server` or `upstream` configuration.
    fn nginx(&self, name: &str, core: u32, http: &str) -> io::Result<Process> {
        let directory = self.join(name);
        fs::create_dir_all(&directory)?;
        let at = directory.display();
        let configuration = format!(
            "daemon off; master_process off; pid {at}/pid; error_log {at}/error.log;\n\
             worker_rlimit_nofile 8192; events {{ worker_connections 4096; }}\n\
             http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {at};\n\
             proxy_temp_path {at}; fastcgi_temp_path {at}; uwsgi_temp_path {at};\n\
             scgi_temp_path {at}; {http} }}\n"
        );
        let file = directory.join("nginx.conf");
        fs::write(&file, configuration)?;
        let mut nginx = Command::new("nginx");
        nginx.arg("-c").arg(&file).arg("-p").arg(&directory);
        Process::on_core(core, &nginx, Stdio::null())
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Measures and prints the table; what is returned are the misses, empty when all is well.
///
/// `command` makes the command of the proxy from the paths of its control socket and its table file.
/// Its standard input becomes the listening socket.
pub fn run(command: &dyn Fn(&Path, &Path) -> Command) -> io::Result<Vec<String>> {
    let place = Workplace::new()?;
    let [backend_port, yardstick_port] = [free_port()?, free_port()?];
    let root = place.join("files");
    let backend = format!(
        "sendfile on; server {{ listen 127.0.0.1:{backend_port} backlog=4096; root {}; }}",
        root.display()
    );
    let _backend = place.nginx("backend", 1, &backend)?;
    let yardstick = place.nginx("yardstick", 0, &yardstick_http(yardstick_port, backend_port))?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let own_port = listener.local_addr()?.port();
    let own = start_own(command, &place, listener)?;
    route_to(&place.join("control"), backend_port)?;
    for port in [backend_port, yardstick_port, own_port] {
        wait_for_answer(port)?;
    }
    let idle = own.resident_megabytes();
    let mut misses = vec![];
    println!(
        "{:<30} {:>12} {:>12} {:>7} {:>10}",
        "proxy", "nginx µs", "onward µs", "ratio", "limit"
    );
    for case in &CASES {
        let (theirs, ours) = measure(case, (&yardstick, yardstick_port), (&own, own_port))?;
        judge(case, theirs, ours, &mut misses);
    }
    println!("{:<30} {:>12} {idle:>12.1} {:>7} {MOST_MB_IDLE:>10.1}", "idle memory, MB", "", "");
    if idle > MOST_MB_IDLE {
        misses.push(format!("idle memory is {idle:.1} MB, the limit is {MOST_MB_IDLE} MB"));
    }
    Ok(misses)
}

/// nginx as it comes, but with kept connections to the backend and the usual forwarding headers.
fn yardstick_http(port: u16, backend: u16) -> String {
    format!(
        "upstream backend {{ server 127.0.0.1:{backend}; keepalive 128; keepalive_requests 100000000; }}\n\
         server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ proxy_pass http://backend;\n\
         proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $http_host;\n\
         proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;\n\
         proxy_set_header X-Forwarded-Host $http_host; }} }}"
    )
}

fn start_own(
    command: &dyn Fn(&Path, &Path) -> Command,
    place: &Workplace,
    listener: TcpListener,
) -> io::Result<Process> {
    let command = command(&place.join("control"), &place.join("table.json"));
    let process = Process::on_core(0, &command, Stdio::from(OwnedFd::from(listener)))?;
    let deadline = Instant::now() + START_WITHIN;
    while UnixStream::connect(place.join("control")).is_err() {
        if Instant::now() > deadline {
            return Err(io::Error::other("the proxy's control socket doesn't answer"));
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(process)
}

fn route_to(control: &Path, backend: u16) -> io::Result<()> {
    let mut stream = BufReader::new(UnixStream::connect(control)?);
    let table = format!(
        "{{\"do\":\"set\",\"table\":{{\"version\":1,\"routes\":[{{\"name\":\"bench\",\"release\":1,\
         \"instances\":[{{\"id\":\"backend\",\"addr\":\"127.0.0.1:{backend}\"}}]}}]}}}}\n"
    );
    stream.get_mut().write_all(table.as_bytes())?;
    let mut answer = String::new();
    stream.read_line(&mut answer)?;
    if answer.trim() == "{\"ok\":\"set\"}" { Ok(()) } else { Err(io::Error::other(answer)) }
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn wait_for_answer(port: u16) -> io::Result<()> {
    let deadline = Instant::now() + START_WITHIN;
    loop {
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
            stream.set_read_timeout(Some(START_WITHIN))?;
            write!(stream, "GET /small HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line)?;
            if line.starts_with("HTTP/1.1 200") {
                return Ok(());
            }
        }
        if Instant::now() > deadline {
            return Err(io::Error::other(format!("nothing answers on port {port}")));
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// The median samples of both proxies; they take turns at going first.
fn measure(
    case: &Case,
    theirs: (&Process, u16),
    ours: (&Process, u16),
) -> io::Result<(Sample, Sample)> {
    let mut samples = (vec![], vec![]);
    for round in 0..ROUNDS {
        if round % 2 == 0 {
            samples.0.push(sample(case, theirs.0, theirs.1)?);
            samples.1.push(sample(case, ours.0, ours.1)?);
        } else {
            samples.1.push(sample(case, ours.0, ours.1)?);
            samples.0.push(sample(case, theirs.0, theirs.1)?);
        }
    }
    Ok((median(samples.0), median(samples.1)))
}

fn median(mut samples: Vec<Sample>) -> Sample {
    samples.sort_by(|one, other| one.micros.total_cmp(&other.micros));
    let failures = samples.iter().map(|sample| sample.failures).sum();
    let megabytes = samples.iter().map(|sample| sample.megabytes).fold(0.0, f64::max);
    Sample { failures, megabytes, ..samples[samples.len() / 2] }
}

fn sample(case: &Case, process: &Process, port: u16) -> io::Result<Sample> {
    let before = process.processor_seconds()?;
    let wrk = Command::new("taskset")
        .args(["-c", "1", "wrk", "-t1", "--timeout", "10s"])
        .arg(format!("-c{}", case.connections))
        .arg(format!("-d{SECONDS}s"))
        .arg(format!("http://127.0.0.1:{port}/{}", case.file))
        .stdout(Stdio::piped())
        .spawn()?;
    thread::sleep(Duration::from_secs(u64::from(SECONDS) / 2));
    let megabytes = process.resident_megabytes();
    let output = wrk.wait_with_output()?;
    let used = process.processor_seconds()? - before;
    let text = String::from_utf8_lossy(&output.stdout);
    let requests = number_before(&text, " requests in").unwrap_or(0.0);
    if requests < 1.0 {
        return Err(io::Error::other(format!("wrk made no request: {text}")));
    }
    Ok(Sample {
        micros: used * 1e6 / requests,
        per_second: requests / f64::from(SECONDS),
        megabytes,
        failures: failures(&text),
    })
}

/// The number that stands right before `what`.
fn number_before(text: &str, what: &str) -> Option<f64> {
    text.split_once(what)?.0.split_ascii_whitespace().next_back()?.parse().ok()
}

/// Errors that wrk reports: its line of socket errors, and answers other than 2xx and 3xx.
fn failures(text: &str) -> u64 {
    let lines = text.lines().map(str::trim);
    let reported = lines.filter_map(|line| {
        let (what, numbers) = line.split_once(':')?;
        (what == "Socket errors" || what.starts_with("Non-2xx")).then_some(numbers)
    });
    let words = reported.flat_map(|numbers| numbers.split([' ', ',']));
    words.filter_map(|word| word.parse::<u64>().ok()).sum()
}

fn judge(case: &Case, theirs: Sample, ours: Sample, misses: &mut Vec<String>) {
    let ratio = ours.micros / theirs.micros;
    println!(
        "{:<30} {:>12.1} {:>12.1} {ratio:>7.2} {:>10.2}   {:.0} against {:.0} a second, {:.1} against {:.1} MB",
        case.name,
        theirs.micros,
        ours.micros,
        case.limit,
        ours.per_second,
        theirs.per_second,
        ours.megabytes,
        theirs.megabytes,
    );
    if ratio > case.limit {
        misses.push(format!("{}: {ratio:.2} × nginx, the limit is {}", case.name, case.limit));
    }
    if ours.failures > 0 {
        misses.push(format!("{}: {} requests failed", case.name, ours.failures));
    }
    if case.connections >= 1_000 && ours.megabytes > MOST_MB_BUSY {
        misses.push(format!(
            "{}: {:.1} MB, the limit is {MOST_MB_BUSY} MB",
            case.name, ours.megabytes
        ));
    }
}

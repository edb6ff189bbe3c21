//! Two servers beside each other, in one run: processor time for each request and memory.
//!
//! What is under test has core 0; load and what else there is have core 1. Both take turns in
//! every round, so that what else the machine does hits both; what counts is the median of their own
//! processor time, not requests a second.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::clients::{Latency, Load};

/// How often each case is measured with each of the two.
const ROUNDS: usize = 5;
/// How long one measurement lasts; long enough for a thousand ticks of processor time.
const SECONDS: u32 = 4;
/// How long a process may take to answer after its start.
const START_WITHIN: Duration = Duration::from_secs(10);
/// Ticks of `/proc/PID/stat` a second, on every Linux that Rust runs on.
const TICKS: f64 = 100.0;

/// What one measurement gave.
#[derive(Clone, Copy)]
pub(super) struct Sample {
    pub(super) micros: f64,
    pub(super) per_second: f64,
    pub(super) megabytes: f64,
    pub(super) failures: u64,
    pub(super) latency: Option<Latency>,
}

/// A process that is ended with its owner.
pub(super) struct Process(Child);

impl Process {
    /// Starts a command that sees only one core, so that it makes one worker.
    pub(super) fn on_core(
        core: u32,
        command: &Command,
        stdin: Stdio,
        stdout: Stdio,
    ) -> io::Result<Self> {
        pinned(core, command).stdin(stdin).stdout(stdout).spawn().map(Self)
    }

    pub(super) fn processor_seconds(&self) -> io::Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        let fields = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
        let ticks: u64 =
            fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        Ok(ticks as f64 / TICKS)
    }

    pub(super) fn resident_megabytes(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok());
        kilobytes.map_or(0.0, |kilobytes: f64| kilobytes / 1024.0)
    }
}

/// The command, with one core for all that it starts.
fn pinned(core: u32, command: &Command) -> Command {
    let mut pinned = Command::new("taskset");
    pinned.args(["-c", &core.to_string()]).arg(command.get_program()).args(command.get_args());
    pinned
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A directory that goes away with its owner; `files` in it holds what is served.
pub(super) struct Workplace(PathBuf);

impl Workplace {
    pub(super) fn new(files: &[(&str, usize)]) -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("onward-bench-beside-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(path.join("files"))?;
        for (name, bytes) in files {
            fs::write(path.join("files").join(name), vec![b'a'; *bytes])?;
        }
        Ok(Self(path))
    }

    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Starts an nginx of one process with this `server` or `upstream` configuration.
    pub(super) fn nginx(&self, name: &str, core: u32, http: &str) -> io::Result<Process> {
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
        Process::on_core(core, &nginx, Stdio::null(), Stdio::null())
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Starts the proxy: `command` makes its command from the paths of its control socket and its table
/// file. Its standard input becomes the listening socket, its standard output the one for TLS.
pub(super) fn start_own(
    command: &dyn Fn(&Path, &Path) -> Command,
    place: &Workplace,
    listener: TcpListener,
    for_tls: Option<TcpListener>,
) -> io::Result<Process> {
    let command = command(&place.join("control"), &place.join("table.json"));
    let socket = |listener| Stdio::from(OwnedFd::from(listener));
    let stdout = for_tls.map_or_else(Stdio::null, socket);
    let process = Process::on_core(0, &command, socket(listener), stdout)?;
    let deadline = Instant::now() + START_WITHIN;
    while UnixStream::connect(place.join("control")).is_err() {
        if Instant::now() > deadline {
            return Err(io::Error::other("the proxy's control socket doesn't answer"));
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(process)
}

/// Gives the proxy its only route, in the words of its control socket.
pub(super) fn route_to(control: &Path, route: &str) -> io::Result<()> {
    let table = format!("{{\"do\":\"set\",\"table\":{{\"version\":1,\"routes\":[{route}]}}}}");
    tell(control, &table, "{\"ok\":\"set\"}")
}

/// Says something to the proxy's control socket, which has to answer this.
pub(super) fn tell(control: &Path, request: &str, expected: &str) -> io::Result<()> {
    let mut stream = BufReader::new(UnixStream::connect(control)?);
    writeln!(stream.get_mut(), "{request}")?;
    let mut answer = String::new();
    stream.read_line(&mut answer)?;
    if answer.trim() == expected { Ok(()) } else { Err(io::Error::other(answer)) }
}

pub(super) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

pub(super) fn wait_for_answer(port: u16, file: &str) -> io::Result<()> {
    let deadline = Instant::now() + START_WITHIN;
    loop {
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
            stream.set_read_timeout(Some(START_WITHIN))?;
            write!(stream, "GET /{file} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
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

/// The median samples of both; they take turns at going first.
pub(super) fn measure(
    load: &Load,
    theirs: (&Process, u16),
    ours: (&Process, u16),
) -> io::Result<(Sample, Sample)> {
    let mut samples = (vec![], vec![]);
    for round in 0..ROUNDS {
        if round % 2 == 0 {
            samples.0.push(sample(load, theirs.0, theirs.1)?);
            samples.1.push(sample(load, ours.0, ours.1)?);
        } else {
            samples.1.push(sample(load, ours.0, ours.1)?);
            samples.0.push(sample(load, theirs.0, theirs.1)?);
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

fn sample(load: &Load, process: &Process, port: u16) -> io::Result<Sample> {
    let name = format!("onward-bench-load-{}.log", std::process::id());
    let log = std::env::temp_dir().join(name);
    let before = process.processor_seconds()?;
    let client = pinned(1, &load.command(port, SECONDS, &log))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    thread::sleep(Duration::from_secs(u64::from(SECONDS) / 2));
    let megabytes = process.resident_megabytes();
    let output = client.wait_with_output()?;
    let used = process.processor_seconds()? - before;
    let counted = load.counted(&String::from_utf8_lossy(&output.stdout), &log);
    let _ = fs::remove_file(&log);
    let counted = counted?;
    Ok(Sample {
        micros: used * 1e6 / counted.requests,
        per_second: counted.requests / f64::from(SECONDS),
        megabytes,
        failures: counted.failures,
        latency: counted.latency,
    })
}

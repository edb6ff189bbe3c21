//! The proxy beside nginx: processor time per request and memory, in one run.
//!
//! The backend is an nginx with files, on the core of the load. Both proxies keep connections to it,
//! set the same forwarding headers and write no log.

use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use super::beside::{Sample, Workplace, free_port, measure, route_to, start_own, wait_for_answer};
use super::clients::{Load, need};

/// Sizes of the two answers.
const SMALL: usize = 104;
const LARGE: usize = 100 * 1024;
/// Most memory at 1,000 connections, and idle.
const MOST_MB_BUSY: f64 = 32.0;
const MOST_MB_IDLE: f64 = 10.0;

/// One row of the table.
struct Case {
    name: &'static str,
    load: Load,
    /// Most processor time a request, as a multiple of nginx's.
    limit: f64,
}

const CASES: [Case; 3] = [
    Case { name: "64 connections, 104 bytes", load: Load::plain("small", 64), limit: 1.05 },
    Case { name: "1,000 connections, 104 bytes", load: Load::plain("small", 1_000), limit: 1.0 },
    Case { name: "64 connections, 100 KiB", load: Load::plain("large", 64), limit: 0.9 },
];

/// Measures and prints the table; what is returned are the misses, empty when all is well.
///
/// `command` makes the command of the proxy from the paths of its control socket and its table file.
/// Its standard input becomes the listening socket.
pub fn run(command: &dyn Fn(&Path, &Path) -> Command) -> io::Result<Vec<String>> {
    need(&[("nginx", "nginx"), ("wrk", "wrk")])?;
    let place = Workplace::new(&[("small", SMALL), ("large", LARGE)])?;
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
    let own = start_own(command, &place, listener, None)?;
    let route = format!(
        "{{\"name\":\"bench\",\"release\":1,\"instances\":[{{\"id\":\"backend\",\
         \"addr\":\"127.0.0.1:{backend_port}\"}}]}}"
    );
    route_to(&place.join("control"), &route)?;
    for port in [backend_port, yardstick_port, own_port] {
        wait_for_answer(port, "small")?;
    }
    let idle = own.resident_megabytes();
    let mut misses = vec![];
    println!(
        "{:<30} {:>12} {:>12} {:>7} {:>10}",
        "proxy", "nginx µs", "onward µs", "ratio", "limit"
    );
    for case in &CASES {
        let (theirs, ours) = measure(&case.load, (&yardstick, yardstick_port), (&own, own_port))?;
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
    if case.load.connections() >= 1_000 && ours.megabytes > MOST_MB_BUSY {
        misses.push(format!(
            "{}: {:.1} MB, the limit is {MOST_MB_BUSY} MB",
            case.name, ours.megabytes
        ));
    }
}

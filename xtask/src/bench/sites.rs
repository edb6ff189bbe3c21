//! Static files served by onward beside nginx: requests for each second of processor time.
//!
//! nginx is as Debian ships it in what matters here: `sendfile` on, no log. Neither compresses: the
//! load does not say that it takes compressed answers.

use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use super::beside::{Sample, Workplace, free_port, measure, route_to, start_own, wait_for_answer};
use super::clients::{Load, need};

/// One row of the table.
struct Case {
    name: &'static str,
    load: Load,
    /// Fewest requests for each second of processor time, as a multiple of nginx's.
    limit: Option<f64>,
}

const FILES: [(&str, usize); 3] =
    [("small.txt", 1 << 10), ("page.txt", 10 << 10), ("large.txt", 1 << 20)];

const CASES: [Case; 4] = [
    Case { name: "64 connections, 10 KiB", load: Load::plain("page.txt", 64), limit: Some(0.9) },
    Case { name: "64 connections, 1 KiB", load: Load::plain("small.txt", 64), limit: None },
    Case { name: "1,000 connections, 10 KiB", load: Load::plain("page.txt", 1_000), limit: None },
    Case { name: "64 connections, 1 MiB", load: Load::plain("large.txt", 64), limit: None },
];

/// Measures and prints the table; what is returned are the misses, empty when all is well.
pub fn run(command: &dyn Fn(&Path, &Path) -> Command) -> io::Result<Vec<String>> {
    need(&[("nginx", "nginx"), ("wrk", "wrk")])?;
    let place = Workplace::new(&FILES)?;
    let root = place.join("files").display().to_string();
    let port = free_port()?;
    let http = format!(
        "include /etc/nginx/mime.types; sendfile on; tcp_nopush on; \
         server {{ listen 127.0.0.1:{port} backlog=4096; root {root}; }}"
    );
    let yardstick = place.nginx("yardstick", 0, &http)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let own_port = listener.local_addr()?.port();
    let own = start_own(command, &place, listener, None)?;
    let route = format!(
        "{{\"name\":\"bench\",\"release\":1,\"instances\":[],\
         \"site\":{{\"root\":\"{root}\",\"identity\":\"bench\"}}}}"
    );
    route_to(&place.join("control"), &route)?;
    for port in [port, own_port] {
        wait_for_answer(port, "page.txt")?;
    }
    let mut misses = vec![];
    println!(
        "{:<28} {:>14} {:>14} {:>7} {:>7}",
        "requests per CPU second", "nginx", "onward", "ratio", "bound"
    );
    for case in &CASES {
        let (theirs, ours) = measure(&case.load, (&yardstick, port), (&own, own_port))?;
        judge(case, theirs, ours, &mut misses);
    }
    Ok(misses)
}

fn judge(case: &Case, theirs: Sample, ours: Sample, misses: &mut Vec<String>) {
    let per_processor = |sample: Sample| 1e6 / sample.micros;
    let ratio = per_processor(ours) / per_processor(theirs);
    println!(
        "{:<28} {:>14.0} {:>14.0} {ratio:>7.2} {:>7}   {:.0} against {:.0} a second, {:.1} against {:.1} MB",
        case.name,
        per_processor(theirs),
        per_processor(ours),
        case.limit.map_or_else(|| "-".to_owned(), |limit| format!("{limit:.2}")),
        ours.per_second,
        theirs.per_second,
        ours.megabytes,
        theirs.megabytes,
    );
    if let Some(limit) = case.limit.filter(|limit| ratio < *limit) {
        misses.push(format!("{}: {ratio:.2} × nginx, the bound is {limit}", case.name));
    }
    if ours.failures > 0 {
        misses.push(format!("{}: {} requests failed", case.name, ours.failures));
    }
}

//! A page that counts its visits and remembers its deploys.

mod clock;
mod file_log;
mod history;
mod http;
mod log;
mod page;
mod redis_log;
mod visits;

use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::{env, process};

use file_log::FileLog;
use history::Release;
use log::Log;
use redis_log::RedisLog;
use visits::Visits;

/// Where the log is: a shared directory when deployed, a plain one when run by hand.
const STORAGE: &str = "storage";

fn main() {
    if let Err(error) = run() {
        eprintln!("visits: {error}");
        process::exit(1);
    }
}

fn run() -> io::Result<()> {
    let variable = |name: &str| env::var(name).ok();
    let port = match variable("PORT") {
        Some(text) => text.parse().map_err(|_| about("PORT is not a port", &text))?,
        None => 3000,
    };
    let number = match variable("ONWARD_RELEASE") {
        Some(text) => text.parse().map_err(|_| about("ONWARD_RELEASE is not a number", &text))?,
        None => 0,
    };
    let label = variable("ONWARD_LABEL").unwrap_or_else(|| "not deployed".to_owned());
    let release = Release::new(number, &label);

    let visits = Arc::new(Visits::open(log(variable("REDIS_URL"))?, release, host())?);
    let listener = TcpListener::bind(("127.0.0.1", port))
        .map_err(|error| about(&format!("cannot listen on port {port}"), &error))?;
    println!("visits: release {number} ({label}) listens on 127.0.0.1:{port}");
    visits.started(clock::now())?;
    http::serve(
        &listener,
        Arc::new(move |request: &http::Request| visits.answer(request, clock::now())),
    )
}

/// One server keeps the log in a file; several share a Redis.
fn log(redis: Option<String>) -> io::Result<Box<dyn Log>> {
    match redis.filter(|url| !url.is_empty()) {
        Some(url) => {
            let log = RedisLog::open(&url)
                .map_err(|error| about("cannot use the Redis of REDIS_URL", &error))?;
            Ok(Box::new(log))
        }
        None => {
            let log = FileLog::open(Path::new(STORAGE))
                .map_err(|error| about(&format!("cannot open the log in {STORAGE}"), &error))?;
            Ok(Box::new(log))
        }
    }
}

fn about(what: &str, detail: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(format!("{what}: {detail}"))
}

/// The name of this machine, as the system tells it.
fn host() -> String {
    ["/proc/sys/kernel/hostname", "/etc/hostname"]
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok())
        .map(|name| name.trim().to_owned())
        .or_else(|| env::var("HOSTNAME").ok())
        .unwrap_or_else(|| "unknown".to_owned())
}

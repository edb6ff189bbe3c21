//! TLS and HTTP/2 beside nginx: processor time for each request, requests a second and latency.
//!
//! Both have the same certificate and the same backend, leave the choice of the cipher to the client,
//! and are asked in turn; that they then agree on the same is checked before anything is measured.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use super::beside::{
    Sample, Workplace, free_port, measure, route_to, start_own, tell, wait_for_answer,
};
use super::clients::{Client, HOST, Load, need};

/// Sizes of the two answers.
const SMALL: usize = 104;
const LARGE: usize = 100 * 1024;
/// What this needs, and the Debian packages that have it.
const PROGRAMS: [(&str, &str); 4] =
    [("nginx", "nginx"), ("wrk", "wrk"), ("h2load", "nghttp2-client"), ("openssl", "openssl")];

const fn kept(file: &'static str, connections: u32) -> Load {
    Load { file, client: Client::Kept { scheme: "https", connections } }
}

const fn http2(file: &'static str, connections: u32, at_once: u32) -> Load {
    Load { file, client: Client::Http2 { connections, at_once } }
}

const fn one_by_one(at_once: u32, resumes: bool) -> Load {
    Load { file: "small", client: Client::OneByOne { at_once, resumes } }
}

/// The rows of the table.
const CASES: [(&str, Load); 9] = [
    ("HTTP/1.1, 64 connections, 104 bytes", kept("small", 64)),
    ("HTTP/1.1, 1,000 connections, 104 bytes", kept("small", 1_000)),
    ("HTTP/1.1, 64 connections, 100 KiB", kept("large", 64)),
    (
        "a new connection for each, 16 at once",
        Load { file: "small", client: Client::New { at_once: 16 } },
    ),
    ("the same, 4 at once, by s_time", one_by_one(4, false)),
    ("resumed, 4 at once, by s_time", one_by_one(4, true)),
    ("HTTP/2, 64 connections of 1, 104 bytes", http2("small", 64, 1)),
    ("HTTP/2, 8 connections of 32, 104 bytes", http2("small", 8, 32)),
    ("HTTP/2, 8 connections of 8, 100 KiB", http2("large", 8, 8)),
];

/// Measures and prints the table; what is returned are the misses, empty when all is well.
///
/// `command` makes the command of the proxy from the paths of its control socket and its table file.
/// Its standard input becomes the listening socket, its standard output the one for TLS.
pub fn run(command: &dyn Fn(&Path, &Path) -> Command) -> io::Result<Vec<String>> {
    need(&PROGRAMS)?;
    let place = Workplace::new(&[("small", SMALL), ("large", LARGE)])?;
    let (certificate, key) = (place.join("certificate.pem"), place.join("key.pem"));
    make_certificate(&certificate, &key)?;
    let [backend_port, plain_port, yardstick_port] = [free_port()?, free_port()?, free_port()?];
    let root = place.join("files");
    let backend = format!(
        "sendfile on; server {{ listen 127.0.0.1:{backend_port} backlog=4096; root {}; }}",
        root.display()
    );
    let _backend = place.nginx("backend", 1, &backend)?;
    let yardstick = yardstick_http([plain_port, yardstick_port, backend_port], &certificate, &key);
    let yardstick = place.nginx("yardstick", 0, &yardstick)?;

    let [listener, for_tls] =
        [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
    let (own_plain, own_port) = (listener.local_addr()?.port(), for_tls.local_addr()?.port());
    let own = start_own(command, &place, listener, Some(for_tls))?;
    let control = place.join("control");
    let instance = json!({"id": "backend", "addr": format!("127.0.0.1:{backend_port}")});
    route_to(
        &control,
        &json!({"name": "bench", "release": 1, "instances": [instance]}).to_string(),
    )?;
    certify(&control, &certificate, &key)?;
    for port in [backend_port, plain_port, own_plain] {
        wait_for_answer(port, "small")?;
    }
    same_handshake(yardstick_port, own_port)?;

    let mut misses = vec![];
    tell_header();
    for (name, load) in &CASES {
        let (theirs, ours) = measure(load, (&yardstick, yardstick_port), (&own, own_port))?;
        tell_case(name, theirs, ours);
        for (who, failures) in [("nginx", theirs.failures), ("onward", ours.failures)] {
            if failures > 0 {
                misses.push(format!("{name}: {failures} requests to {who} failed"));
            }
        }
    }
    Ok(misses)
}

fn make_certificate(certificate: &Path, key: &Path) -> io::Result<()> {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-nodes", "-days", "2", "-newkey", "ec"])
        .args(["-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", &format!("/CN={HOST}")])
        .args(["-addext", &format!("subjectAltName=DNS:{HOST}")])
        .arg("-keyout")
        .arg(key)
        .arg("-out")
        .arg(certificate)
        .output()?;
    if made.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&made.stderr).into_owned()))
}

fn certify(control: &Path, certificate: &Path, key: &Path) -> io::Result<()> {
    let (chain, key) = (fs::read_to_string(certificate)?, fs::read_to_string(key)?);
    let all = json!([{"names": [HOST], "chain": chain, "key": key}]);
    let request = json!({"do": "certify", "certificates": {"all": all}});
    tell(control, &request.to_string(), "{\"ok\":\"certified\"}")
}

/// nginx as it comes, but with kept connections to the backend and the usual forwarding headers. The
/// ports: without TLS, with it, of the backend.
fn yardstick_http(ports: [u16; 3], certificate: &Path, key: &Path) -> String {
    let [plain, secure, backend] = ports;
    format!(
        "upstream backend {{ server 127.0.0.1:{backend}; keepalive 128; keepalive_requests 100000000; }}\n\
         server {{ listen 127.0.0.1:{plain}; listen 127.0.0.1:{secure} ssl http2 backlog=4096;\n\
         ssl_certificate {}; ssl_certificate_key {}; ssl_protocols TLSv1.2 TLSv1.3;\n\
         location / {{ proxy_pass http://backend;\n\
         proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $http_host;\n\
         proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;\n\
         proxy_set_header X-Forwarded-Host $http_host; }} }}",
        certificate.display(),
        key.display()
    )
}

/// Both agree with a client on the same version, cipher, key exchange and kind of signature.
fn same_handshake(theirs: u16, ours: u16) -> io::Result<()> {
    let (theirs, ours) = (handshake(theirs)?, handshake(ours)?);
    println!("TLS with both: {}", ours.join(", "));
    if theirs == ours {
        return Ok(());
    }
    Err(io::Error::other(format!("nginx agrees on other things: {}", theirs.join(", "))))
}

fn handshake(port: u16) -> io::Result<Vec<String>> {
    let output = Command::new("openssl")
        .args(["s_client", "-brief", "-servername", HOST, "-connect", &format!("{HOST}:{port}")])
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let matters = ["Protocol version", "Ciphersuite", "Signature type", "Server Temp Key"];
    let lines = said.lines().filter(|line| matters.iter().any(|what| line.starts_with(what)));
    let lines: Vec<String> = lines.map(str::to_owned).collect();
    if lines.is_empty() { Err(io::Error::other(said)) } else { Ok(lines) }
}

fn tell_header() {
    println!(
        "{:<40} {:>7} {:>9} {:>10} {:>8} {:>8} {:>7}",
        "tls", "", "CPU s", "requests", "p50", "p99", "memory"
    );
    println!(
        "{:<40} {:>7} {:>9} {:>10} {:>8} {:>8} {:>7}",
        "", "", "per 100k", "a second", "ms", "ms", "MB"
    );
}

fn tell_case(name: &str, theirs: Sample, ours: Sample) {
    for (name, who, sample) in [(name, "nginx", theirs), ("", "onward", ours)] {
        let of = |pick: fn(super::clients::Latency) -> f64| {
            sample.latency.map_or_else(|| "-".to_owned(), |latency| format!("{:.2}", pick(latency)))
        };
        println!(
            "{name:<40} {who:>7} {:>9.2} {:>10.0} {:>8} {:>8} {:>7.1}",
            sample.micros / 10.0,
            sample.per_second,
            of(|latency| latency.p50),
            of(|latency| latency.p99),
            sample.megabytes,
        );
    }
    println!("{:<40} {:>7} {:>9.2}", "", "ratio", ours.micros / theirs.micros);
}

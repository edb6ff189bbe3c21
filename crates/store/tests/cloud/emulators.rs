//! The wire of S3 against moto, that of Azure against Azurite: servers that others wrote.
//!
//! `cargo xtask test` installs both and says where they are; without them these tests are left
//! out, and say so. moto checks conditions and writes in two steps, so only what one writer sees is
//! asserted there.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use onward_core::model::Generation;
use onward_core::ports::StateStore;
use onward_store::state::cloud::CloudStore;
use onward_testkit::contract::state_store;

use super::{app, environment, next, written};

/// How long a server may take to start: it is written in an interpreted language.
const STARTS_WITHIN: Duration = Duration::from_secs(60);
/// The account and key that every emulator of Azure has; they are in its documentation.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
/// What only a store that checks and writes in one step can do.
const RACES: [&str; 3] = [
    "of_many_creates_one_happens",
    "concurrent_writers_lose_no_update",
    "a_reader_never_goes_back",
];

struct Server {
    child: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program(variable: &str) -> Option<String> {
    let found = std::env::var(variable).ok().filter(|path| !path.is_empty());
    if found.is_none() {
        eprintln!("LEFT OUT: {variable} does not say where the server is");
    }
    found
}

/// Starts a server and waits until it takes connections.
fn start(command: impl FnOnce(u16) -> Command) -> Server {
    let free = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = free.local_addr().expect("it is bound").port();
    drop(free);
    let child = command(port).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let server = Server { child: child.expect("the server starts"), port };
    let began = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(began.elapsed() < STARTS_WITHIN, "the server does not listen");
        std::thread::sleep(Duration::from_millis(50));
    }
    server
}

fn variable(name: &str) -> Option<String> {
    let value = match name {
        "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => "testing",
        "AZURE_STORAGE_ACCOUNT_KEY" => KEY,
        _ => return None,
    };
    Some(value.to_owned())
}

fn open(url: &str) -> CloudStore {
    let url = url.parse().expect("a legal URL");
    CloudStore::open_with(&url, &app(), &environment(), &variable).expect("it can be used")
}

fn contract(url: impl Fn(u32) -> String, without: &[&str]) {
    let count = AtomicU32::new(0);
    let make =
        || -> state_store::Made { Box::new(open(&url(count.fetch_add(1, Ordering::Relaxed)))) };
    for (name, part) in state_store::parts() {
        if !without.contains(&name) {
            part(&make);
        }
    }
}

/// The median time of reading and of writing, as a deploy does both.
fn measured(name: &str, store: &CloudStore) {
    let mut last = written(store, 1);
    let (mut reads, mut writes) = (Vec::new(), Vec::new());
    for n in 2..40 {
        let began = Instant::now();
        store.read().expect("readable");
        reads.push(began.elapsed());
        let document = next(&last, &format!("write-{n}"));
        let began = Instant::now();
        let outcome = store.write(Some(Generation(n - 1)), &document);
        writes.push(began.elapsed());
        let onward_core::outcome::Outcome::Done(stored) = outcome else { panic!("{outcome:?}") };
        last = stored;
    }
    reads.sort_unstable();
    writes.sort_unstable();
    let (read, write) = (reads[reads.len() / 2], writes[writes.len() / 2]);
    eprintln!("{name}: a look {read:.1?}, a write {write:.1?} (medians)");
}

#[test]
fn moto_speaks_s3_and_is_understood() {
    let Some(moto) = program("ONWARD_MOTO") else { return };
    let server = start(|port| {
        let mut command = Command::new(moto);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        command
    });
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).expect("it listens");
    let create = "PUT /bucket HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\
                  Authorization: AWS4-HMAC-SHA256 Credential=testing/20261121/us-east-1/s3/aws4_request\r\n\
                  Connection: close\r\n\r\n";
    stream.write_all(create.as_bytes()).expect("it listens");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let endpoint = format!("region=us-east-1&endpoint=http://127.0.0.1:{}", server.port);
    contract(|n| format!("s3://bucket/{n}?{endpoint}"), &RACES);
    measured("moto", &open(&format!("s3://bucket/measured?{endpoint}")));
}

#[test]
fn azurite_speaks_azure_and_is_understood() {
    let Some(azurite) = program("ONWARD_AZURITE") else { return };
    let root = tempfile::tempdir().expect("a temporary directory");
    let server = start(|port| {
        let mut command = Command::new(azurite);
        command.args(["--silent", "--skipApiVersionCheck", "--blobHost", "127.0.0.1"]);
        command.args(["--blobPort", &port.to_string(), "--location"]).arg(root.path());
        command
    });
    let endpoint = format!("http://127.0.0.1:{}/{ACCOUNT}", server.port);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testkit/azure-container.mjs");
    let made = Command::new("node").args([script, &endpoint, ACCOUNT, KEY, "bucket"]).status();
    assert!(made.expect("node runs").success(), "the container is made");
    contract(|n| format!("az://{ACCOUNT}/bucket/{n}?endpoint={endpoint}"), &[]);
    measured("azurite", &open(&format!("az://{ACCOUNT}/bucket/measured?endpoint={endpoint}")));
}

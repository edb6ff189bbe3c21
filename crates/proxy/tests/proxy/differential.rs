//! Two readers, one meaning: whatever the proxy lets through, a strict HTTP server of somebody else
//! (that of Node.js, llhttp) reads as the same number of requests, and refuses none of them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use onward_proxy::{Instance, Route, Table};
use onward_testkit::sim::Rng;

use crate::framing::{LEGAL, REFUSED};
use crate::support::{PATIENCE, Proxy, wait_until};

/// Mutated requests in one run.
const CASES: u64 = 4000;

/// The strict server.
struct Strict {
    node: Child,
    addr: SocketAddr,
    lines: Receiver<String>,
}

impl Strict {
    /// `None` where there is no Node.js.
    fn start() -> Option<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proxy/strict.mjs");
        let mut command = Command::new("node");
        command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut node = command.spawn().ok()?;
        let (sender, lines) = mpsc::channel();
        let out = BufReader::new(node.stdout.take().unwrap());
        thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|l| sender.send(l)));
        let first = lines.recv_timeout(PATIENCE).unwrap();
        let digits: String = first.chars().filter(char::is_ascii_digit).collect();
        let addr = format!("127.0.0.1:{digits}").parse().unwrap();
        Some(Self { node, addr, lines })
    }

    /// What it understood, after everything that was sent before has arrived.
    fn understood(&self) -> (Vec<String>, Vec<String>) {
        let mark =
            ask(self.addr, b"GET /the-mark HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert_eq!(answers(&mark), 1);
        let (mut read, mut refused) = (Vec::new(), Vec::new());
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap();
            match line {
                line if line.contains("/the-mark") => return (read, refused),
                line if line.contains("refused") => refused.push(line),
                line => read.push(line),
            }
        }
    }
}

impl Drop for Strict {
    fn drop(&mut self) {
        let _ = self.node.kill();
        let _ = self.node.wait();
    }
}

/// Everything that is answered to these bytes on one connection.
fn ask(addr: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The other side may close before it has read everything.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    String::from_utf8_lossy(&all).into_owned()
}

fn answers(text: &str) -> usize {
    text.matches("HTTP/1.1 200 ").count() + text.matches("HTTP/1.0 200 ").count()
}

/// A hostile or an odd request, changed in a few places, with another one behind it.
fn mutated(rng: &mut Rng) -> Vec<u8> {
    let all = REFUSED.len() + LEGAL.len();
    let at = usize::try_from(rng.below(all as u64)).unwrap();
    let base = REFUSED.get(at).map_or_else(|| LEGAL[at - REFUSED.len()].0, |own| own.1);
    let mut bytes = base.as_bytes().to_vec();
    for _ in 0..rng.below(4) {
        let at = usize::try_from(rng.below(bytes.len() as u64 + 1)).unwrap();
        let odd = rng.pick(b"\r\n \t:,;05cCxX\x0b\x00\x7f\xff");
        match rng.below(4) {
            0 => bytes.insert(at, odd),
            1 if at < bytes.len() => bytes[at] = odd,
            2 if at < bytes.len() => {
                bytes.remove(at);
            }
            _ => {
                let lines: [&[u8]; 4] = [
                    b"\r\nTransfer-Encoding: chunked",
                    b"\r\nContent-Length: 5",
                    b"\r\nConnection: close, Content-Length",
                    b"\r\nHost: b",
                ];
                let line = rng.pick(&lines);
                let end = bytes.windows(2).position(|two| two == b"\r\n").unwrap_or(at);
                bytes.splice(end..end, line.iter().copied());
            }
        }
    }
    bytes.extend_from_slice(b"GET /behind HTTP/1.1\r\nHost: a\r\n\r\n");
    bytes
}

#[test]
fn what_is_let_through_is_read_the_same_by_another() {
    let Some(strict) = Strict::start() else {
        println!("LEFT OUT: a comparison that needs `node`");
        return;
    };
    let two_meanings: &[u8] =
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    ask(strict.addr, two_meanings);
    let (_, refused) = strict.understood();
    assert_eq!(refused.len(), 1, "the other one is strict, and says so: {refused:?}");

    let proxy = Proxy::start();
    let instances = vec![Instance { id: "shop/local/1/web.0".into(), addr: strict.addr }];
    let route = Route { name: "shop/local".into(), release: 1, instances, ..Route::default() };
    let table = Table { version: 1, routes: vec![route], ..Table::default() };
    proxy.client().set(&table).unwrap();
    let mut rng = Rng::new(20_261_121, 0);
    let mut known = 0;
    for case in 0..CASES {
        let bytes = mutated(&mut rng);
        let told = answers(&ask(proxy.addr, &bytes));
        // A client that has said all it had to say may be gone, for the proxy: what it asked last is
        // then ended at the other one without an answer.
        wait_until("nothing is in flight", || {
            proxy.status().instances.iter().all(|instance| instance.in_flight == 0)
        });
        let (read, refused) = strict.understood();
        let passed = proxy.status().release("shop/local", 1).requests - known;
        known += passed;
        let shown = bytes.escape_ascii();
        // The other one takes only methods that it knows; any token is one to the proxy.
        let (methods, others): (Vec<_>, Vec<_>) =
            refused.iter().partition(|line| line.contains("HPE_INVALID_METHOD"));
        assert!(others.is_empty(), "case {case}: {others:?}: {shown}");
        let understood = read.len() + methods.len();
        assert!(
            understood as u64 <= passed,
            "case {case}: {read:?} {methods:?} of {passed}: {shown}"
        );
        assert!(told <= read.len(), "case {case}: {told} answers, {read:?}: {shown}");
    }
    assert!(known > CASES / 10, "some pass: {known}");
    assert!(proxy.status().refused > CASES / 10, "some do not: {}", proxy.status().refused);
}

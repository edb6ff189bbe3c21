//! Upgraded connections (WebSockets) through the proxy, over a switch.

use crate::world::{World, config, web};
use onward_core::model::ReleaseNumber;
use onward_core::order::Level;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

/// An app that changes to an echo when it is asked to.
pub const ECHO: &str = r#"
import os, socketserver
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            piece = self.rfile.readline()
            if not piece:
                return
            head += piece
        if b"upgrade: echo" not in head.lower():
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            return
        self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        while True:
            line = self.rfile.readline()
            if not line:
                return
            self.wfile.write(os.environ["ONWARD_RELEASE"].encode() + b" " + line)
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
Server(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"#;

/// An upgraded connection through the proxy.
pub struct Echo(BufReader<TcpStream>);

impl Echo {
    pub fn open(world: &World) -> Self {
        let address = world.client().hello().unwrap().address;
        let stream = TcpStream::connect(address.strip_prefix("http://").unwrap()).unwrap();
        stream.set_read_timeout(Some(crate::world::PATIENCE)).unwrap();
        let mut echo = Self(BufReader::new(stream));
        let ask = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
        echo.0.get_mut().write_all(ask.as_bytes()).unwrap();
        assert!(echo.line().unwrap().contains(" 101 "));
        while !echo.line().unwrap().trim().is_empty() {}
        echo
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line).map(|_| line)
    }

    pub fn says(&mut self, text: &str) -> std::io::Result<String> {
        self.0.get_mut().write_all(format!("{text}\n").as_bytes())?;
        self.line()
    }
}

#[test]
fn an_upgraded_connection_lives_on_in_the_old_release_until_it_ends_or_is_cut() {
    let mut world = World::new();
    for number in 1..=3 {
        world.release(number, &[("server.py", ECHO)], config(&[("web", web())]));
    }
    world.serve(1);
    let mut first = Echo::open(&world);
    world.level(1, Level::Staged, false);
    world.level(2, Level::Routed, true);
    let order = world.order();
    world.until(&order, |report| report.routed == Some(ReleaseNumber(2)));
    assert_eq!(first.says("on").unwrap(), "1 on\n");
    drop(first);
    world.until(&order, |report| report.converged && instances_of(report, 1) == 0);

    let mut second = Echo::open(&world);
    world.level(2, Level::Staged, false);
    world.level(3, Level::Routed, true);
    let order = world.order();
    world.until(&order, |report| report.routed == Some(ReleaseNumber(3)));
    assert_eq!(second.says("on").unwrap(), "2 on\n");
    // A release that shall be gone has no time for its connections.
    world.releases.remove(&ReleaseNumber(2));
    world.converge();
    assert!(!matches!(second.says("on"), Ok(line) if !line.is_empty()));
}

pub fn instances_of(report: &onward_core::report::Report, release: u64) -> usize {
    report.releases.get(&ReleaseNumber(release)).map_or(0, |own| own.instances.len())
}

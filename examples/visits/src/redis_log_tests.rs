use std::process::{Child, Command, Stdio};

use super::*;
use crate::clock::Seconds;
use crate::history::Release;

/// A Redis of its own, ended with the test.
struct Redis {
    child: Child,
    port: u16,
}

impl Redis {
    /// None where Redis is not installed, which is said.
    fn start() -> Option<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn();
        let Ok(child) = child else {
            eprintln!("LEFT OUT: redis-server is not installed");
            return None;
        };
        let redis = Self { child, port };
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::yield_now();
        }
        Some(redis)
    }

    fn log(&self) -> RedisLog {
        RedisLog::open(&format!("redis://127.0.0.1:{}/1", self.port)).unwrap()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_url_says_where_and_who() {
    let place = Place::of("redis://:secret@cache.internal:6380/2").unwrap();
    assert_eq!(place.address, "cache.internal:6380");
    assert_eq!((place.user, place.password.as_deref()), (None, Some("secret")));
    assert_eq!(place.database, Some(2));
    assert_eq!(Place::of("redis://10.0.0.5").unwrap().address, "10.0.0.5:6379");
    for wrong in ["http://x", "redis://", "redis://x/y", "redis://user@x", ""] {
        assert_eq!(Place::of(wrong), None, "{wrong}");
    }
}

#[test]
fn answers_are_understood() {
    let mut bytes = &b"*3\r\n$2\r\nhi\r\n:7\r\n$-1\r\n"[..];
    let list = vec![Value::Text(b"hi".to_vec()), Value::Number(7), Value::Nothing];
    assert_eq!(answer(&mut bytes).unwrap(), Value::List(list));
    for wrong in [&b"HTTP/1.1 400\r\n"[..], b"*9999999\r\n", b"$99999999\r\n", b"", b"$5\r\nab"] {
        assert!(answer(&mut &wrong[..]).is_err());
    }
}

#[test]
fn two_instances_see_one_log() {
    let Some(redis) = Redis::start() else { return };
    let (one, two) = (redis.log(), redis.log());
    let started = Event::Started { release: Release::new(1, "first one"), at: Seconds(9) };
    one.append(&started).unwrap();
    two.append(&Event::Visited { release: 1 }).unwrap();
    let (events, position) = two.read(Position::default()).unwrap();
    assert_eq!(events, [started, Event::Visited { release: 1 }]);
    assert_eq!(one.read(position).unwrap(), (Vec::new(), position));
}

#[test]
fn an_older_snapshot_never_replaces_a_newer() {
    let Some(redis) = Redis::start() else { return };
    let log = redis.log();
    assert_eq!(log.snapshot().unwrap(), None);
    for _ in 0..12 {
        log.append(&Event::Visited { release: 1 }).unwrap();
    }
    let at = |position, visits| Snapshot {
        position: Position(position),
        history: History { visits, ..History::default() },
    };
    log.offer(&at(10, 10)).unwrap();
    log.offer(&at(9, 9)).unwrap();
    assert_eq!(log.snapshot().unwrap(), Some(at(10, 10)));
    log.offer(&at(99, 99)).unwrap();
    assert_eq!(log.snapshot().unwrap(), None, "it reaches further than the log");
}

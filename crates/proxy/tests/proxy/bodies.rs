//! Bodies of any size pass in both directions, a piece at a time.

use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use crate::support::{App, Proxy};

fn echoes() -> App {
    App::with("echo", |seen, stream| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", seen.body.len());
        stream.get_mut().write_all(head.as_bytes())?;
        stream.get_mut().write_all(&seen.body)?;
        Ok(true)
    })
}

fn bytes(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[test]
fn bodies_come_back_as_they_went() {
    let proxy = Proxy::start();
    let app = echoes();
    proxy.route(1, 1, &[&app]);
    for length in [0, 1, 100, 8_191, 8_192, 65_535, 65_536, 65_537, 3_000_000] {
        let body = bytes(length);
        let mut wire = proxy.connect();
        let mut writer = wire.stream.get_ref().try_clone().unwrap();
        let sent = body.clone();
        let writing = thread::spawn(move || {
            write!(writer, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", sent.len())
                .unwrap();
            writer.write_all(&sent).unwrap();
            write!(writer, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
                .unwrap();
            for chunk in sent.chunks(10_007) {
                write!(writer, "{:x}\r\n", chunk.len()).unwrap();
                writer.write_all(chunk).unwrap();
                write!(writer, "\r\n").unwrap();
            }
            write!(writer, "0\r\n\r\n").unwrap();
        });
        assert!(wire.answer().unwrap().body == body, "{length} bytes with their length");
        assert!(wire.answer().unwrap().body == body, "{length} bytes in chunks");
        writing.join().unwrap();
    }
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// 200 MB each way, with this whole test in one process: it stays far below.
#[test]
fn memory_does_not_grow_with_the_body() {
    const PIECE: usize = 1 << 20;
    const PIECES: usize = 200;
    let proxy = Proxy::start();
    let app = App::with("pours", |_, stream| {
        write!(stream.get_mut(), "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", PIECE * PIECES)?;
        let piece = vec![7; PIECE];
        for _ in 0..PIECES {
            stream.get_mut().write_all(&piece)?;
        }
        Ok(true)
    });
    proxy.route(1, 1, &[&app]);
    let before = resident_bytes();
    let mut wire = proxy.connect();
    wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let (mut left, mut most) = (PIECE * PIECES, 0);
    let mut piece = vec![0; PIECE];
    while left > 0 {
        let read = wire.stream.read(&mut piece).unwrap();
        assert!(read > 0);
        left -= read.min(left);
        most = most.max(resident_bytes());
    }
    assert!(most < before + 30_000_000, "{before} grew to {most}");
}

#[test]
fn an_upload_waits_while_the_app_does_not_read() {
    const BODY: usize = 300_000_000;
    let proxy = Proxy::start();
    let deaf = proxy.route_by_hand(0);
    let before = resident_bytes();
    let mut wire = proxy.connect();
    wire.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {BODY}\r\n\r\n"));
    let (_unread, _) = deaf.accept().unwrap();
    let stream = wire.stream.get_mut();
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let piece = vec![1; 1 << 16];
    let mut sent = 0;
    while let Ok(written) = stream.write(&piece) {
        sent += written;
        assert!(sent < BODY / 2, "the proxy swallowed {sent} bytes that nobody reads");
    }
    assert!(resident_bytes() < before + 10_000_000);
}

#[test]
fn expect_continue_is_answered_when_the_body_is_wanted() {
    let proxy = Proxy::start();
    let app = echoes();
    proxy.route(1, 1, &[&app]);
    let mut wire = proxy.connect();
    wire.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(wire.answer().unwrap().status, 100);
    wire.send("hello");
    assert_eq!(wire.answer().unwrap().text(), "hello");
    assert_eq!(app.seen()[0].header("expect"), None);
}

#[test]
fn head_and_empty_answers_keep_the_connection() {
    let proxy = Proxy::start();
    let app = App::with("app", |seen, stream| {
        let answer = match seen.path() {
            "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
            "/304" => "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n",
            _ => "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n",
        };
        stream.get_mut().write_all(answer.as_bytes())?;
        Ok(true)
    });
    proxy.route(1, 1, &[&app]);
    let mut wire = proxy.connect();
    for _ in 0..3 {
        wire.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = wire.answer_to("HEAD").unwrap();
        assert_eq!((answer.status, answer.header("content-length")), (200, Some("1234")));
        assert_eq!(wire.get("/204").status, 204);
        assert_eq!(wire.get("/304").header("etag"), Some("\"a\""));
    }
    assert_eq!(app.connections.load(std::sync::atomic::Ordering::SeqCst), 1);
    assert_eq!(proxy.status().release("shop/local", 1).requests, 9);
}

#[test]
fn an_answer_cut_by_the_app_is_cut_for_the_client() {
    let proxy = Proxy::start();
    let app = App::with("app", |seen, stream| {
        let answer: &[u8] = match seen.path() {
            "/length" => b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
            "/chunked" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
            _ => b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
        };
        stream.get_mut().write_all(answer)?;
        stream.get_mut().shutdown(std::net::Shutdown::Both)?;
        Ok(false)
    });
    proxy.route(1, 1, &[&app]);
    for path in ["/length", "/chunked"] {
        let mut wire = proxy.connect();
        wire.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(wire.answer().is_err(), "{path}");
    }
    assert_eq!(proxy.status().release("shop/local", 1).lost, 2);
    assert_eq!(proxy.get("/end").text(), "until the end");
    assert_eq!(proxy.status().release("shop/local", 1).lost, 2);
}

//! What apps answer: odd but legal answers pass, and none can pass for another one's.

use std::io::{Read, Write};
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Duration;

use crate::support::{App, Proxy, read_to};

/// An app that writes these bytes and keeps the connection.
fn says(bytes: &'static [u8]) -> App {
    App::with("app", |_, stream| {
        stream.get_mut().write_all(bytes)?;
        Ok(true)
    })
}

/// Odd but legal: bytes, and the body that the client must see.
const LEGAL: &[(&[u8], &str)] = &[
    (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody", "body"),
    (b"HTTP/1.1 200\r\nContent-Length: 4\r\n\r\nbody", "body"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nbody", "body"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n4  \r\nbody\r\n000;x\r\n\r\n", "body"),
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
        "body",
    ),
    (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody",
        "body",
    ),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""),
];

#[test]
fn odd_but_legal_answers_pass() {
    let proxy = Proxy::start();
    for (version, (bytes, body)) in (1..).zip(LEGAL) {
        let app = says(bytes);
        proxy.route(version, version, &[&app]);
        let mut wire = proxy.connect();
        for _ in 0..3 {
            let answer = wire.get("/");
            assert_eq!((answer.status, answer.text().as_str()), (200, *body), "{version}");
            assert!(answer.header("link").is_none());
            assert!(
                answer.header("transfer-encoding").is_none()
                    || answer.header("content-length").is_none()
            );
        }
        assert_eq!(app.connections.load(SeqCst), 1, "the connection is kept: {version}");
    }
}

#[test]
fn the_same_in_single_bytes() {
    let proxy = Proxy::start();
    for (version, (bytes, body)) in (1..).zip(LEGAL) {
        let app = App::with("app", |_, stream| {
            for byte in *bytes {
                stream.get_mut().write_all(&[*byte])?;
                thread::yield_now();
            }
            Ok(true)
        });
        proxy.route(version, version, &[&app]);
        let answer = proxy.get("/");
        assert_eq!((answer.status, answer.text().as_str()), (200, *body), "{version}");
    }
}

#[test]
fn what_can_be_read_in_two_ways_is_no_answer() {
    let proxy = Proxy::start();
    let bad: [&[u8]; 6] = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbody",
        b"HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\nbody",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nbody",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nSpace : x\r\n\r\n",
    ];
    for (version, bytes) in (1..).zip(bad) {
        let app = says(bytes);
        proxy.route(version, version, &[&app]);
        assert_eq!(proxy.get("/").status, 502, "{}", bytes.escape_ascii());
        assert_eq!(app.seen().len(), 1, "such a request is not repeated");
    }
    let endless = App::with("endless", |_, stream| {
        let head = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "a".repeat(70_000));
        stream.get_mut().write_all(head.as_bytes())?;
        Ok(true)
    });
    proxy.route(99, 99, &[&endless]);
    assert_eq!(proxy.get("/").status, 502);
}

/// An answer too many must not become the answer to the next request, which may be another's.
#[test]
fn what_an_app_says_unasked_reaches_nobody() {
    let proxy = Proxy::start();
    let app = App::with("app", |seen, stream| {
        let text = seen.path();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
        let more = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray";
        stream.get_mut().write_all(format!("{head}{more}").as_bytes())?;
        Ok(true)
    });
    proxy.route(1, 1, &[&app]);
    let mut wire = proxy.connect();
    for number in 0..10 {
        let path = format!("/{number}");
        assert_eq!(wire.get(&path).text(), path);
    }
    assert_eq!(app.connections.load(SeqCst), 10, "no such connection is used again");
    let late = App::with("late", |seen, stream| {
        let text = seen.path();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
        stream.get_mut().write_all(head.as_bytes())?;
        thread::sleep(Duration::from_millis(20));
        stream.get_mut().write_all(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")?;
        Ok(false)
    });
    proxy.route(2, 2, &[&late]);
    for number in 0..5 {
        let path = format!("/{number}");
        assert_eq!(wire.get(&path).text(), path);
        thread::sleep(Duration::from_millis(40));
    }
    assert_eq!(proxy.status().release("shop/local", 2).lost, 0);
}

#[test]
fn an_early_answer_passes_and_its_connection_is_not_used_again() {
    let proxy = Proxy::start();
    let listener = proxy.route_by_hand(0);
    let app = thread::spawn(move || {
        let (mut first, _) = listener.accept().unwrap();
        let mut some = [0; 1_000];
        assert!(first.read(&mut some).unwrap() > 0);
        first.write_all(b"HTTP/1.1 413 Too Much\r\nContent-Length: 2\r\n\r\nno").unwrap();
        let (mut second, _) = listener.accept().unwrap();
        assert!(second.read(&mut some).unwrap() > 0);
        second.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes").unwrap();
    });
    let mut wire = proxy.connect();
    wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nonly the beginning");
    let answer = wire.answer().unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (413, "no"));
    assert_eq!(proxy.get("/").text(), "yes");
    app.join().unwrap();
}

#[test]
fn announced_trailers_pass_in_both_directions() {
    let proxy = Proxy::start();
    let listener = proxy.route_by_hand(0);
    let app = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let seen = read_to(&mut stream, &["x-sum: 1\r\n\r\n"]);
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
                      4\r\nbody\r\n0\r\nX-Sum: 2\r\nX-Other: 3\r\n\r\n";
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(seen).unwrap()
    });
    let mut wire = proxy.connect();
    wire.send(
        "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE, close\r\n\
         Trailer: X-Sum, Host, X_Forwarded_For, Forwarded, Onward-Hop\r\n\
         Transfer-Encoding: chunked\r\n\r\n\
         4\r\nbody\r\n0\r\nHost: evil\r\nX_Forwarded_For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n\
         Onward-Hop: guessed\r\nX-Sum: 1\r\nX-Other: 3\r\n\r\n",
    );
    let answer = String::from_utf8(wire.rest()).unwrap();
    let seen = app.join().unwrap();
    assert!(seen.ends_with("\r\n\r\n4\r\nbody\r\n0\r\nx-sum: 1\r\n\r\n"), "{seen}");
    assert!(answer.ends_with("\r\n\r\n4\r\nbody\r\n0\r\nx-sum: 2\r\n\r\n"), "{answer}");
}

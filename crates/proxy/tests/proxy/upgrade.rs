//! Upgraded connections: nothing before the 101, alive across a switch, gone after `cut`.

use std::io::{Read, Write};
use std::thread;

use crate::support::{App, Proxy, Wire, read_to, wait_until};

/// A request for a WebSocket.
pub const ASK: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n";

/// Agrees to every upgrade and sends back what it gets.
pub fn echo(id: &str) -> App {
    App::with(id, |seen, stream| {
        if seen.header("upgrade").is_none() {
            stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplain")?;
            return Ok(true);
        }
        stream.get_mut().write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi",
        )?;
        let mut piece = [0; 1024];
        loop {
            let read = stream.read(&mut piece)?;
            if read == 0 {
                return Ok(false);
            }
            stream.get_mut().write_all(&piece[..read])?;
        }
    })
}

fn expect(wire: &mut Wire, text: &str) {
    let mut got = vec![0; text.len()];
    wire.stream.read_exact(&mut got).unwrap();
    assert_eq!(String::from_utf8_lossy(&got), text);
}

#[test]
fn lives_across_a_switch_until_it_is_cut() {
    let proxy = Proxy::start();
    let (old, new) = (echo("old"), App::start("new"));
    proxy.route(1, 1, &[&old]);
    let mut wire = proxy.connect();
    wire.send(ASK);
    let answer = wire.answer().unwrap();
    assert_eq!(answer.status, 101);
    assert_eq!(answer.header("upgrade"), Some("websocket"));
    expect(&mut wire, "hi");
    assert_eq!(old.seen()[0].header("connection"), Some("upgrade"));
    assert_eq!(old.seen()[0].header("upgrade"), Some("websocket"));

    proxy.route(2, 2, &[&new]);
    assert_eq!(proxy.get("/x").text(), "new /x");
    wire.send("still here");
    expect(&mut wire, "still here");
    let status = proxy.status();
    let instance = status.instance("old").unwrap();
    assert_eq!((instance.in_table, instance.in_flight, instance.upgraded), (false, 0, 1));
    assert_eq!(proxy.status().release("shop/local", 1).requests, 1);

    proxy.client().cut("old").unwrap();
    assert!(wire.rest().is_empty());
    wait_until("it is gone", || proxy.status().instance("old").is_none());
}

#[test]
fn nothing_passes_before_the_instance_agrees() {
    let proxy = Proxy::start();
    let refusing = App::start("refusing");
    proxy.route(1, 1, &[&refusing]);
    let mut wire = proxy.connect();
    wire.send(format!(
        "{ASK}GET /smuggled HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n"
    ));
    assert_eq!(wire.answer().unwrap().status, 200);
    // The bytes behind it are a request like any other, judged and rewritten like one.
    assert_eq!(wire.answer().unwrap().text(), "refusing /smuggled");
    assert_eq!(refusing.seen()[1].header("x-forwarded-for"), Some("127.0.0.1"));
}

#[test]
fn bytes_sent_ahead_arrive_after_the_101() {
    let proxy = Proxy::start();
    let app = echo("app");
    proxy.route(1, 1, &[&app]);
    let mut wire = proxy.connect();
    wire.send(format!("{ASK}\x01early"));
    assert_eq!(wire.answer().unwrap().status, 101);
    expect(&mut wire, "hi\x01early");
}

#[test]
fn clear_text_http2_is_no_upgrade() {
    let proxy = Proxy::start();
    let app = echo("app");
    proxy.route(1, 1, &[&app]);
    let mut wire = proxy.connect();
    for protocol in ["h2c", "H2C", "websocket, h2c", "x,h2c/1", "websocket\r\nUpgrade: h2c"] {
        wire.send(format!(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n\
             Upgrade: {protocol}\r\nHTTP2-Settings: x\r\n\r\n"
        ));
        assert_eq!(wire.answer().unwrap().text(), "plain", "{protocol}");
    }
    assert_eq!(app.seen()[0].header("http2-settings"), None);
    assert_eq!(wire.get("/next").text(), "plain");
    wire.send(ASK);
    assert_eq!(wire.answer().unwrap().status, 101, "a control");
}

#[test]
fn an_upgrade_nobody_asked_for_is_lost() {
    let proxy = Proxy::start();
    let app = App::with("app", |_, stream| {
        stream.get_mut().write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
        )?;
        Ok(true)
    });
    proxy.route(1, 1, &[&app]);
    assert_eq!(proxy.get("/").status, 502);
    assert_eq!(proxy.status().release("shop/local", 1).lost, 1);
}

/// What follows would be read as the rest of the request by the one, as something new by the other.
#[test]
fn nobody_changes_the_protocol_in_the_middle_of_a_request() {
    let proxy = Proxy::start();
    let listener = proxy.route_by_hand(0);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            read_to(&mut stream, &["whole", "half"]);
            let agreed = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n";
            stream.write_all(agreed).unwrap();
            let _ = stream.read(&mut [0]);
        }
    });
    for (body, status) in [("whole", 101), ("half", 502)] {
        let mut wire = proxy.connect();
        wire.send(format!(
            "POST /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\
             Content-Length: 5\r\n\r\n{body}"
        ));
        assert_eq!(wire.answer().unwrap().status, status, "{body}");
    }
}

//! A proxy that ends, and another that takes over its socket: nobody is refused or cut.

use std::io::Write;
use std::net::TcpListener;
use std::sync::mpsc;

use onward_proxy::Limits;

use crate::load::Load;
use crate::support::{App, Proxy, table, wait_until};

#[test]
fn another_proxy_on_the_same_socket_takes_over() {
    let app = App::start("app");
    let first = Proxy::start();
    first.route(1, 1, &[&app]);
    let load = Load::start(first.addr, 8);
    load.wait_for(200);

    let held = TcpListener::from(first.client().listener().unwrap());
    assert_eq!(held.local_addr().unwrap(), first.addr);
    let directory = tempfile::tempdir().unwrap();
    std::fs::copy(&first.table_file, directory.path().join("table.json")).unwrap();
    let second = Proxy::on(held, directory, Limits::default(), 2);
    load.wait_for(100);
    drop(first.stop());
    load.wait_for(200);
    let counted = load.stop();
    assert_eq!((counted.broken, counted.server_errors), (0, 0), "{counted:?}");
    assert!(second.status().release("shop/local", 1).requests >= 200);
}

/// The control of the test above: without anybody who holds the socket, clients notice.
#[test]
fn without_a_holder_clients_notice() {
    let app = App::start("app");
    let only = Proxy::start();
    only.route(1, 1, &[&app]);
    let load = Load::start(only.addr, 8);
    load.wait_for(200);
    drop(only.stop());
    wait_until("somebody failed", || std::net::TcpStream::connect("127.0.0.1:1").is_err());
    let counted = load.stop();
    assert!(counted.broken > 0, "{counted:?}");
}

#[test]
fn what_is_in_flight_is_finished_first() {
    let (go, gate) = mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let app = App::with("app", move |_, stream| {
        gate.lock().unwrap().recv().unwrap();
        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")?;
        Ok(true)
    });
    let proxy = Proxy::start();
    proxy.client().set(&table(1, 1, &[&app], 0)).unwrap();
    let mut wire = proxy.connect();
    wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("the app has it", || !app.seen().is_empty());
    proxy.ask_to_stop();
    wait_until("the proxy drains", || proxy.status().draining);
    go.send(()).unwrap();
    let answer = wire.answer().unwrap();
    assert_eq!(answer.text(), "done");
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(wire.rest().is_empty());
}

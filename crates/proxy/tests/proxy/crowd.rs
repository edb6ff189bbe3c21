//! One client that opens connections without end meets a limit; others, and balancers, don't.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};

use onward_proxy::{Fleet, Instance, Limits};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use crate::support::{App, Proxy, Wire, table, wait_until};
use crate::upgrade;

/// Two connections for each client, wherever it is: tests have private addresses alone.
pub fn of_two() -> Limits {
    Limits { connections_per_client: 2, counts: |_| true, ..Limits::default() }
}

/// Whether the proxy hangs up instead of answering.
pub fn is_turned_away(wire: &mut Wire) -> bool {
    matches!(wire.stream.get_mut().read(&mut [0]), Ok(0) | Err(_))
}

fn start() -> (Proxy, App) {
    let (proxy, app) = (Proxy::with(of_two()), App::start("app"));
    proxy.route(1, 1, &[&app]);
    (proxy, app)
}

fn served(proxy: &Proxy) -> Wire {
    let mut wire = proxy.connect();
    assert_eq!(wire.get("/").status, 200);
    wire
}

/// A connection of another client of this machine.
fn from_another(proxy: &Proxy) -> Wire {
    let other: SocketAddr = "127.0.0.2:0".parse().unwrap();
    let own = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&own, &other).unwrap();
    connect(&own, &proxy.addr).unwrap();
    Wire::new(TcpStream::from(own))
}

#[test]
fn who_has_too_many_is_turned_away_and_nobody_else_is() {
    let (proxy, app) = start();
    let mut open = vec![served(&proxy), served(&proxy)];
    for _ in 0..3 {
        assert!(is_turned_away(&mut proxy.connect()));
    }
    assert_eq!(from_another(&proxy).get("/").status, 200);
    open.iter_mut().for_each(|wire| assert_eq!(wire.get("/").status, 200));
    let status = proxy.status();
    assert_eq!(status.turned_away, 3);
    assert!(status.metrics().contains("\nonward_connections_refused_total 3\n"));
    open.pop();
    wait_until("there is room again", || proxy.status().connections == 1);
    open.push(served(&proxy));
    assert!(is_turned_away(&mut proxy.connect()));
    assert_eq!(app.seen().len(), 6);
}

#[test]
fn upgraded_connections_count_while_they_are_open() {
    let proxy = Proxy::with(of_two());
    let echo = upgrade::echo("echo");
    proxy.route(1, 1, &[&echo]);
    let mut open = [proxy.connect(), proxy.connect()];
    for wire in &mut open {
        wire.send(upgrade::ASK);
        assert_eq!(wire.answer().unwrap().status, 101);
    }
    assert!(is_turned_away(&mut proxy.connect()));
    drop(open);
    wait_until("they are gone", || proxy.status().connections == 0);
    served(&proxy);
}

#[test]
fn by_default_private_addresses_have_no_limit() {
    let proxy = Proxy::with(Limits { counts: Limits::default().counts, ..of_two() });
    let app = App::start("app");
    proxy.route(1, 1, &[&app]);
    let open: Vec<_> = (0..6).map(|_| served(&proxy)).collect();
    assert_eq!((open.len() as u64, proxy.status().turned_away), (6, 0));
}

#[test]
fn a_balancer_has_no_limit_and_a_client_that_guesses_has() {
    let (front, back) = (Proxy::start(), Proxy::with(of_two()));
    let app = App::silent("app");
    let mut to_peer = table(1, 1, &[], 10_000);
    let peer = Instance { id: "shop/local/@peer".into(), addr: back.addr };
    to_peer.routes[0].fleet = Some(Fleet { key: "0123456789abcdef".into(), peers: vec![peer] });
    let mut of_peer = table(1, 1, &[&app], 10_000);
    of_peer.routes[0].fleet = Some(Fleet { key: "0123456789abcdef".into(), peers: vec![] });
    front.client().set(&to_peer).unwrap();
    back.client().set(&of_peer).unwrap();
    let mut open = vec![];
    let mut ask = |proxy: &Proxy, key: &str| {
        let mut wire = proxy.connect();
        wire.send(format!("GET / HTTP/1.1\r\nHost: a\r\nOnward-Hop: {key}\r\n\r\n"));
        open.push(wire);
        let asked = open.len();
        wait_until("the app has it", || app.seen().len() == asked);
    };
    (0..6).for_each(|_| ask(&front, ""));
    (0..2).for_each(|_| ask(&back, "0123456789abcdee"));
    assert!(is_turned_away(&mut back.connect()));
    assert_eq!((back.status().turned_away, back.status().connections), (1, 8));
}

//! One proxy takes over from another beside it: nobody is refused or cut, everything is counted
//! once, and what the old one still has follows the table.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;

use onward_proxy::{Client, Config, Limits, Stage, Status, run_after};

use crate::load::Load;
use crate::support::{App, Proxy, wait_until};

/// The successor of a proxy, on the same socket and the same table file.
pub struct Successor(PathBuf);

impl Successor {
    pub fn of(first: &Proxy, name: &str) -> Self {
        let control = first.directory.path().join(name);
        let config = Config {
            listener: first.client().listener().unwrap().into(),
            https: Some(first.client().https_listener().unwrap().into()),
            control: control.clone(),
            table_file: first.table_file.clone(),
            workers: 2,
            limits: Limits::default(),
            access_log: None,
        };
        let predecessor = first.control.clone();
        thread::spawn(move || run_after(config, &predecessor));
        wait_until("the successor answers", || Client::connect(&control).is_ok());
        Self(control)
    }

    pub fn client(&self) -> Client {
        Client::connect(&self.0).unwrap()
    }

    pub fn status(&self) -> Status {
        self.client().status().unwrap()
    }

    /// Takes the place of another.
    pub fn replace(&self, old: &Proxy) {
        self.client().accept().unwrap();
        old.client().leave(&self.0).unwrap();
    }
}

#[test]
fn under_load_nothing_is_lost_and_everything_is_counted_once() {
    let app = App::start("app");
    let first = Proxy::start();
    first.route(1, 1, &[&app]);
    let load = Load::start(first.addr, 8);
    load.wait_for(200);
    let second = Successor::of(&first, "second");
    assert_eq!(second.status().stage, Stage::Waiting);
    assert_eq!(second.status().epoch, first.status().epoch);
    load.wait_for(100);
    second.replace(&first);
    load.wait_for(200);
    wait_until("the first has ended", || Client::connect(&first.control).is_err());
    let counted = load.stop();
    assert_eq!((counted.broken, counted.server_errors), (0, 0), "{counted:?}");
    let status = second.status();
    assert_eq!(status.stage, Stage::Serving);
    let requests = status.release("shop/local", 1).requests;
    assert_eq!(requests, app.seen().len() as u64);
}

#[test]
fn a_successor_that_is_not_claimed_takes_no_connection() {
    let app = App::start("app");
    let first = Proxy::start();
    first.route(1, 1, &[&app]);
    let second = Successor::of(&first, "second");
    for _ in 0..50 {
        assert_eq!(first.get("/x").text(), "app /x");
    }
    assert_eq!(second.status().connections, 0);
    assert_eq!(first.status().release("shop/local", 1).requests, 50);
}

#[test]
fn what_is_open_goes_on_and_follows_the_table() {
    let (go, gate) = mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let old = App::with("old", move |_, stream| {
        gate.lock().unwrap().recv().unwrap();
        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")?;
        Ok(true)
    });
    let new = App::start("new");
    let first = Proxy::start();
    first.route(1, 1, &[&old]);
    let (mut busy, mut idle) = (first.connect(), first.connect());
    busy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    idle.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("the app has one", || !old.seen().is_empty());
    go.send(()).unwrap();
    go.send(()).unwrap();
    assert_eq!(idle.answer().unwrap().text(), "done");
    assert_eq!(busy.answer().unwrap().text(), "done");
    busy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("the app has another", || old.seen().len() == 3);

    let second = Successor::of(&first, "second");
    second.replace(&first);
    assert_eq!(first.status().stage, Stage::Leaving);
    // A deploy after the exchange: both follow.
    let table = crate::support::table(2, 2, &[&new], 10_000);
    second.client().set(&table).unwrap();
    first.client().set(&table).unwrap();
    let answer = idle.get("/late");
    assert_eq!(answer.text(), "new /late");
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(first.status().instance("old").unwrap().in_flight, 1);
    go.send(()).unwrap();
    assert_eq!(busy.answer().unwrap().text(), "done");
    wait_until("the first has ended", || Client::connect(&first.control).is_err());
    let status = second.status();
    assert_eq!(status.release("shop/local", 1).requests, 3);
    assert_eq!(status.release("shop/local", 2).requests, 1);
}

#[test]
fn an_upgraded_connection_outlives_the_exchange() {
    let app = App::with("app", |_, stream| {
        stream.get_mut().write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        )?;
        let mut piece = [0; 64];
        let read = stream.read(&mut piece)?;
        stream.get_mut().write_all(&piece[..read])?;
        Ok(false)
    });
    let first = Proxy::start();
    first.route(1, 1, &[&app]);
    let mut wire = first.connect();
    wire.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(wire.answer().unwrap().status, 101);
    let second = Successor::of(&first, "second");
    second.replace(&first);
    assert_eq!(first.status().instance("app").unwrap().upgraded, 1);
    wire.send("still here");
    assert_eq!(wire.rest(), b"still here");
}

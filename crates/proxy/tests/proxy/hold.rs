//! Requests wait for an instance that is away instead of failing.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{App, Proxy, table, wait_until};

#[test]
fn a_restarting_instance_is_waited_for() {
    let proxy = Proxy::start();
    let app = App::start("app");
    let addr = app.addr;
    proxy.route(1, 1, &[&app]);
    assert_eq!(proxy.get("/1").status, 200);
    app.kill();
    let waiting: Vec<_> = (0..8)
        .map(|number| {
            let mut wire = proxy.connect();
            thread::spawn(move || wire.get(&format!("/{number}")).status)
        })
        .collect();
    wait_until("they are held", || proxy.status().held == 8);
    let _again = App::at(addr, "app", |_, stream| {
        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
        Ok(true)
    });
    for answer in waiting {
        assert_eq!(answer.join().unwrap(), 200);
    }
    assert_eq!(proxy.status().release("shop/local", 1).lost, 0);
}

#[test]
fn a_new_table_wakes_what_is_held() {
    let proxy = Proxy::start();
    proxy.client().set(&table(1, 1, &[], 60_000)).unwrap();
    let mut wire = proxy.connect();
    wire.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
    wait_until("it is held", || proxy.status().held == 1);
    let app = App::start("app");
    proxy.route(2, 2, &[&app]);
    assert_eq!(wire.answer().unwrap().text(), "app /x");
    assert_eq!(app.seen()[0].body, b"body", "the body waited too");
    assert_eq!(
        proxy.status().release("shop/local", 1).requests,
        0,
        "counted where it was answered"
    );
    assert_eq!(proxy.status().release("shop/local", 2).requests, 1);
}

#[test]
fn the_hold_ends_and_is_counted() {
    let proxy = Proxy::start();
    let app = App::start("app");
    app.kill();
    proxy.client().set(&table(1, 1, &[&app], 200)).unwrap();
    let began = Instant::now();
    assert_eq!(proxy.get("/").status, 502);
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(200) && took < Duration::from_secs(5), "{took:?}");
    proxy.client().set(&table(2, 1, &[], 0)).unwrap();
    assert_eq!(proxy.get("/").status, 503);
    let counters = proxy.status().release("shop/local", 1);
    assert_eq!((counters.requests, counters.lost), (2, 2));
}

#[test]
fn one_dead_instance_of_two_costs_nothing() {
    let proxy = Proxy::start();
    let (dead, alive) = (App::start("dead"), App::start("alive"));
    dead.kill();
    proxy.client().set(&table(1, 1, &[&dead, &alive], 0)).unwrap();
    for number in 0..20 {
        assert_eq!(proxy.get(&format!("/{number}")).status, 200);
    }
}

/// Answers the first request of each connection and closes at the second: what every app with a
/// short keep-alive does to a proxy now and then.
fn closes_when_reused(id: &str) -> App {
    App::with(id, move |_, stream| {
        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
        // Reads the next request and ends without an answer.
        let mut more = [0; 1];
        let _ = std::io::Read::read(stream, &mut more);
        Ok(false)
    })
}

#[test]
fn a_kept_connection_that_ends_is_not_the_clients_problem() {
    let proxy = Proxy::start();
    let app = closes_when_reused("app");
    proxy.route(1, 1, &[&app]);
    let mut wire = proxy.connect();
    for number in 0..20 {
        assert_eq!(wire.get(&format!("/{number}")).status, 200);
    }
    assert_eq!(proxy.status().release("shop/local", 1).lost, 0);
}

#[test]
fn what_might_have_happened_is_not_done_twice() {
    let proxy = Proxy::start();
    let count = std::sync::Arc::new(AtomicUsize::new(0));
    let app = App::with("app", {
        let count = count.clone();
        move |_, _| {
            count.fetch_add(1, SeqCst);
            Ok(false)
        }
    });
    proxy.route(1, 1, &[&app]);
    let mut wire = proxy.connect();
    wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!(wire.answer().unwrap().status, 502);
    assert_eq!(count.load(SeqCst), 1, "a POST is sent once");
    assert_eq!(proxy.get("/").status, 502);
    assert_eq!(count.load(SeqCst), 3, "a GET is sent twice");
    assert_eq!(proxy.status().release("shop/local", 1).lost, 2);
}

/// An instance whose connections end at once is as good as away: no busy loop, and in the end 502.
#[test]
fn an_instance_that_hangs_up_at_once_is_away() {
    let proxy = Proxy::start();
    let listener = proxy.route_by_hand(300);
    let accepted = std::sync::Arc::new(AtomicUsize::new(0));
    let counting = accepted.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            counting.fetch_add(1, SeqCst);
            drop(stream);
        }
    });
    assert_eq!(proxy.get("/").status, 502);
    assert!(accepted.load(SeqCst) < 50, "{}", accepted.load(SeqCst));
    assert_eq!(proxy.status().release("shop/local", 1).lost, 1);
}

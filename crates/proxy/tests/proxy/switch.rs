//! A switch under load loses nothing, and the counters say exactly what happened.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};

use onward_proxy::Counters;

use crate::load::Load;
use crate::support::{App, Proxy, wait_until};

fn sum(proxy: &Proxy) -> Counters {
    let mut sum = Counters::default();
    for release in proxy.status().releases {
        sum.add(&release.counters);
    }
    sum
}

#[test]
fn nothing_is_lost_and_all_is_counted_once() {
    let proxy = Proxy::start();
    let mut old = App::start("web-1");
    proxy.route(1, 1, &[&old]);
    let load = Load::start(proxy.addr, 16);
    for version in 2..=20 {
        load.wait_for(200);
        let new = App::start(&format!("web-{version}"));
        proxy.route(version, version, &[&new]);
        // What a supervisor does: wait until nothing is in flight, then end the process.
        let gone = |id: &str| {
            let status = proxy.status();
            status.instance(id).is_none_or(|instance| instance.in_flight == 0)
        };
        wait_until("the old instance is drained", || gone(&old.id));
        old.kill();
        old = new;
    }
    load.wait_for(200);
    let counted = load.stop();
    wait_until("nothing is in flight", || {
        proxy.status().instances.iter().all(|instance| instance.in_flight == 0)
    });
    let sum = sum(&proxy);
    assert_eq!((counted.broken, counted.server_errors), (0, 0), "{counted:?}");
    assert_eq!(sum.requests, counted.good);
    assert_eq!(sum.latency.count(), counted.good);
    assert_eq!((sum.lost, sum.app_errors, sum.aborted_by_client), (0, 0, 0));
    assert_eq!(proxy.status().releases.len(), 20, "one entry a release");
}

/// The control of the test above: with an instance killed before the switch, the counters move and
/// still agree with the clients.
#[test]
fn an_instance_killed_too_early_shows() {
    let proxy = Proxy::start();
    let begun = Arc::new(AtomicUsize::new(0));
    let old = App::with("web-1", {
        let begun = begun.clone();
        move |_, stream| {
            stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")?;
            begun.fetch_add(1, SeqCst);
            Ok(true)
        }
    });
    let new = App::start("web-2");
    proxy.client().set(&crate::support::table(1, 1, &[&old], 0)).unwrap();
    let load = Load::start(proxy.addr, 8);
    wait_until("answers have begun", || begun.load(SeqCst) >= 8);
    old.kill();
    wait_until("losses are counted", || proxy.status().release("shop/local", 1).lost >= 8);
    proxy.route(2, 2, &[&new]);
    load.wait_for(100);
    let counted = load.stop();
    let sum = sum(&proxy);
    // Whoever had not seen the beginning of an answer got an error instead of half of one.
    assert!(counted.broken >= 1 && counted.broken + counted.server_errors >= 8, "{counted:?}");
    assert_eq!(sum.lost, counted.broken + counted.server_errors);
    assert_eq!(sum.requests, counted.broken + counted.server_errors + counted.good);
}

#[test]
fn what_is_in_flight_finishes_on_the_old_instance() {
    let proxy = Proxy::start();
    let (go, gate) = mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let old = App::with("old", move |_, stream| {
        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nol")?;
        gate.lock().unwrap().recv().unwrap();
        stream.get_mut().write_all(b"d one")?;
        Ok(true)
    });
    let new = App::start("new");
    proxy.route(1, 1, &[&old]);
    let mut wire = proxy.connect();
    wire.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("the old has it", || !old.seen().is_empty());
    proxy.route(2, 2, &[&new]);
    assert_eq!(proxy.get("/x").text(), "new /x");
    let status = proxy.status();
    let draining = status.instance("old").unwrap();
    assert!(!draining.in_table);
    assert_eq!(draining.in_flight, 1);
    go.send(()).unwrap();
    let answer = wire.answer().unwrap();
    assert_eq!(answer.text(), "old on");
    wait_until("the old is drained and forgotten", || proxy.status().instance("old").is_none());
    assert_eq!(proxy.status().release("shop/local", 1).requests, 1);
    assert_eq!(proxy.status().release("shop/local", 2).requests, 1);
}

#[test]
fn cut_ends_what_is_in_flight_and_counts_it() {
    let proxy = Proxy::start();
    let silent = App::with("silent", |seen, stream| {
        if seen.path() == "/begun" {
            stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbeg")?;
        }
        let mut byte = [0];
        std::io::Read::read(stream, &mut byte)?;
        Ok(false)
    });
    proxy.route(1, 1, &[&silent]);
    let (mut waiting, mut begun) = (proxy.connect(), proxy.connect());
    waiting.send("GET /waiting HTTP/1.1\r\nHost: a\r\n\r\n");
    begun.send("GET /begun HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("both are there", || silent.seen().len() == 2);
    wait_until("one answer has begun", || {
        let mut head = [0; 15];
        begun.stream.get_ref().peek(&mut head).is_ok_and(|read| read == 15)
    });
    proxy.client().cut("silent").unwrap();
    assert_eq!(waiting.answer().unwrap().status, 504);
    assert!(begun.answer().is_err(), "a cut answer must not look whole");
    wait_until("both are counted", || proxy.status().release("shop/local", 1).lost == 2);
    let unknown = proxy.client().cut("nobody").unwrap_err();
    assert_eq!(unknown.refusal(), Some(onward_proxy::Why::Unknown));
}

#[test]
fn answers_of_the_app_are_its_own() {
    let proxy = Proxy::start();
    let app = App::with("app", |_, stream| {
        stream.get_mut().write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy")?;
        Ok(true)
    });
    proxy.route(1, 7, &[&app]);
    assert_eq!(proxy.get("/").text(), "busy");
    let counters = proxy.status().release("shop/local", 7);
    assert_eq!((counters.requests, counters.app_errors, counters.lost), (1, 1, 0));
}

#[test]
fn requests_spread_over_instances() {
    let proxy = Proxy::start();
    let (one, two) = (App::start("one"), App::start("two"));
    proxy.route(1, 1, &[&one, &two]);
    let mut wire = proxy.connect();
    for _ in 0..10 {
        assert_eq!(wire.get("/").status, 200);
    }
    assert_eq!((one.seen().len(), two.seen().len()), (5, 5));
}

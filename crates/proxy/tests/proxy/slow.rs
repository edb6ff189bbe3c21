//! Slow and greedy clients and instances meet their limits; others don't notice.

use std::io::Write;
use std::time::{Duration, Instant};

use onward_proxy::Limits;

use crate::support::{App, PATIENCE, Proxy, table, wait_until};

fn short() -> Limits {
    let short = Duration::from_millis(300);
    Limits {
        head_within: short,
        idle_within: short,
        stall_within: short,
        answer_within: short,
        ..Limits::default()
    }
}

#[test]
fn a_head_that_never_ends_is_closed() {
    let proxy = Proxy::with(short());
    let app = App::start("app");
    proxy.route(1, 1, &[&app]);
    let mut slow = proxy.connect();
    slow.send("GET / HTTP/1.1\r\nHost: a\r\n");
    let began = Instant::now();
    let mut closed = false;
    while began.elapsed() < PATIENCE && !closed {
        // A byte now and then doesn't buy more time.
        closed = slow.stream.get_mut().write_all(b"X").is_err();
        assert_eq!(proxy.get("/beside").status, 200);
    }
    assert!(closed);
    assert!(began.elapsed() >= Duration::from_millis(250));
}

#[test]
fn an_idle_connection_is_closed() {
    let proxy = Proxy::with(short());
    let app = App::start("app");
    proxy.route(1, 1, &[&app]);
    let mut wire = proxy.connect();
    assert_eq!(wire.get("/").status, 200);
    assert!(wire.rest().is_empty());
    assert_eq!(proxy.status().release("shop/local", 1).aborted_by_client, 0);
}

#[test]
fn an_instance_that_does_not_answer_is_a_504() {
    let proxy = Proxy::with(short());
    let app = App::silent("hangs");
    proxy.route(1, 1, &[&app]);
    let mut wire = proxy.connect();
    assert_eq!(wire.get("/").status, 504);
    assert_eq!(proxy.status().release("shop/local", 1).lost, 1);
    let status = proxy.status();
    assert_eq!(status.instance("hangs").unwrap().in_flight, 0);
}

#[test]
fn an_upload_that_stalls_is_closed_and_is_the_clients() {
    let proxy = Proxy::with(short());
    let app = App::silent("hangs");
    proxy.route(1, 1, &[&app]);
    let mut wire = proxy.connect();
    wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nonly this");
    let _ = wire.rest();
    wait_until("it is counted", || {
        let counters = proxy.status().release("shop/local", 1);
        (counters.aborted_by_client, counters.lost) == (1, 0)
    });
}

#[test]
fn an_answer_nobody_reads_is_closed_and_is_the_clients() {
    let proxy = Proxy::with(short());
    let app = App::with("app", |_, stream| {
        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")?;
        let piece = vec![0; 1 << 16];
        loop {
            stream.get_mut().write_all(&piece)?;
        }
    });
    proxy.route(1, 1, &[&app]);
    let mut wire = proxy.connect();
    wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("it is counted", || {
        let counters = proxy.status().release("shop/local", 1);
        (counters.aborted_by_client, counters.lost) == (1, 0)
    });
}

#[test]
fn an_answer_that_pauses_is_not_cut() {
    let proxy = Proxy::with(short());
    let app = App::with("app", |_, stream| {
        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nwait")?;
        // Longer than every limit: an event stream is silent for minutes.
        std::thread::sleep(Duration::from_millis(900));
        stream.get_mut().write_all(b"done")?;
        Ok(true)
    });
    proxy.route(1, 1, &[&app]);
    assert_eq!(proxy.get("/").text(), "waitdone");
}

#[test]
fn a_client_that_goes_away_is_not_a_loss() {
    let proxy = Proxy::start();
    let app = App::silent("hangs");
    proxy.route(1, 1, &[&app]);
    let mut wire = proxy.connect();
    wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("the app has it", || !app.seen().is_empty());
    drop(wire);
    wait_until("it is counted", || {
        let counters = proxy.status().release("shop/local", 1);
        (counters.requests, counters.aborted_by_client, counters.lost) == (1, 1, 0)
    });
}

#[test]
fn connections_to_an_instance_are_capped_and_the_rest_wait() {
    let limits = Limits { upstream_connections: 4, ..Limits::default() };
    let proxy = Proxy::with(limits);
    let app = App::with("app", |_, stream| {
        std::thread::sleep(Duration::from_millis(5));
        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
        Ok(true)
    });
    proxy.route(1, 1, &[&app]);
    let load = crate::load::Load::start(proxy.addr, 24);
    load.wait_for(200);
    let counted = load.stop();
    assert_eq!((counted.broken, counted.server_errors), (0, 0), "{counted:?}");
    let connections = app.connections.load(std::sync::atomic::Ordering::SeqCst);
    assert!(connections <= 4, "{connections}");
}

#[test]
fn a_full_queue_says_so() {
    let limits = Limits { upstream_connections: 1, upstream_queue: 1, ..short() };
    let limits = Limits { upstream_queue_within: Duration::from_millis(100), ..limits };
    let proxy = Proxy::with(limits);
    let app = App::silent("hangs");
    proxy.client().set(&table(1, 1, &[&app], 0)).unwrap();
    let mut wires: Vec<_> = (0..12).map(|_| proxy.connect()).collect();
    for wire in &mut wires {
        wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    let statuses: Vec<_> = wires.iter_mut().map(|wire| wire.answer().unwrap().status).collect();
    assert!(statuses.contains(&503), "{statuses:?}");
    assert_eq!(proxy.status().release("shop/local", 1).lost, 12);
}

/// However the clients spread over the two workers, each with one connection: six may wait.
#[test]
fn the_queue_is_one_for_all_workers() {
    let proxy = Proxy::with(Limits { upstream_connections: 2, upstream_queue: 6, ..short() });
    let app = App::with("slow", |_, stream| {
        std::thread::sleep(Duration::from_millis(20));
        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
        Ok(true)
    });
    proxy.route(1, 1, &[&app]);
    for _ in 0..5 {
        let mut wires: Vec<_> = (0..7).map(|_| proxy.connect()).collect();
        for wire in &mut wires {
            wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        let statuses: Vec<_> = wires.iter_mut().map(|wire| wire.answer().unwrap().status).collect();
        assert_eq!(statuses, [200; 7]);
    }
}

#[test]
fn at_the_limit_of_connections_clients_wait_in_the_backlog() {
    let limits = Limits { connections: 4, ..Limits::default() };
    let proxy = Proxy::with(limits);
    let app = App::start("app");
    proxy.route(1, 1, &[&app]);
    let mut open: Vec<_> = (0..4).map(|_| proxy.connect()).collect();
    for wire in &mut open {
        assert_eq!(wire.get("/").status, 200);
    }
    let mut more: Vec<_> = (0..4).map(|_| proxy.connect()).collect();
    for wire in &mut more {
        wire.send("GET /later HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    drop(open);
    for wire in &mut more {
        assert_eq!(wire.answer().unwrap().status, 200);
    }
}

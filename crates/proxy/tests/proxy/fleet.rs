//! Several proxies as one: a balancer passes requests on, and nothing is lost when a peer goes.

use std::io::Write;

use onward_proxy::{Counters, Fleet, Instance, Route, Table};

use crate::load::Load;
use crate::support::{Answer, App, Proxy, table, wait_until};

const KEY: &str = "0123456789abcdef";

fn route(version: u64, own: &[&App], peers: &[&Proxy]) -> Table {
    let mut table = table(version, 1, own, 10_000);
    let peer = |(at, proxy): (usize, &&Proxy)| Instance {
        id: format!("shop/local/@peer-{at}"),
        addr: proxy.addr,
    };
    let peers = peers.iter().enumerate().map(peer).collect();
    table.routes[0].fleet = Some(Fleet { key: KEY.to_owned(), peers });
    table
}

fn set(proxy: &Proxy, table: &Table) {
    proxy.client().set(table).unwrap();
}

/// A balancer and one peer with an app each.
struct Two {
    front: Proxy,
    back: Proxy,
    near: App,
    far: App,
}

impl Two {
    fn start() -> Self {
        let (front, back) = (Proxy::start(), Proxy::start());
        let (near, far) = (App::start("near"), App::start("far"));
        set(&front, &route(1, &[&near], &[&back]));
        set(&back, &route(1, &[&far], &[]));
        Self { front, back, near, far }
    }
}

fn sum(proxies: &[&Proxy]) -> Counters {
    let mut sum = Counters::default();
    for proxy in proxies {
        proxy.status().releases.iter().for_each(|own| sum.add(&own.counters));
    }
    sum
}

fn post(proxy: &Proxy, body: &str) -> Answer {
    let mut wire = proxy.connect();
    let head = format!("POST /in HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    wire.send(head + body);
    wire.answer().unwrap()
}

#[test]
fn both_servers_answer_and_each_request_counts_once() {
    let two = Two::start();
    let load = Load::start(two.front.addr, 8);
    load.wait_for(2_000);
    let counted = load.stop();
    assert_eq!((counted.broken, counted.server_errors), (0, 0));
    let (near, far) = (two.near.seen().len() as u64, two.far.seen().len() as u64);
    assert!(near > 500 && far > 500, "{near} and {far}");
    let all = [&two.front, &two.back];
    wait_until("all is counted", || sum(&all).own_requests == counted.good);
    let sum = sum(&all);
    assert_eq!((sum.requests, sum.lost, sum.latency.count()), (counted.good, 0, counted.good));
    assert_eq!(two.back.status().releases[0].counters.own_requests, far);
}

#[test]
fn an_app_behind_two_proxies_sees_the_client() {
    let (front, back) = (Proxy::start(), Proxy::start());
    let far = App::start("far");
    set(&front, &route(1, &[], &[&back]));
    set(&back, &route(1, &[&far], &[]));
    let mut wire = front.connect();
    wire.send(
        "GET /a HTTP/1.1\r\nHost: shop.example.com\r\nX-Forwarded-For: 6.6.6.6\r\n\
         Onward-Hop: guessed\r\nForwarded: for=6.6.6.6\r\n\r\n",
    );
    let answer = wire.answer().unwrap();
    assert_eq!((answer.status, answer.text()), (200, "far /a".to_owned()));
    let seen = &far.seen()[0];
    assert_eq!(seen.header("host"), Some("shop.example.com"));
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-host"), Some("shop.example.com"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_eq!((seen.header("onward-hop"), seen.header("forwarded")), (None, None));
}

/// Whoever says the key is believed, so the test above means something.
#[test]
fn only_the_key_makes_a_client_believed() {
    let two = Two::start();
    for (key, believed) in [(KEY, "6.6.6.6"), ("0123456789abcdee", "127.0.0.1")] {
        let mut wire = two.back.connect();
        wire.send(format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\nOnward-Hop: {key}\r\n\r\n"
        ));
        assert_eq!(wire.answer().unwrap().status, 200);
        assert_eq!(two.far.seen().last().unwrap().header("x-forwarded-for"), Some(believed));
    }
}

#[test]
fn a_dead_peer_loses_nothing_with_and_without_bodies() {
    let two = Two::start();
    let load = Load::start(two.front.addr, 8);
    load.wait_for(500);
    two.near.kill();
    load.wait_for(500);
    // Now nothing of the balancer's own is left; its peer answers all.
    for at in 0..50 {
        assert_eq!(post(&two.front, &format!("{at}")).text(), "far /in");
    }
    load.wait_for(500);
    let counted = load.stop();
    assert_eq!((counted.broken, counted.server_errors), (0, 0), "{counted:?}");
}

#[test]
fn a_peer_whose_app_is_away_hands_requests_back() {
    let two = Two::start();
    two.far.kill();
    let load = Load::start(two.front.addr, 4);
    for at in 0..100 {
        let body = format!("{at}").repeat(1_000);
        let answer = post(&two.front, &body);
        assert_eq!((answer.status, answer.text()), (200, "near /in".to_owned()));
    }
    load.wait_for(500);
    let counted = load.stop();
    assert_eq!((counted.broken, counted.server_errors), (0, 0), "{counted:?}");
    let bodies: Vec<_> = two.near.seen().into_iter().filter(|seen| seen.path() == "/in").collect();
    assert_eq!(bodies.len(), 100, "each once");
    assert_eq!(bodies[99].body, "99".repeat(1_000).as_bytes());
    assert_eq!(sum(&[&two.front, &two.back]).lost, 0);
}

#[test]
fn a_peer_without_the_route_hands_requests_back() {
    let (front, back, near) = (Proxy::start(), Proxy::start(), App::start("near"));
    set(&front, &route(1, &[&near], &[&back]));
    for _ in 0..20 {
        assert_eq!(front.get("/").text(), "near /");
        assert_eq!(post(&front, "body").text(), "near /in");
    }
}

/// Two apps without a name of their own, each behind a balancer of its own, share a server.
#[test]
fn a_peer_answers_for_the_app_whose_balancer_asks_whatever_the_name() {
    let (front, back) = (Proxy::start(), Proxy::start());
    let (blog, shop) = (App::start("blog"), App::start("shop"));
    set(&front, &route(1, &[], &[&back]));
    let mut both = route(1, &[&shop], &[]);
    let mut first = table(1, 1, &[&blog], 10_000).routes.remove(0);
    first.name = "blog/local".to_owned();
    both.routes.insert(0, first);
    set(&back, &both);
    assert_eq!(back.get("/").text(), "blog /", "a control: of two, the first is asked");
    assert_eq!(front.get("/").text(), "shop /");
    assert_eq!(post(&front, "body").text(), "shop /in");
}

#[test]
fn two_balancers_do_not_play_ball() {
    let (one, two) = (Proxy::start(), Proxy::start());
    let app = App::start("app");
    set(&one, &route(1, &[&app], &[&two]));
    set(&two, &route(1, &[], &[&one]));
    for _ in 0..20 {
        assert_eq!(one.get("/").status, 200);
        assert_eq!(two.get("/").status, 200);
    }
    assert_eq!(app.seen().len(), 40);
}

/// The body waits until the peer asks for it, and is counted only then.
#[test]
fn a_body_that_turns_out_too_long_never_arrives_without_its_beginning() {
    let (front, back) = (Proxy::start(), Proxy::start());
    let app = App::start("app");
    let limited = |own: &[&App], peers: &[&Proxy]| {
        let mut table = route(1, own, peers);
        table.routes[0].limits.body_bytes = Some(10);
        table
    };
    set(&front, &limited(&[], &[&back]));
    set(&back, &limited(&[&app], &[]));
    let ask = |chunks: &str| {
        let mut wire = front.connect();
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        wire.send(format!("{head}{chunks}0\r\n\r\n"));
        wire.answer().unwrap().status
    };
    assert_eq!(ask("4\r\nfour\r\n6\r\nandsix\r\n"), 200, "a control: just short enough");
    assert_eq!(ask("14\r\nthese are twenty byt\r\n2\r\nok\r\n"), 413);
    let bodies: Vec<_> = app.seen().into_iter().map(|seen| seen.body).collect();
    assert_eq!(bodies, [b"fourandsix"]);
}

#[test]
fn an_error_of_the_app_is_the_apps_and_a_lost_one_ours() {
    let (front, back) = (Proxy::start(), Proxy::start());
    let app = App::with("app", |seen, stream| {
        if seen.path() == "/cut" {
            return Ok(false);
        }
        // It cannot pass for the proxy.
        let answer = "HTTP/1.1 503 No\r\nOnward-Hop: unsent\r\nContent-Length: 0\r\n\r\n";
        stream.get_mut().write_all(answer.as_bytes())?;
        Ok(true)
    });
    set(&front, &route(1, &[], &[&back]));
    set(&back, &route(1, &[&app], &[]));
    assert_eq!(front.get("/").status, 503);
    assert_eq!(app.seen().len(), 1);
    let mut wire = front.connect();
    wire.send("POST /cut HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab");
    let lost = wire.answer().unwrap();
    assert_eq!((lost.status, lost.header("onward-hop")), (502, None));
    wait_until("both are counted", || sum(&[&front, &back]).own_requests == 2);
    let sum = sum(&[&front, &back]);
    assert_eq!((sum.requests, sum.app_errors, sum.own_app_errors, sum.lost), (2, 1, 1, 1));
}

#[test]
fn a_table_says_whose_peers_are_its_own() {
    let twice = Instance { id: "a".to_owned(), addr: "127.0.0.1:1".parse().unwrap() };
    let fleet = Fleet { key: KEY.to_owned(), peers: vec![twice.clone()] };
    let route = Route {
        name: "shop/local".to_owned(),
        hosts: vec![],
        release: 1,
        instances: vec![twice],
        hold_ms: 0,
        fleet: Some(fleet),
        ..Route::default()
    };
    assert!(Table { version: 1, routes: vec![route], ..Table::default() }.validate().is_err());
}

//! TLS at the door: what holds without it holds with it, and certificates are exchanged unnoticed.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use onward_proxy::{
    Certificates, Challenge, Https, Limits, Table, Why, certificates_file, load_certificates,
};
use rustls::HandshakeKind;

use crate::authority::{Authority, SHOP, certified, connect};
use crate::framing::REFUSED;
use crate::load::Load;
use crate::succession::Successor;
use crate::support::{App, Proxy, Wire, table, wait_until};
use crate::upgrade;

#[test]
fn a_client_with_tls_is_answered_and_the_app_is_told() {
    let (proxy, authority) = certified(Limits::default());
    let app = App::start("app");
    proxy.route(1, 1, &[&app]);
    let trust = authority.trust(&[]);
    let mut wire = connect(&trust, proxy.https, SHOP).unwrap();
    assert_eq!(wire.get("/one").text(), "app /one");
    assert_eq!(wire.get("/two").text(), "app /two");
    assert_eq!(app.seen()[0].header("x-forwarded-proto"), Some("https"));
    assert_eq!(proxy.get("/three").text(), "app /three");
    assert_eq!(app.seen()[2].header("x-forwarded-proto"), Some("http"));
    assert_eq!(proxy.status().release("shop/local", 1).requests, 3);
}

#[test]
fn the_certificate_is_that_of_the_name_and_nobody_else_is_let_in() {
    let (proxy, authority) = (Proxy::start(), Authority::new());
    let trust = authority.trust(&[]);
    assert!(connect(&trust, proxy.https, SHOP).is_err(), "there is no certificate yet");
    let all = vec![authority.certificate(&[SHOP]), authority.certificate(&["*.api.example.com"])];
    proxy.client().certify(&Certificates { all }).unwrap();
    let app = App::start("app");
    proxy.route(1, 1, &[&app]);
    for name in [SHOP, "one.api.example.com", "two.api.example.com"] {
        assert_eq!(connect(&trust, proxy.https, name).unwrap().get("/").status, 200, "{name}");
    }
    assert!(connect(&trust, proxy.https, "other.example.com").is_err());
    assert!(connect(&trust, proxy.https, "deep.one.api.example.com").is_err());
    assert!(connect(&authority.trust(&[b"spdy/3"]), proxy.https, SHOP).is_err());
    let mut plain = Wire::new(TcpStream::connect(proxy.https).unwrap());
    plain.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(!plain.rest().starts_with(b"HTTP"));
    wait_until("they are counted", || proxy.status().handshakes_failed == 5);
    assert_eq!(app.seen().len(), 3);
}

#[test]
fn framing_is_as_strict_as_without() {
    let (proxy, authority) = certified(Limits::default());
    let app = App::start("app");
    proxy.route(1, 1, &[&app]);
    let trust = authority.trust(&[b"http/1.1"]);
    for (name, head, status) in REFUSED {
        let mut wire = connect(&trust, proxy.https, SHOP).unwrap();
        wire.send(head);
        assert_eq!(wire.answer().unwrap().status, *status, "{name}");
    }
    assert_eq!(app.seen().len(), 0);
    assert_eq!(proxy.status().refused, REFUSED.len() as u64);
    assert_eq!(connect(&trust, proxy.https, SHOP).unwrap().get("/").status, 200);
}

#[test]
fn upgraded_connections_go_through() {
    let (proxy, authority) = certified(Limits::default());
    let echo = upgrade::echo("echo");
    proxy.route(1, 1, &[&echo]);
    let mut wire = connect(&authority.trust(&[b"http/1.1"]), proxy.https, SHOP).unwrap();
    wire.send(format!("{}early ", upgrade::ASK));
    assert_eq!(wire.answer().unwrap().status, 101);
    wire.send("and late");
    let mut got = [0; 16];
    wire.stream.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"hiearly and late");
    assert_eq!(proxy.status().instance("echo").unwrap().upgraded, 1);
    proxy.client().cut("echo").unwrap();
    assert!(wire.rest().is_empty());
}

#[test]
fn large_bodies_go_both_ways() {
    let (proxy, authority) = certified(Limits::default());
    let echo = App::with("echo", |seen, stream| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", seen.body.len());
        stream.get_mut().write_all(head.as_bytes())?;
        stream.get_mut().write_all(&seen.body)?;
        Ok(true)
    });
    proxy.route(1, 1, &[&echo]);
    let body: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    let mut wire = connect(&authority.trust(&[]), proxy.https, SHOP).unwrap();
    wire.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()));
    wire.send(&body);
    assert!(wire.answer().unwrap().body == body);
}

#[test]
fn certificates_are_exchanged_under_load_and_nothing_is_lost() {
    let (proxy, authority) = certified(Limits::default());
    let app = App::start("app");
    proxy.route(1, 1, &[&app]);
    let (trust, https) = (authority.trust(&[]), proxy.https);
    let load = {
        let trust = trust.clone();
        Load::with(8, move || connect(&trust, https, SHOP).ok())
    };
    let mut kept = connect(&trust, https, SHOP).unwrap();
    let leaf = |wire: &Wire<_>| {
        let wire: &Wire<crate::authority::Secure> = wire;
        wire.stream.get_ref().conn.peer_certificates().unwrap()[0].clone()
    };
    let first = leaf(&kept);
    for _ in 0..20 {
        load.wait_for(50);
        proxy.client().certify(&authority.certificates(&[SHOP])).unwrap();
    }
    assert_ne!(leaf(&connect(&authority.trust(&[]), https, SHOP).unwrap()), first);
    assert_eq!(kept.get("/").text(), "app /", "an open connection goes on");
    let counted = load.stop();
    assert_eq!((counted.server_errors, counted.broken), (0, 0), "{counted:?}");
    assert!(counted.good >= 1_000);
}

#[test]
fn bad_certificates_leave_the_good_ones_in_force() {
    let (proxy, authority) = certified(Limits::default());
    let before = proxy.status().certificates.unwrap();
    let mut bad = authority.certificates(&[SHOP]);
    bad.all[0].key = authority.certificate(&[SHOP]).key;
    let error = proxy.client().certify(&bad).unwrap_err();
    assert_eq!(error.refusal(), Some(Why::Invalid), "{error}");
    assert_eq!(proxy.status().certificates, Some(before));
    connect(&authority.trust(&[]), proxy.https, SHOP).unwrap();
}

#[test]
fn they_survive_a_restart_in_a_file_that_is_nobody_elses() {
    let (proxy, authority) = certified(Limits::default());
    let app = App::start("app");
    proxy.route(1, 1, &[&app]);
    let path = certificates_file(&proxy.table_file);
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let kept = load_certificates(&path).unwrap().unwrap();
    let key = kept.all[0].key.expose().lines().nth(1).unwrap();
    assert!(fs::read_to_string(&path).unwrap().contains(key), "the control");
    assert!(!fs::read_to_string(&proxy.table_file).unwrap().contains(key));
    assert!(!serde_json::to_string(&proxy.status()).unwrap().contains(key));

    let directory = proxy.stop();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let again = Proxy::on(listener, directory, Limits::default(), 1);
    let trust = authority.trust(&[]);
    assert_eq!(connect(&trust, again.https, SHOP).unwrap().get("/").text(), "app /");

    let directory = again.stop();
    fs::write(certificates_file(&directory.path().join("table.json")), "{\"format\":1,").unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let damaged = Proxy::on(listener, directory, Limits::default(), 1);
    assert_eq!(damaged.get("/").text(), "app /", "without TLS it serves");
    assert_eq!(damaged.status().certificates, None);
    assert!(connect(&trust, damaged.https, SHOP).is_err());
    damaged.client().certify(&kept).unwrap();
    assert_eq!(connect(&trust, damaged.https, SHOP).unwrap().get("/").text(), "app /");
}

#[test]
fn a_session_is_resumed_whichever_worker_has_it() {
    let (proxy, authority) = certified(Limits::default());
    let app = App::start("app");
    proxy.route(1, 1, &[&app]);
    let trust = authority.trust(&[]);
    connect(&trust, proxy.https, SHOP).unwrap().get("/");
    for _ in 0..20 {
        let mut wire = connect(&trust, proxy.https, SHOP).unwrap();
        let kind = wire.stream.get_ref().conn.handshake_kind();
        assert_eq!(kind, Some(HandshakeKind::Resumed));
        wire.get("/");
    }
}

#[test]
fn a_successor_takes_both_sockets_and_nothing_is_lost() {
    let (proxy, authority) = certified(Limits::default());
    let app = App::start("app");
    proxy.route(1, 1, &[&app]);
    let (trust, https) = (authority.trust(&[]), proxy.https);
    let secure = Load::with(6, move || connect(&trust, https, SHOP).ok());
    let plain = Load::start(proxy.addr, 4);
    secure.wait_for(100);
    let second = Successor::of(&proxy, "second");
    assert_eq!(second.status().certificates, proxy.status().certificates);
    second.replace(&proxy);
    secure.wait_for(300);
    plain.wait_for(300);
    for counted in [secure.stop(), plain.stop()] {
        assert_eq!((counted.server_errors, counted.broken), (0, 0), "{counted:?}");
    }
    wait_until("the old one is gone", || std::fs::metadata(&proxy.control).is_err());
    let trust = authority.trust(&[]);
    assert_eq!(connect(&trust, https, SHOP).unwrap().get("/").status, 200);
}

#[test]
fn a_handshake_that_does_not_go_on_is_ended() {
    let limits = Limits { head_within: Duration::from_millis(200), ..Limits::default() };
    let proxy = Proxy::with(limits);
    let mut silent = TcpStream::connect(proxy.https).unwrap();
    silent.write_all(b"\x16\x03\x01").unwrap();
    let mut rest = vec![];
    let _ = silent.read_to_end(&mut rest);
    wait_until("it is gone", || proxy.status().connections == 0);
}

/// The table of the tests with what a route says about HTTPS.
fn secured(version: u64, app: &App, https: Https) -> Table {
    let mut table = table(version, 1, &[app], 10_000);
    table.routes[0].hosts = vec![SHOP.into(), "other.example.com".into()];
    table.routes[0].aliases = vec!["www.example.com".into()];
    table.routes[0].https = Some(https);
    table
}

fn ask(wire: &mut Wire, method: &str, host: &str, path: &str) -> (u16, Option<String>) {
    wire.send(format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    let answer = wire.answer().unwrap();
    (answer.status, answer.header("location").map(str::to_owned))
}

#[test]
fn those_who_come_without_are_sent_to_tls_once_it_is_there() {
    let (proxy, authority) = (Proxy::start(), Authority::new());
    let app = App::start("app");
    let https = Https { redirect: true, ..Https::default() };
    proxy.client().set(&secured(1, &app, https)).unwrap();
    let mut wire = proxy.connect();
    assert_eq!(ask(&mut wire, "GET", SHOP, "/a?b=c"), (200, None), "no certificate yet");
    proxy.client().certify(&authority.certificates(&[SHOP])).unwrap();
    let to = |place: &str| Some(place.to_owned());
    let there = to("https://shop.example.com/a?b=c");
    assert_eq!(ask(&mut wire, "GET", SHOP, "/a?b=c"), (301, there.clone()));
    assert_eq!(ask(&mut wire, "GET", "shop.example.com:80", "/a?b=c"), (301, there.clone()));
    assert_eq!(ask(&mut wire, "POST", SHOP, "/a?b=c"), (308, there.clone()));
    assert_eq!(ask(&mut wire, "GET", "www.example.com", "/a?b=c"), (301, there), "in one step");
    assert_eq!(ask(&mut wire, "GET", "other.example.com", "/"), (200, None));
    let at_port = Https { redirect: true, port: 8443, hsts_s: None };
    proxy.client().set(&secured(2, &app, at_port)).unwrap();
    assert_eq!(ask(&mut wire, "GET", SHOP, "/"), (301, to("https://shop.example.com:8443/")));
    let unwanted = Https { redirect: false, ..Https::default() };
    proxy.client().set(&secured(3, &app, unwanted)).unwrap();
    assert_eq!(ask(&mut wire, "GET", SHOP, "/"), (200, None));
    let other_name = to("//shop.example.com/");
    assert_eq!(ask(&mut wire, "GET", "www.example.com", "/"), (301, other_name));
}

#[test]
fn with_tls_aliases_keep_it_and_browsers_are_told_to_stay() {
    let (proxy, authority) = (Proxy::start(), Authority::new());
    let app = App::start("app");
    let https = Https { redirect: true, hsts_s: Some(600), ..Https::default() };
    proxy.client().set(&secured(1, &app, https)).unwrap();
    proxy.client().certify(&authority.certificates(&[SHOP, "www.example.com"])).unwrap();
    let trust = authority.trust(&[]);
    let mut wire = connect(&trust, proxy.https, SHOP).unwrap();
    let answer = wire.get("/");
    assert_eq!(
        (answer.status, answer.header("strict-transport-security")),
        (200, Some("max-age=600"))
    );
    wire.send("GET /a HTTP/1.1\r\nHost: www.example.com\r\n\r\n");
    let answer = wire.answer().unwrap();
    assert_eq!(answer.header("location"), Some("//shop.example.com/a"));
    let mut plain = proxy.connect();
    plain.send("GET / HTTP/1.1\r\nHost: other.example.com\r\n\r\n");
    assert_eq!(plain.answer().unwrap().header("strict-transport-security"), None);
}

#[test]
fn challenges_are_answered_before_anything_else() {
    let (proxy, authority) = certified(Limits::default());
    let app = App::start("app");
    let mut table = secured(1, &app, Https { redirect: true, ..Https::default() });
    let answer = "token-1.thumb_print".to_owned();
    table.challenges = vec![Challenge { token: "token-1".into(), answer: answer.clone() }];
    proxy.client().set(&table).unwrap();
    let below = "/.well-known/acme-challenge/";
    let mut wire = proxy.connect();
    for host in [SHOP, "www.example.com", "unknown.example.com"] {
        wire.send(format!("GET {below}token-1 HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let got = wire.answer().unwrap();
        assert_eq!((got.status, got.text()), (200, answer.clone()), "{host}");
    }
    wire.send(format!("GET {below}other HTTP/1.1\r\nHost: {SHOP}\r\n\r\n"));
    assert_eq!(wire.answer().unwrap().text(), format!("app {below}other"), "it may be the app's");
    let mut secure = connect(&authority.trust(&[]), proxy.https, SHOP).unwrap();
    assert_eq!(secure.get(&format!("{below}token-1")).text(), answer);
    table.version = 2;
    table.challenges[0].token = "../x".into();
    assert_eq!(proxy.client().set(&table).unwrap_err().refusal(), Some(Why::Invalid));
}

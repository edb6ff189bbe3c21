//! Clients of HTTP/2 that write their frames by hand, to take more than their share: each meets a
//! bound, and whoever does the same within it is served.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use onward_proxy::Limits;
use rustls::ClientConfig;

use crate::authority::{SHOP, Secure, certified, connect};
use crate::crowd;
use crate::support::{App, Proxy, Wire, wait_until};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const PROTOCOL_ERROR: u32 = 1;
const CANCEL: [u8; 4] = [0, 0, 0, 8];
const ENHANCE_YOUR_CALM: u32 = 11;
/// `:status: 200`, as every table has it.
const OK: u8 = 0x88;

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut all = vec![length[1], length[2], length[3], kind, flags];
    all.extend_from_slice(&stream.to_be_bytes());
    all.extend_from_slice(payload);
    all
}

/// The fields that every request has.
fn fields(method: u8) -> Vec<u8> {
    let mut block = vec![method, 0x84, 0x87, 0x01, u8::try_from(SHOP.len()).unwrap()];
    block.extend_from_slice(SHOP.as_bytes());
    block
}

fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields(0x82))
}

/// A request whose body is still to come.
fn post(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &fields(0x83))
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &CANCEL)
}

/// The streams that a client opens, from the `first` on.
fn streams(first: u32, count: u32) -> impl Iterator<Item = u32> {
    (first..first + count).map(|number| number * 2 + 1)
}

fn all(frames: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    frames.flatten().collect()
}

struct Hostile(Wire<Secure>);

impl Hostile {
    fn connect(trust: &Arc<ClientConfig>, proxy: &Proxy) -> Self {
        Self::with(trust, proxy, &[])
    }

    fn with(trust: &Arc<ClientConfig>, proxy: &Proxy, settings: &[u8]) -> Self {
        let mut wire = connect(trust, proxy.https, SHOP).unwrap();
        wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        wire.send(frame(SETTINGS, 0, 0, settings));
        Self(wire)
    }

    /// What it sends may come too late: the other side may have hung up.
    fn send(&mut self, bytes: &[u8]) {
        let _ = self.0.stream.get_mut().write_all(bytes);
    }

    fn receive(&mut self) -> io::Result<Frame> {
        let mut head = [0; 9];
        self.0.stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; length];
        self.0.stream.read_exact(&mut payload)?;
        Ok(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// The first byte of the head that answers this stream; `None` when it is broken off.
    fn answer(&mut self, stream: u32) -> Option<u8> {
        loop {
            let got = self.receive().expect("the connection goes on");
            match got.kind {
                HEADERS if got.stream == stream => return got.payload.first().copied(),
                RST_STREAM if got.stream == stream => return None,
                GOAWAY => panic!("shut out: {:?}", got.payload),
                _ => {}
            }
        }
    }

    /// Why it was shut out; `None` when the connection just ends.
    fn shut_out(&mut self) -> Option<u32> {
        loop {
            let got = self.receive().ok()?;
            if got.kind == GOAWAY {
                let reason = got.payload[4..8].try_into().unwrap();
                return Some(u32::from_be_bytes(reason));
            }
        }
    }

    /// Everything that was sent by now has been looked at.
    fn catch_up(&mut self) {
        self.send(&frame(PING, 0, 0, b"catch up"));
        loop {
            let got = self.receive().expect("the connection goes on");
            if got.kind == PING && got.flags == ACK {
                return;
            }
        }
    }

    fn is_served(&mut self, stream: u32) {
        self.send(&get(stream));
        assert_eq!(self.answer(stream), Some(OK));
    }
}

fn with(limits: Limits) -> (Proxy, Arc<ClientConfig>) {
    let (proxy, authority) = certified(limits);
    (proxy, authority.trust(&[b"h2"]))
}

/// Answers, unless the path says that it never does.
fn serving(limits: Limits) -> (Proxy, Arc<ClientConfig>, App) {
    let (proxy, trust) = with(limits);
    let app = App::start("app");
    proxy.route(1, 1, &[&app]);
    (proxy, trust, app)
}

/// Never answers.
fn silent() -> (Proxy, Arc<ClientConfig>, App) {
    let (proxy, trust) = with(Limits::default());
    let app = App::silent("never");
    proxy.route(1, 1, &[&app]);
    (proxy, trust, app)
}

fn in_flight(proxy: &Proxy, app: &str) -> u64 {
    proxy.status().instance(app).map_or(0, |own| own.in_flight)
}

#[test]
fn a_head_in_ever_more_pieces_is_cut_off() {
    let (proxy, trust, app) = serving(Limits::default());
    let mut client = Hostile::connect(&trust, &proxy);
    let in_pieces = |stream, empty| {
        let block = fields(0x82);
        let mut frames = frame(HEADERS, END_STREAM, stream, &block[..4]);
        (0..empty).for_each(|_| frames.extend(frame(CONTINUATION, 0, stream, &[])));
        frames.extend(frame(CONTINUATION, END_HEADERS, stream, &block[4..]));
        frames
    };
    client.send(&in_pieces(1, 4));
    assert_eq!(client.answer(1), Some(OK), "some pieces are fine");
    client.send(&in_pieces(3, 20));
    assert_eq!(client.shut_out(), Some(ENHANCE_YOUR_CALM));
    assert_eq!(app.seen().len(), 1);
}

#[test]
fn a_small_head_that_unpacks_to_a_large_one_is_not_kept() {
    let (proxy, trust, app) = serving(Limits::default());
    let mut client = Hostile::connect(&trust, &proxy);
    // A field of 3,000 bytes goes into the table of the connection, and is named again and again.
    let mut large = fields(0x82);
    large.extend_from_slice(&[0x40, 1, b'x', 0x7f, 0xb9, 0x16]);
    large.extend_from_slice(&[b'a'; 3_000]);
    let again = |stream, times| {
        let mut block = fields(0x82);
        block.extend(std::iter::repeat_n(0xbe, times));
        frame(HEADERS, END_HEADERS | END_STREAM, stream, &block)
    };
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &large));
    assert_eq!(client.answer(1), Some(OK));
    client.send(&again(3, 8));
    assert_eq!(client.answer(3), Some(OK), "24,000 bytes are fine");
    assert_eq!(app.seen()[1].headers["x"].len(), 8);
    client.send(&again(5, 12));
    assert_ne!(client.answer(5), Some(OK), "36,000 are too many");
    client.send(&again(7, 16_000));
    assert_eq!(client.shut_out(), Some(ENHANCE_YOUR_CALM), "48 million are no mistake");
    assert_eq!(app.seen().len(), 2);
}

/// Opens a few streams at a time, and then does to each what `end` says.
fn flood(client: &mut Hostile, proxy: &Proxy, rounds: u32, end: fn(u32) -> Vec<u8>) {
    const AT_A_TIME: u32 = 48;
    let others = proxy.status().connections - 1;
    for round in 0..rounds {
        let own = || streams(round * AT_A_TIME, AT_A_TIME);
        client.send(&all(own().map(get)));
        let is_out = || proxy.status().connections == others;
        wait_until("they are with the app, or the client is out", || {
            in_flight(proxy, "never") == u64::from(AT_A_TIME) || is_out()
        });
        if is_out() {
            return;
        }
        client.send(&all(own().map(end)));
        wait_until("they are gone", || in_flight(proxy, "never") == 0);
    }
}

#[test]
fn requests_that_are_taken_back_again_and_again() {
    let (proxy, trust, _app) = silent();
    let mut client = Hostile::connect(&trust, &proxy);
    flood(&mut client, &proxy, 10, reset);
    client.catch_up();
    let mut client = Hostile::connect(&trust, &proxy);
    flood(&mut client, &proxy, 40, reset);
    assert_eq!(client.shut_out(), Some(ENHANCE_YOUR_CALM));
    wait_until("nothing is left", || in_flight(&proxy, "never") == 0);
}

/// More room than there can be, which is an error of that stream.
fn overflow(stream: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff])
}

#[test]
fn requests_that_the_proxy_is_made_to_take_back() {
    let (proxy, trust, _app) = silent();
    let mut client = Hostile::connect(&trust, &proxy);
    flood(&mut client, &proxy, 10, overflow);
    client.catch_up();
    let mut client = Hostile::connect(&trust, &proxy);
    flood(&mut client, &proxy, 40, overflow);
    assert_eq!(client.shut_out(), Some(ENHANCE_YOUR_CALM));
    wait_until("nothing is left", || in_flight(&proxy, "never") == 0);
}

#[test]
fn requests_that_are_taken_back_before_they_are_seen() {
    let (proxy, trust, app) = serving(Limits::default());
    let taken_back = |count| all(streams(0, count).map(|own| [get(own), reset(own)].concat()));
    let mut client = Hostile::connect(&trust, &proxy);
    client.send(&taken_back(10));
    client.is_served(101);
    let before = app.seen().len();
    let mut client = Hostile::connect(&trust, &proxy);
    client.send(&taken_back(100));
    assert_eq!(client.shut_out(), Some(ENHANCE_YOUR_CALM));
    assert!(app.seen().len() <= before + 20);
}

#[test]
fn streams_that_break_the_rules_before_they_are_requests() {
    let (proxy, trust, app) = serving(Limits::default());
    // No stream depends on itself.
    let broken = |own: u32| frame(PRIORITY, 0, own, &[&own.to_be_bytes()[..], &[0]].concat());
    let mut client = Hostile::connect(&trust, &proxy);
    client.send(&all(streams(0, 100).map(broken)));
    client.is_served(1_001);
    client.send(&all(streams(1_000, 2_000).map(broken)));
    let reason = client.shut_out();
    assert!(matches!(reason, Some(ENHANCE_YOUR_CALM | PROTOCOL_ERROR)), "{reason:?}");
    assert_eq!(app.seen().len(), 1);
}

#[test]
fn a_body_of_nothing_for_ever() {
    let (proxy, trust, app) = serving(Limits::default());
    let mut client = Hostile::connect(&trust, &proxy);
    let empty = |stream, count| all((0..count).map(|_| frame(DATA, 0, stream, &[])));
    client.send(&[post(1), empty(1, 50), frame(DATA, END_STREAM, 1, b"hello")].concat());
    assert_eq!(client.answer(1), Some(OK));
    assert_eq!(app.seen()[0].body, b"hello");
    client.send(&post(3));
    client.send(&empty(3, 1_000));
    assert_eq!(client.shut_out(), Some(ENHANCE_YOUR_CALM));
    assert_eq!(app.seen().len(), 1);
}

/// Whoever makes the proxy answer and reads nothing stops it from reading, and is let go of in time.
#[test]
fn questions_whose_answers_nobody_reads() {
    let short = Duration::from_millis(300);
    let limits = Limits { idle_within: short, head_within: short, ..Limits::default() };
    let (proxy, trust, _app) = serving(limits);
    for question in [frame(PING, 0, 0, b"question"), frame(SETTINGS, 0, 0, &[])] {
        let mut client = Hostile::connect(&trust, &proxy);
        client.is_served(1);
        client.0.stream.get_ref().sock.set_write_timeout(Some(short)).unwrap();
        let many = question.repeat(8_000);
        let asked = (0..1_000).find(|_| client.0.stream.get_mut().write_all(&many).is_err());
        assert!(asked.is_some(), "it may ask for ever");
        wait_until("nothing is left of it", || proxy.status().connections == 0);
    }
}

/// Room for anything in each stream, and in all together.
fn promising(trust: &Arc<ClientConfig>, proxy: &Proxy) -> Hostile {
    let mut client = Hostile::with(trust, proxy, &[0, 4, 0x7f, 0xff, 0xff, 0xff]);
    client.send(&frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0, 0, 0]));
    client
}

const LARGE: usize = 120 * 1024;
const MANY: u32 = 100;

/// A client that has asked for many large answers, and reads none of them.
fn asking_for_much(limits: &Limits) -> (Proxy, Arc<ClientConfig>, App, Hostile) {
    // Each may have a connection to the app.
    let (proxy, trust) = with(Limits { upstream_connections: 2 * MANY as usize, ..limits.clone() });
    let app = App::with("large", |_, stream| {
        write!(stream.get_mut(), "HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n")?;
        stream.get_mut().write_all(&[b'x'; LARGE])?;
        Ok(true)
    });
    proxy.route(1, 1, &[&app]);
    let mut client = promising(&trust, &proxy);
    client.send(&all(streams(0, MANY).map(get)));
    wait_until("the app has answered all", || app.seen().len() == MANY as usize);
    (proxy, trust, app, client)
}

fn is_read_whole(client: &mut Hostile) {
    let (mut bytes, mut ends) = (0, 0);
    while ends < MANY {
        let got = client.receive().expect("they are all whole");
        assert!(got.kind != RST_STREAM && got.kind != GOAWAY);
        if got.kind == DATA {
            bytes += got.payload.len();
            ends += u32::from(got.flags & END_STREAM != 0);
        }
    }
    assert_eq!(bytes, LARGE * MANY as usize);
}

#[test]
fn answers_that_are_read_late_keep_no_app_waiting_and_are_not_cut() {
    let short = Duration::from_millis(300);
    let limits = Limits { idle_within: short, head_within: short, ..Limits::default() };
    let (proxy, trust, _app, mut client) = asking_for_much(&limits);
    wait_until("the proxy has it all", || in_flight(&proxy, "large") == 0);
    let mut idle = Hostile::connect(&trust, &proxy);
    idle.catch_up();
    while idle.receive().is_ok() {}
    wait_until("it is gone", || proxy.status().connections == 1);
    // The idle one is closed; this one was as quiet, and as long.
    is_read_whole(&mut client);
}

#[test]
fn no_more_waits_for_slow_readers_than_there_is_room_for() {
    let idle_within = Duration::from_millis(300);
    let limits = Limits { answers_bytes: 1024 * 1024, idle_within, ..Limits::default() };
    let (proxy, trust, _app, mut client) = asking_for_much(&limits);
    // Another one takes its time meanwhile, and finds the little that is its own.
    let mut other = promising(&trust, &proxy);
    other.send(&get(1));
    let mut bytes = 0;
    while bytes < LARGE {
        let got = other.receive().expect("it is served");
        bytes += if got.kind == DATA { got.payload.len() } else { 0 };
    }
    // All that could be taken was, by the time that this one is told that it is idle.
    while other.receive().expect("it is told").kind != GOAWAY {}
    assert!(in_flight(&proxy, "large") > u64::from(MANY) / 4, "the proxy has taken it all");
    is_read_whole(&mut client);
    wait_until("the app is done", || in_flight(&proxy, "large") == 0);
}

#[test]
fn one_client_has_so_many_connections_and_goes_on_in_those() {
    let (proxy, trust, app) = serving(crowd::of_two());
    let mut open = [Hostile::connect(&trust, &proxy), Hostile::connect(&trust, &proxy)];
    open.iter_mut().for_each(|client| client.is_served(1));
    assert!(connect(&trust, proxy.https, SHOP).is_err());
    assert!(crowd::is_turned_away(&mut proxy.connect()), "with or without TLS");
    for stream in streams(1, 50) {
        open.iter_mut().for_each(|client| client.is_served(stream));
    }
    assert_eq!((app.seen().len(), proxy.status().turned_away), (102, 2));
}

#[test]
fn answers_that_nobody_reads_are_dropped() {
    let short = Duration::from_millis(300);
    let limits = Limits { stall_within: short, idle_within: short, ..Limits::default() };
    let limits = Limits { head_within: short, ..limits };
    for answers_bytes in [limits.answers_bytes, 0] {
        let (proxy, _, _app, client) = asking_for_much(&Limits { answers_bytes, ..limits.clone() });
        wait_until("nothing is left of it", || {
            let status = proxy.status();
            (status.connections, in_flight(&proxy, "large")) == (0, 0)
        });
        drop(client);
    }
}

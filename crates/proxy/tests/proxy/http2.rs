//! HTTP/2 at the door: each stream is a request like any other.

use std::future::poll_fn;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use hyper::body::Bytes;
use onward_proxy::Limits;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

use crate::authority::{SHOP, certified};
use crate::load::Counted;
use crate::succession::Successor;
use crate::support::{App, PATIENCE, Proxy, wait_until};

/// A client with one connection.
struct Client {
    runtime: Runtime,
    send: SendRequest<Bytes>,
    ended: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

struct Got {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
}

impl Got {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    fn connect(config: &Arc<ClientConfig>, to: SocketAddr) -> Option<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let opened = runtime.block_on(async {
            let socket = TcpStream::connect(to).await.ok()?;
            socket.set_nodelay(true).unwrap();
            let name = ServerName::try_from(SHOP).unwrap();
            let secure = TlsConnector::from(config.clone()).connect(name, socket).await.ok()?;
            assert_eq!(secure.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            h2::client::handshake(secure).await.ok()
        });
        let (send, connection) = opened?;
        let ended = runtime.spawn(connection);
        Some(Self { runtime, send, ended })
    }

    /// Begins a request; `None` when the connection takes none any more.
    fn begin(
        &mut self,
        request: Request<()>,
        over: bool,
    ) -> Option<(ResponseFuture, SendStream<Bytes>)> {
        let send = self.send.clone();
        self.runtime.block_on(async {
            let mut send = send.ready().await.ok()?;
            send.send_request(request, over).ok()
        })
    }

    fn finish(&self, answer: ResponseFuture) -> Result<Got, h2::Error> {
        self.runtime.block_on(async {
            tokio::time::timeout(PATIENCE, read(answer.await?)).await.expect("an answer in time")
        })
    }

    fn ask(&mut self, request: Request<()>) -> Result<Got, h2::Error> {
        let (answer, _) = self.begin(request, true).expect("a stream");
        self.finish(answer)
    }

    fn get(&mut self, path: &str) -> Got {
        self.ask(get(path)).unwrap()
    }

    /// The connection only moves while its runtime does.
    fn run_for_a_moment(&self) {
        self.runtime.block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
    }

    /// Sends a body as the proxy takes it, and reads the answer meanwhile.
    fn post(&mut self, request: Request<()>, body: Bytes, trailers: Option<HeaderMap>) -> Got {
        let (answer, sending) = self.begin(request, false).unwrap();
        self.runtime.block_on(async {
            let sent = upload(sending, body, trailers);
            let ((), got) =
                tokio::join!(sent, async { read(answer.await.unwrap()).await.unwrap() });
            got
        })
    }
}

async fn upload(mut sending: SendStream<Bytes>, mut body: Bytes, trailers: Option<HeaderMap>) {
    while !body.is_empty() {
        sending.reserve_capacity(body.len());
        let room = poll_fn(|cx| sending.poll_capacity(cx)).await.unwrap().unwrap();
        sending.send_data(body.split_to(room.min(body.len())), false).unwrap();
    }
    match trailers {
        Some(fields) => sending.send_trailers(fields).unwrap(),
        None => sending.send_data(Bytes::new(), true).unwrap(),
    }
}

async fn read(answer: Response<RecvStream>) -> Result<Got, h2::Error> {
    let (head, mut stream) = answer.into_parts();
    let mut body = vec![];
    while let Some(piece) = stream.data().await {
        let piece = piece?;
        stream.flow_control().release_capacity(piece.len())?;
        body.extend_from_slice(&piece);
    }
    let trailers = stream.trailers().await?;
    Ok(Got { status: head.status.as_u16(), headers: head.headers, body, trailers })
}

fn get(path: &str) -> Request<()> {
    Request::get(format!("https://{SHOP}{path}")).body(()).unwrap()
}

fn post(path: &str) -> http::request::Builder {
    Request::post(format!("https://{SHOP}{path}"))
}

fn with(limits: Limits) -> (Proxy, Arc<ClientConfig>) {
    let (proxy, authority) = certified(limits);
    (proxy, authority.trust(&[b"h2", b"http/1.1"]))
}

fn start() -> (Proxy, Arc<ClientConfig>) {
    with(Limits::default())
}

/// A proxy before this app, and a client of it.
fn serving(limits: Limits, app: &App) -> (Proxy, Client) {
    let (proxy, trust) = with(limits);
    proxy.route(1, 1, &[app]);
    let client = Client::connect(&trust, proxy.https).unwrap();
    (proxy, client)
}

/// One request is with the app that never answers.
fn is_in_flight(proxy: &Proxy, client: &Client) {
    wait_until("it is in flight", || {
        client.run_for_a_moment();
        proxy.status().instance("never").is_some_and(|own| own.in_flight == 1)
    });
}

/// Sends bodies back, and what came behind them.
fn echo() -> App {
    App::with("echo", |seen, stream| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: x\r\nX: 1\r\n\r\n";
        stream.get_mut().write_all(head.as_bytes())?;
        for piece in seen.body.chunks(50_000) {
            write!(stream.get_mut(), "{:x}\r\n", piece.len())?;
            stream.get_mut().write_all(piece)?;
            stream.get_mut().write_all(b"\r\n")?;
        }
        stream.get_mut().write_all(b"0\r\nX-Sum: 7\r\n\r\n")?;
        Ok(true)
    })
}

#[test]
fn a_stream_is_a_request_like_any_other() {
    let app = App::start("app");
    let (proxy, mut client) = serving(Limits::default(), &app);
    let mut request = get("/one?two=3");
    request.headers_mut().append("cookie", "a=1".parse().unwrap());
    request.headers_mut().append("cookie", "b=2".parse().unwrap());
    request.headers_mut().append("te", "trailers".parse().unwrap());
    let got = client.ask(request).unwrap();
    assert_eq!((got.status, got.text()), (200, "app /one?two=3".to_owned()));
    assert!(got.headers.contains_key("date"));
    let seen = &app.seen()[0];
    assert_eq!(seen.line, "GET /one?two=3 HTTP/1.1");
    for (name, value) in [
        ("host", Some(SHOP)),
        ("cookie", Some("a=1; b=2")),
        ("x-forwarded-proto", Some("https")),
        ("x-forwarded-for", Some("127.0.0.1")),
        ("x-forwarded-host", Some(SHOP)),
        ("te", None),
        ("transfer-encoding", None),
    ] {
        assert_eq!(seen.header(name), value, "{name}");
    }
    for path in ["/a", "/b", "/c"] {
        assert_eq!(client.get(path).text(), format!("app {path}"));
    }
    let head = Request::head(format!("https://{SHOP}/head")).body(()).unwrap();
    let got = client.ask(head).unwrap();
    assert!(got.status == 200 && got.body.is_empty() && got.headers.contains_key("content-length"));
    assert_eq!(app.connections.load(SeqCst), 1, "the connection to the app is kept");
    let status = proxy.status();
    assert_eq!((status.release("shop/local", 1).requests, status.connections), (5, 1));
}

#[test]
fn bodies_go_both_ways_with_what_comes_behind_them() {
    let echo = echo();
    let (_proxy, mut client) = serving(Limits::default(), &echo);
    let body: Bytes = (0..2_000_000_u32).map(|at| (at % 251) as u8).collect();
    let request = post("/").header("trailer", "x-check").body(()).unwrap();
    let trailers = HeaderMap::from_iter([("x-check".parse().unwrap(), "ok".parse().unwrap())]);
    let got = client.post(request, body.clone(), Some(trailers));
    assert!(got.body == body);
    assert_eq!(got.trailers.unwrap()["x-sum"], "7");
    assert!(!got.headers.contains_key("x"), "Connection says that it goes no further");
    assert_eq!(echo.seen()[0].header("transfer-encoding"), Some("chunked"));
    assert_eq!(echo.seen()[0].trailers, ["x-check: ok"]);
    let request = post("/").header("content-length", "5").body(()).unwrap();
    assert_eq!(client.post(request, Bytes::from("hello"), None).text(), "hello");
    assert_eq!(echo.seen()[1].header("content-length"), Some("5"));
}

/// As curl does over HTTP/1.1, and others here: it would wait for ever.
#[test]
fn who_waits_for_a_word_before_the_body_gets_it() {
    let echo = echo();
    let (_proxy, mut client) = serving(Limits::default(), &echo);
    let request = post("/").header("expect", "100-continue").body(()).unwrap();
    let (mut answer, sending) = client.begin(request, false).unwrap();
    let told = client.runtime.block_on(async {
        tokio::time::timeout(PATIENCE, poll_fn(|cx| answer.poll_informational(cx))).await
    });
    assert_eq!(told.expect("a word in time").unwrap().unwrap().status(), 100);
    let got = client.runtime.block_on(async {
        upload(sending, Bytes::from("hello"), None).await;
        read(answer.await.unwrap()).await.unwrap()
    });
    assert_eq!(got.text(), "hello");
    assert_eq!(echo.seen()[0].header("expect"), None);
}

#[test]
fn many_are_under_way_at_once() {
    let app = App::with("slow", |seen, stream| {
        thread::sleep(Duration::from_millis(100));
        let path = seen.path();
        write!(
            stream.get_mut(),
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}",
            path.len()
        )?;
        Ok(true)
    });
    let (proxy, mut client) = serving(Limits::default(), &app);
    let answers: Vec<_> =
        (0..60).map(|at| client.begin(get(&format!("/{at}")), true).unwrap().0).collect();
    wait_until("they are in flight together", || {
        client.run_for_a_moment();
        proxy.status().instance("slow").is_some_and(|own| own.in_flight > 20)
    });
    for (at, answer) in answers.into_iter().enumerate() {
        assert_eq!(client.finish(answer).unwrap().text(), format!("/{at}"));
    }
    assert_eq!(proxy.status().connections, 1);
}

#[test]
fn what_is_wrong_is_refused_and_the_connection_goes_on() {
    let app = App::start("app");
    let (proxy, mut client) = serving(Limits::default(), &app);
    let other_host = {
        let mut request = get("/");
        request.headers_mut().insert("host", "other.example.com".parse().unwrap());
        request
    };
    let connect = Request::connect(format!("{SHOP}:443")).body(()).unwrap();
    let many = (0..200).fold(Request::get(format!("https://{SHOP}/")), |all, at| {
        all.header(format!("x-{at}"), "1")
    });
    let large = Request::get(format!("https://{SHOP}/")).header("x", "a".repeat(40_000));
    for (request, status) in [
        (other_host, 400),
        (connect, 405),
        (many.body(()).unwrap(), 431),
        (large.body(()).unwrap(), 431),
    ] {
        assert_eq!(client.ask(request).unwrap().status, status);
    }
    assert_eq!(client.get("/").status, 200);
    assert_eq!(app.seen().len(), 1);
    assert_eq!(proxy.status().refused, 3, "h2 itself answers to the large one");
}

/// An answer to HEAD, and one without content, has no bytes: a client takes them for a broken rule.
#[test]
fn answers_without_a_body_have_none() {
    let says = App::with("says", |seen, stream| {
        // It shouldn't say a length here, and some do.
        let status = if seen.path() == "/none" { "204 No" } else { "304 As It Was" };
        write!(stream.get_mut(), "HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\n")?;
        Ok(true)
    });
    let (proxy, mut client) = serving(Limits::default(), &says);
    for (path, status, length) in [("/none", 204, None), ("/same", 304, Some("5"))] {
        let got = client.ask(get(path)).unwrap();
        let said = got.headers.get("content-length").map(|own| own.to_str().unwrap());
        assert_eq!((got.status, said, got.body.len()), (status, length, 0));
    }
    proxy.client().set(&onward_proxy::Table { version: 2, ..Default::default() }).unwrap();
    let head = |method| Request::builder().method(method).uri("https://shop.example.com/");
    let got = client.ask(head("GET").body(()).unwrap()).unwrap();
    assert!(
        got.status == 503 && !got.body.is_empty(),
        "a control: the proxy's own answer has a text"
    );
    let got = client.ask(head("HEAD").body(()).unwrap()).unwrap();
    assert_eq!((got.status, got.body.len()), (503, 0));
}

#[test]
fn a_body_that_is_not_as_long_as_announced_reaches_no_app_whole() {
    let app = App::start("app");
    let (proxy, mut client) = serving(Limits::default(), &app);
    let request = post("/").header("content-length", "5").body(()).unwrap();
    let (answer, mut sending) = client.begin(request, false).unwrap();
    sending.send_data(Bytes::from("hello, and more"), true).unwrap();
    assert!(client.finish(answer).is_err());
    wait_until("it is counted", || proxy.status().release("shop/local", 1).requests == 1);
    assert_eq!(app.seen().len(), 0);
}

#[test]
fn an_answer_that_breaks_off_is_not_mistaken_for_a_whole_one() {
    let app = App::with("short", |_, stream| {
        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")?;
        Ok(false)
    });
    let (proxy, mut client) = serving(Limits::default(), &app);
    let error = client.ask(get("/")).err().unwrap();
    assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
    assert_eq!(proxy.status().release("shop/local", 1).lost, 1);
}

#[test]
fn what_the_client_takes_back_is_ended() {
    let app = App::silent("never");
    let (proxy, mut client) = serving(Limits::default(), &app);
    let (_answer, mut sending) = client.begin(get("/"), true).unwrap();
    is_in_flight(&proxy, &client);
    sending.send_reset(Reason::CANCEL);
    wait_until("nothing is left", || {
        client.run_for_a_moment();
        proxy.status().instance("never").unwrap().in_flight == 0
    });
    let counted = proxy.status().release("shop/local", 1);
    assert_eq!((counted.aborted_by_client, counted.lost), (1, 0));
}

#[test]
fn one_that_waits_is_answered_in_time_and_cut_when_told() {
    let limits = Limits { answer_within: Duration::from_millis(300), ..Limits::default() };
    let app = App::silent("never");
    let (proxy, mut client) = serving(limits, &app);
    assert_eq!(client.get("/").status, 504);
    let (answer, _) = client.begin(get("/"), true).unwrap();
    is_in_flight(&proxy, &client);
    proxy.client().cut("never").unwrap();
    assert_eq!(client.finish(answer).unwrap().status, 504);
}

#[test]
fn who_does_not_read_is_ended_alone() {
    let limits = Limits { stall_within: Duration::from_millis(300), ..Limits::default() };
    let app = App::with("large", |seen, stream| {
        let size = if seen.path() == "/large" { 4_000_000 } else { 10 };
        write!(stream.get_mut(), "HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n")?;
        stream.get_mut().write_all(&vec![b'x'; size])?;
        Ok(true)
    });
    let (_proxy, mut client) = serving(limits, &app);
    let (answer, _) = client.begin(get("/large"), true).unwrap();
    let error = client.runtime.block_on(async {
        let mut body = answer.await.unwrap().into_body();
        // What is read is not released, so the window stays shut.
        loop {
            match body.data().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => return error,
                None => panic!("it can't be whole"),
            }
        }
    });
    assert_eq!(error.reason(), Some(Reason::CANCEL));
    assert_eq!(client.get("/small").body.len(), 10);
}

#[test]
fn an_upload_that_stalls_is_ended_and_one_that_moves_is_not() {
    let limits = Limits {
        stall_within: Duration::from_millis(400),
        answer_within: Duration::from_millis(600),
        ..Limits::default()
    };
    let echo = echo();
    let (_proxy, mut client) = serving(limits, &echo);
    let (answer, mut sending) = client.begin(post("/").body(()).unwrap(), false).unwrap();
    client.runtime.block_on(async {
        for _ in 0..12 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            sending.send_data(Bytes::from("x"), false).unwrap();
        }
        sending.send_data(Bytes::new(), true).unwrap();
    });
    assert_eq!(client.finish(answer).unwrap().text(), "x".repeat(12));
    let (answer, mut sending) = client.begin(post("/").body(()).unwrap(), false).unwrap();
    sending.send_data(Bytes::from("x"), false).unwrap();
    assert!(client.finish(answer).is_err());
}

#[test]
fn who_is_idle_is_told_and_closed() {
    let limits = Limits {
        idle_within: Duration::from_millis(200),
        head_within: Duration::from_secs(5),
        ..Limits::default()
    };
    let app = App::start("app");
    let (proxy, mut client) = serving(limits, &app);
    client.get("/");
    let Client { runtime, send: _send, ended } = client;
    runtime
        .block_on(async { tokio::time::timeout(PATIENCE, ended).await })
        .unwrap()
        .unwrap()
        .unwrap();
    wait_until("it is gone", || proxy.status().connections == 0);
}

/// Clients that ask without a pause and never retry; one that is told to leave comes again.
fn load(
    trust: &Arc<ClientConfig>,
    to: SocketAddr,
    clients: usize,
) -> (Arc<AtomicBool>, Arc<AtomicU64>, Vec<JoinHandle<Counted>>) {
    let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let clients = (0..clients).map(|_| {
        let (stop, done, trust) = (stop.clone(), done.clone(), trust.clone());
        thread::spawn(move || {
            let mut counted = Counted::default();
            let mut client = None;
            while !stop.load(SeqCst) {
                let Some(mut own) = client.take().or_else(|| Client::connect(&trust, to)) else {
                    counted.broken += 1;
                    continue;
                };
                let begun: Vec<_> = (0..4).map_while(|_| own.begin(get("/load"), true)).collect();
                let told_to_leave = begun.len() < 4;
                for (answer, _) in begun {
                    match own.finish(answer) {
                        Ok(got) if got.status < 500 => counted.good += 1,
                        Ok(_) => counted.server_errors += 1,
                        Err(_) => counted.broken += 1,
                    }
                    done.fetch_add(1, SeqCst);
                }
                client = (!told_to_leave).then_some(own);
            }
            counted
        })
    });
    let clients = clients.collect();
    (stop, done, clients)
}

#[test]
fn switches_and_successors_lose_nothing() {
    let (proxy, trust) = start();
    let (old, new) = (App::start("old"), App::start("new"));
    proxy.route(1, 1, &[&old]);
    let (stop, done, clients) = load(&trust, proxy.https, 6);
    let wait_for = |more: u64| {
        let goal = done.load(SeqCst) + more;
        wait_until("the load goes on", || done.load(SeqCst) >= goal);
    };
    wait_for(100);
    for version in 2..12 {
        let app = if version % 2 == 0 { &new } else { &old };
        proxy.route(version, version, &[app]);
        wait_for(50);
    }
    let second = Successor::of(&proxy, "second");
    second.replace(&proxy);
    wait_for(300);
    wait_until("the old one is gone", || std::fs::metadata(&proxy.control).is_err());
    stop.store(true, SeqCst);
    let mut sum = Counted::default();
    for client in clients {
        let counted = client.join().unwrap();
        sum.good += counted.good;
        sum.server_errors += counted.server_errors;
        sum.broken += counted.broken;
    }
    assert_eq!((sum.server_errors, sum.broken), (0, 0), "{sum:?}");
    assert!(sum.good >= 900);
}

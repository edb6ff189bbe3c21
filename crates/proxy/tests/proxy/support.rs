//! A proxy in this process, apps as threads, and clients on raw sockets.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use onward_proxy::{
    Client, Config, Error, Instance, Limits, Route, Status, Stopper, Table, run_until,
};

/// Long enough for a busy machine, short enough to fail a test.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Proxy {
    pub addr: SocketAddr,
    pub https: SocketAddr,
    pub control: PathBuf,
    pub table_file: PathBuf,
    pub directory: tempfile::TempDir,
    stopper: Stopper,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

impl Proxy {
    pub fn start() -> Self {
        Self::with(Limits::default())
    }

    pub fn with(limits: Limits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self::on(listener, directory, limits, 2)
    }

    pub fn on(
        listener: TcpListener,
        directory: tempfile::TempDir,
        limits: Limits,
        workers: usize,
    ) -> Self {
        let addr = listener.local_addr().unwrap();
        let for_tls = TcpListener::bind("127.0.0.1:0").unwrap();
        let https = for_tls.local_addr().unwrap();
        let control = directory.path().join("control");
        let table_file = directory.path().join("table.json");
        let config = Config {
            listener,
            https: Some(for_tls),
            control: control.clone(),
            table_file: table_file.clone(),
            workers,
            limits,
            access_log: Some(directory.path().join("access.log")),
        };
        let stopper = Stopper::default();
        let thread = thread::spawn({
            let stopper = stopper.clone();
            move || run_until(config, &stopper)
        });
        let proxy =
            Self { addr, https, control, table_file, directory, stopper, thread: Some(thread) };
        wait_until("the control socket answers", || Client::connect(&proxy.control).is_ok());
        proxy
    }

    pub fn client(&self) -> Client {
        Client::connect(&self.control).unwrap()
    }

    pub fn status(&self) -> Status {
        self.client().status().unwrap()
    }

    /// Routes everything to these apps.
    pub fn route(&self, version: u64, release: u64, apps: &[&App]) {
        self.client().set(&table(version, release, apps, 10_000)).unwrap();
    }

    /// Routes everything to a socket that the test answers by hand.
    pub fn route_by_hand(&self, hold_ms: u64) -> TcpListener {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut table = table(1, 1, &[], hold_ms);
        let instance = Instance { id: "by hand".into(), addr: listener.local_addr().unwrap() };
        table.routes[0].instances.push(instance);
        self.client().set(&table).unwrap();
        listener
    }

    pub fn ask_to_stop(&self) {
        self.stopper.stop();
    }

    /// Stops and waits for the end.
    pub fn stop(mut self) -> tempfile::TempDir {
        self.stopper.stop();
        self.thread.take().unwrap().join().unwrap().unwrap();
        let nowhere = PathBuf::new();
        let mut own = std::mem::ManuallyDrop::new(self);
        own.control = nowhere;
        // The directory outlives the proxy: a test may start another one in it.
        std::mem::replace(&mut own.directory, tempfile::tempdir().unwrap())
    }

    pub fn connect(&self) -> Wire {
        Wire::new(TcpStream::connect(self.addr).unwrap())
    }

    pub fn get(&self, path: &str) -> Answer {
        self.connect().get(path)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stopper.stop();
    }
}

pub fn table(version: u64, release: u64, apps: &[&App], hold_ms: u64) -> Table {
    let instances = apps.iter().map(|app| Instance { id: app.id.clone(), addr: app.addr });
    let route = Route {
        name: "shop/local".into(),
        hosts: vec![],
        release,
        instances: instances.collect(),
        hold_ms,
        ..Route::default()
    };
    Table { version, routes: vec![route], ..Table::default() }
}

pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A request as an app or a strict server saw it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub line: String,
    pub headers: BTreeMap<String, Vec<String>>,
    pub body: Vec<u8>,
    /// Lines behind a chunked body.
    pub trailers: Vec<String>,
}

impl Seen {
    pub fn path(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or("")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|values| values.first()).map(String::as_str)
    }
}

type Handler = dyn Fn(&Seen, &mut BufReader<TcpStream>) -> io::Result<bool> + Send + Sync;

/// An app: one thread a connection, everything it saw, and a switch to kill it.
pub struct App {
    pub id: String,
    pub addr: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    dead: Arc<AtomicBool>,
    pub connections: Arc<AtomicUsize>,
}

impl App {
    /// Answers each request with `id path` and keeps the connection.
    pub fn start(id: &str) -> Self {
        let name = id.to_owned();
        Self::with(id, move |seen, stream| {
            let text = format!("{name} {}", seen.path());
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", text.len());
            stream.get_mut().write_all(format!("{head}{text}").as_bytes())?;
            Ok(true)
        })
    }

    /// Takes requests and never answers.
    pub fn silent(id: &str) -> Self {
        Self::with(id, |_, stream| {
            let _ = stream.read(&mut [0]);
            Ok(false)
        })
    }

    /// The handler answers; `false` ends the connection.
    pub fn with(
        id: &str,
        handler: impl Fn(&Seen, &mut BufReader<TcpStream>) -> io::Result<bool> + Send + Sync + 'static,
    ) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), id, handler)
    }

    pub fn at(
        addr: SocketAddr,
        id: &str,
        handler: impl Fn(&Seen, &mut BufReader<TcpStream>) -> io::Result<bool> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(addr).unwrap();
        let app = Self {
            id: id.into(),
            addr: listener.local_addr().unwrap(),
            seen: Arc::default(),
            open: Arc::default(),
            dead: Arc::default(),
            connections: Arc::default(),
        };
        let (seen, open, dead) = (app.seen.clone(), app.open.clone(), app.dead.clone());
        let connections = app.connections.clone();
        let handler: Arc<Handler> = Arc::new(handler);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if dead.load(SeqCst) {
                    return;
                }
                connections.fetch_add(1, SeqCst);
                stream.set_nodelay(true).unwrap();
                open.lock().unwrap().push(stream.try_clone().unwrap());
                let (seen, handler) = (seen.clone(), handler.clone());
                thread::spawn(move || converse(stream, &seen, &*handler));
            }
        });
        app
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Ends like a process killed by force: connections reset or ended, port closed.
    pub fn kill(&self) {
        self.dead.store(true, SeqCst);
        let _ = TcpStream::connect(self.addr);
        wait_until("the app's port is closed", || TcpStream::connect(self.addr).is_err());
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.dead.store(true, SeqCst);
        let _ = TcpStream::connect(self.addr);
    }
}

fn converse(stream: TcpStream, all: &Mutex<Vec<Seen>>, handler: &Handler) {
    let mut stream = BufReader::new(stream);
    while let Ok(Some(seen)) = read_request(&mut stream) {
        all.lock().unwrap().push(seen.clone());
        if !matches!(handler(&seen, &mut stream), Ok(true)) {
            let _ = stream.get_ref().shutdown(std::net::Shutdown::Both);
            return;
        }
    }
}

/// Reads one request strictly; anything doubtful is an error, so that smuggled bytes show.
pub fn read_request(stream: &mut impl BufRead) -> io::Result<Option<Seen>> {
    let mut seen = Seen { line: line(stream)?, ..Seen::default() };
    if seen.line.is_empty() {
        return Ok(None);
    }
    read_headers(stream, &mut seen.headers)?;
    assert!(
        !(seen.headers.contains_key("content-length")
            && seen.headers.contains_key("transfer-encoding")),
        "two framings: {seen:?}"
    );
    seen.body = read_body(stream, &seen.headers, false, &mut seen.trailers)?;
    Ok(Some(seen))
}

/// What comes until it ends with one of these.
pub fn read_to(stream: &mut impl Read, ends: &[&str]) -> Vec<u8> {
    let (mut seen, mut some) = (vec![], [0; 1_000]);
    while !ends.iter().any(|end| seen.ends_with(end.as_bytes())) {
        let read = stream.read(&mut some).unwrap();
        assert!(read > 0, "{}", seen.escape_ascii());
        seen.extend_from_slice(&some[..read]);
    }
    seen
}

fn line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    Ok(line.trim_end_matches("\r\n").to_owned())
}

fn read_headers(
    stream: &mut impl BufRead,
    headers: &mut BTreeMap<String, Vec<String>>,
) -> io::Result<()> {
    loop {
        let line = line(stream)?;
        if line.is_empty() {
            return Ok(());
        }
        let (name, value) = line.split_once(':').ok_or(io::ErrorKind::InvalidData)?;
        headers.entry(name.to_ascii_lowercase()).or_default().push(value.trim().to_owned());
    }
}

fn read_body(
    stream: &mut impl BufRead,
    headers: &BTreeMap<String, Vec<String>>,
    until_end: bool,
    trailers: &mut Vec<String>,
) -> io::Result<Vec<u8>> {
    let mut body = vec![];
    if headers.contains_key("transfer-encoding") {
        loop {
            let size = usize::from_str_radix(line(stream)?.trim(), 16).map_err(io::Error::other)?;
            if size == 0 {
                loop {
                    let line = line(stream)?;
                    if line.is_empty() {
                        return Ok(body);
                    }
                    trailers.push(line);
                }
            }
            let start = body.len();
            body.resize(start + size, 0);
            stream.read_exact(&mut body[start..])?;
            if !line(stream)?.is_empty() {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
    }
    match headers.get("content-length") {
        Some(length) => {
            body.resize(length[0].parse().map_err(io::Error::other)?, 0);
            stream.read_exact(&mut body)?;
        }
        None if until_end => {
            stream.read_to_end(&mut body)?;
        }
        None => {}
    }
    Ok(body)
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, Vec<String>>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|values| values.first()).map(String::as_str)
    }
}

/// A client's connection.
pub struct Wire<S: Read + Write = TcpStream> {
    pub stream: BufReader<S>,
}

impl Wire {
    pub fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream: BufReader::new(stream) }
    }
}

impl<S: Read + Write> Wire<S> {
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: shop.example.com\r\n\r\n"));
        self.answer().unwrap()
    }

    pub fn answer(&mut self) -> io::Result<Answer> {
        self.answer_to("GET")
    }

    pub fn answer_to(&mut self, method: &str) -> io::Result<Answer> {
        let first = line(&mut self.stream)?;
        let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status: u16 =
            status.ok_or_else(|| io::Error::other(format!("no status: {first:?}")))?;
        let mut headers = BTreeMap::new();
        read_headers(&mut self.stream, &mut headers)?;
        let bodiless = method == "HEAD" || status < 200 || status == 204 || status == 304;
        let body = if bodiless {
            vec![]
        } else {
            read_body(&mut self.stream, &headers, true, &mut vec![])?
        };
        Ok(Answer { status, headers, body })
    }

    /// Everything until the proxy closes.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = vec![];
        let _ = self.stream.read_to_end(&mut rest);
        rest
    }
}

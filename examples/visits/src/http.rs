//! A small HTTP/1.1 server: one thread per connection, a bounded number of them.
//!
//! It reads requests strictly, because a proxy in front reads them too and both have to see the
//! same borders: what is not plainly a request is answered with 400 and the connection closed.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Connections at once. Further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 512;
/// Above this many connections, each answer closes its own, so that waiting ones get a turn.
const CONNECTIONS_CROWDED: usize = CONNECTIONS_MAX * 3 / 4;
/// A connection may be silent this long between requests. Longer than a proxy keeps idle ones,
/// so that the proxy is the one who closes them.
const IDLE: Duration = Duration::from_secs(75);
/// A request has to be complete within this time after its first byte.
const REQUEST_WITHIN: Duration = Duration::from_secs(10);
/// The client has to take an answer within this time.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// The longest request head.
const HEAD_BYTES_MAX: u64 = 16 * 1024;
/// The largest request body that is read and thrown away.
const BODY_BYTES_MAX: u64 = 64 * 1024;
/// A connection needs little, and there may be many.
const STACK_BYTES: usize = 128 * 1024;

/// What was asked.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET`, for example.
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// Whether the connection ends with the answer.
    pub close: bool,
}

/// What is answered.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    content_type: &'static str,
    extra: Option<(&'static str, &'static str)>,
    /// The body; not sent for `HEAD`.
    pub body: String,
}

impl Answer {
    /// A plain text.
    pub fn text(status: u16, body: &str) -> Self {
        let content_type = "text/plain; charset=utf-8";
        Self { status, content_type, extra: None, body: body.to_owned() }
    }

    /// A page.
    pub fn html(body: String) -> Self {
        Self { status: 200, content_type: "text/html; charset=utf-8", extra: None, body }
    }

    /// The same with one more header.
    pub fn with(self, name: &'static str, value: &'static str) -> Self {
        Self { extra: Some((name, value)), ..self }
    }

    fn send(&self, mut to: impl Write, head_only: bool, close: bool) -> io::Result<()> {
        let mut text = format!(
            "HTTP/1.1 {} {}\r\ncontent-type: {}\r\ncontent-length: {}\r\ncache-control: no-store\r\n\
             connection: {}\r\n",
            self.status,
            reason(self.status),
            self.content_type,
            self.body.len(),
            if close { "close" } else { "keep-alive" },
        );
        if let Some((name, value)) = self.extra {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        if !head_only {
            text.push_str(&self.body);
        }
        to.write_all(text.as_bytes())
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Other",
    }
}

/// Who answers requests.
pub type Handler = dyn Fn(&Request) -> Answer + Send + Sync;

/// Serves for ever.
pub fn serve(listener: &TcpListener, handler: Arc<Handler>) -> io::Result<()> {
    let slots = Arc::new(Slots::default());
    loop {
        let slot = Slots::take(&slots);
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, for example: let the others finish.
                eprintln!("visits: cannot accept a connection: {error}");
                thread::sleep(Duration::from_millis(50));
                continue;
            }
        };
        let handler = Arc::clone(&handler);
        let connection = thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
            // An error here means that the client is gone: there is nobody to tell.
            let _ = talk(&stream, handler.as_ref(), &slot);
        });
        if let Err(error) = connection {
            eprintln!("visits: cannot start a thread: {error}");
        }
    }
}

/// Counts the connections.
#[derive(Default)]
struct Slots {
    taken: Mutex<usize>,
    freed: Condvar,
}

/// One connection's place; given back when dropped.
struct Slot(Arc<Slots>);

impl Slots {
    /// Waits until a place is free.
    fn take(this: &Arc<Self>) -> Slot {
        let taken = this.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = this
            .freed
            .wait_while(taken, |taken| *taken >= CONNECTIONS_MAX)
            .unwrap_or_else(PoisonError::into_inner);
        *taken += 1;
        Slot(Arc::clone(this))
    }
}

impl Slot {
    fn crowded(&self) -> bool {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) > CONNECTIONS_CROWDED
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.freed.notify_one();
    }
}

fn talk(stream: &TcpStream, handler: &Handler, slot: &Slot) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(ANSWER_WITHIN))?;
    let mut reader = BufReader::new(Timed { stream, until: Instant::now() });
    loop {
        reader.get_mut().until = Instant::now() + IDLE;
        if reader.fill_buf()?.is_empty() {
            return Ok(());
        }
        reader.get_mut().until = Instant::now() + REQUEST_WITHIN;
        match read_request(&mut reader) {
            Ok(request) => {
                let close = request.close || slot.crowded();
                handler(&request).send(stream, request.method == "HEAD", close)?;
                if close {
                    return Ok(());
                }
            }
            Err(Refusal::Status(status)) => {
                let answer = Answer::text(status, &format!("{}\n", reason(status)));
                return answer.send(stream, false, true);
            }
            Err(Refusal::Gone) => return Ok(()),
        }
    }
}

/// A stream whose reads end at a fixed time, however slowly the bytes trickle in.
struct Timed<'s> {
    stream: &'s TcpStream,
    until: Instant,
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        (&mut &*self.stream).read(buffer)
    }
}

/// Why there is no request.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    /// Say so and close.
    Status(u16),
    /// Nobody is there any more.
    Gone,
}

const BAD: Refusal = Refusal::Status(400);

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::Status(408),
            _ => Self::Gone,
        }
    }
}

fn read_request(reader: &mut impl BufRead) -> Result<Request, Refusal> {
    let mut head = reader.by_ref().take(HEAD_BYTES_MAX);
    let first = read_line(&mut head)?;
    let words: Vec<&str> = first.split(' ').collect();
    let [method, target, version] = words[..] else { return Err(BAD) };
    let old = match version {
        "HTTP/1.1" => false,
        "HTTP/1.0" => true,
        _ => return Err(BAD),
    };
    if !is_token(method) {
        return Err(BAD);
    }
    let path = path(target)?;
    let mut fields = Fields { close: old, ..Fields::default() };
    loop {
        let line = read_line(&mut head)?;
        if line.is_empty() {
            break;
        }
        fields.add(&line)?;
    }
    if fields.hosts != usize::from(!old) && !(old && fields.hosts == 1) {
        return Err(BAD);
    }
    let body = fields.body_bytes.unwrap_or(0);
    if body > BODY_BYTES_MAX {
        return Err(Refusal::Status(413));
    }
    if io::copy(&mut reader.take(body), &mut io::sink())? < body {
        return Err(Refusal::Gone);
    }
    Ok(Request { method: method.to_owned(), path, close: fields.close })
}

/// A line without its end. The head has to end within its limit.
fn read_line(head: &mut io::Take<impl BufRead>) -> Result<String, Refusal> {
    let mut line = Vec::new();
    head.read_until(b'\n', &mut line)?;
    if line.ends_with(b"\r\n") {
        line.truncate(line.len() - 2);
        return String::from_utf8(line).map_err(|_| BAD);
    }
    Err(match (line.ends_with(b"\n"), head.limit()) {
        (true, _) => BAD,
        (false, 0) => Refusal::Status(431),
        (false, _) => Refusal::Gone,
    })
}

/// What the header fields say that matters here.
#[derive(Default)]
struct Fields {
    close: bool,
    hosts: usize,
    body_bytes: Option<u64>,
}

impl Fields {
    fn add(&mut self, line: &str) -> Result<(), Refusal> {
        let (name, value) = line.split_once(':').ok_or(BAD)?;
        let value = value.trim_matches([' ', '\t']);
        if !is_token(name) || value.contains(['\r', '\0']) {
            return Err(BAD);
        }
        if name.eq_ignore_ascii_case("connection") {
            let has = |token: &str| value.split(',').any(|t| t.trim().eq_ignore_ascii_case(token));
            self.close = has("close") || (self.close && !has("keep-alive"));
        } else if name.eq_ignore_ascii_case("host") {
            self.hosts += 1;
        } else if name.eq_ignore_ascii_case("content-length") {
            let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
            let bytes = value.parse().ok().filter(|_| digits).ok_or(BAD)?;
            if self.body_bytes.replace(bytes).is_some() {
                return Err(BAD);
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            // A page that is only read needs no body of unknown length.
            return Err(BAD);
        }
        Ok(())
    }
}

fn is_token(text: &str) -> bool {
    let special = b"!#$%&'*+-.^_`|~";
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || special.contains(&b))
}

/// The path of a target: `/a?b`, or `http://host/a?b`.
fn path(target: &str) -> Result<String, Refusal> {
    if !target.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(BAD);
    }
    let path = match target.strip_prefix("http://") {
        Some(rest) => rest.find(['/', '?']).map_or("/", |at| &rest[at..]),
        None => target,
    };
    let path = path.split('?').next().unwrap_or_default();
    match path {
        "" => Ok("/".to_owned()),
        path if path.starts_with('/') || path == "*" => Ok(path.to_owned()),
        _ => Err(BAD),
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;

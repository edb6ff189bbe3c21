//! A request on its way to an instance: its head, then its body as the client sends it.
//!
//! Bodies keep their framing: one with a length goes out as it is, any other in chunks.

use std::cell::RefCell;
use std::io::{IoSlice, Write};
use std::task::{Context, Poll, ready};

use http::header::{self, HeaderMap, HeaderName};
use http::request::Parts;
use http::{Method, Uri};
use hyper::body::Bytes;
use tokio::net::TcpStream;

use crate::forward;
use crate::scratch;
use crate::upload::Upload;

thread_local! {
    /// Heads are made here. Nearly always they leave in one write, and no memory is kept for them.
    static HEAD: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Why a request didn't get out whole.
#[derive(Debug)]
pub(crate) enum NotSent {
    /// The client's own body broke off.
    Client,
    /// The client's body is longer than the route takes.
    TooLong,
    /// The instance takes no more of it. It may answer all the same.
    Instance,
}

/// What is left to send of one request.
#[derive(Default)]
pub(crate) struct Asking {
    /// Goes out next, from `at` on; then `data`, then `tail`.
    front: Vec<u8>,
    at: usize,
    data: Bytes,
    tail: &'static [u8],
    body: Option<ClientBody>,
    /// The body stays where it is until the other side asks for it.
    waits: bool,
}

struct ClientBody {
    incoming: Upload,
    chunked: bool,
    /// How much of it may still come.
    left: u64,
    /// The fields that the client announced for after the body; others are dropped.
    trailers: Vec<HeaderName>,
}

impl Asking {
    /// Writes the head (and nothing of the body) as far as the socket takes it now. At
    /// `most` so many bytes of the body are sent, and, when it `waits`, after [`Asking::go_on`].
    pub(crate) fn begin(
        parts: &Parts,
        skip: usize,
        body: Option<Upload>,
        (most, waits): (Option<u64>, bool),
        stream: &mut TcpStream,
        cx: &mut Context<'_>,
    ) -> Result<Self, NotSent> {
        HEAD.with_borrow_mut(|head| {
            head.clear();
            let body = body.map(|incoming| ClientBody::new(incoming, &parts.headers, most));
            write_head(head, parts, skip, body.as_ref());
            let waits = waits && body.is_some();
            let mut asking = Self { body, waits, ..Self::default() };
            // A body's first piece leaves together with the head.
            let written = match &asking.body {
                None => write_now(stream, cx, head)?,
                Some(_) => 0,
            };
            if written < head.len() {
                asking.front = head[written..].to_vec();
            }
            Ok(asking)
        })
    }

    pub(crate) fn is_over(&self) -> bool {
        self.body.is_none() && !self.has_bytes()
    }

    /// The other side asked for the body.
    pub(crate) fn go_on(&mut self) {
        self.waits = false;
    }

    /// The body, when nothing was taken of it yet.
    pub(crate) fn take_back(&mut self) -> Option<Upload> {
        if self.waits { self.body.take().map(|body| body.incoming) } else { None }
    }

    fn has_bytes(&self) -> bool {
        self.at < self.front.len() || !self.data.is_empty() || !self.tail.is_empty()
    }

    /// Sends on; ready when all is sent.
    pub(crate) fn poll(
        &mut self,
        stream: &mut TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), NotSent>> {
        while !self.is_over() {
            let starved =
                self.data.is_empty() && self.tail.is_empty() && (self.waits || self.fetch(cx)?);
            if self.has_bytes() {
                let pieces = [&self.front[self.at..], &self.data, self.tail].map(IoSlice::new);
                let written = ready!(scratch::poll_write_pieces(stream, cx, &pieces));
                match written {
                    Ok(0) | Err(_) => return Poll::Ready(Err(NotSent::Instance)),
                    Ok(written) => self.advance(written),
                }
            } else if starved {
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes the next piece of the client's body; true when there is none yet.
    fn fetch(&mut self, cx: &mut Context<'_>) -> Result<bool, NotSent> {
        let Some(body) = &mut self.body else { return Ok(false) };
        match body.incoming.poll_frame(cx) {
            Poll::Pending => return Ok(true),
            Poll::Ready(Some(Err(_))) => return Err(NotSent::Client),
            Poll::Ready(None) => {
                if body.chunked {
                    self.tail = b"0\r\n\r\n";
                }
                self.body = None;
            }
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => {
                    let length = data.len() as u64;
                    body.left = body.left.checked_sub(length).ok_or(NotSent::TooLong)?;
                    self.take(data);
                }
                Err(frame) => {
                    if let (Ok(fields), true) = (frame.into_trailers(), body.chunked) {
                        self.front.extend_from_slice(b"0\r\n");
                        for name in &body.trailers {
                            write_values(&mut self.front, name, &fields);
                        }
                        self.front.extend_from_slice(b"\r\n");
                    }
                    self.body = None;
                }
            },
        }
        Ok(false)
    }

    fn take(&mut self, data: Bytes) {
        if self.body.as_ref().is_some_and(|body| body.chunked) && !data.is_empty() {
            let _ = write!(self.front, "{:x}\r\n", data.len());
            self.tail = b"\r\n";
        }
        self.data = data;
    }

    fn advance(&mut self, written: usize) {
        let front = written.min(self.front.len() - self.at);
        self.at += front;
        if self.at == self.front.len() {
            self.front.clear();
            self.at = 0;
        }
        let data = (written - front).min(self.data.len());
        self.data = self.data.slice(data..);
        self.tail = &self.tail[written - front - data..];
    }
}

impl ClientBody {
    fn new(incoming: Upload, headers: &HeaderMap, most: Option<u64>) -> Self {
        let chunked = !headers.contains_key(header::CONTENT_LENGTH);
        let named = headers.get_all(header::TRAILER).iter().filter_map(|value| value.to_str().ok());
        let trailers = named
            .flat_map(|names| names.split(','))
            .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
            .filter(forward::may_follow);
        let trailers = if chunked { trailers.collect() } else { vec![] };
        Self { incoming, chunked, left: most.unwrap_or(u64::MAX), trailers }
    }
}

fn write_now(stream: &mut TcpStream, cx: &mut Context<'_>, bytes: &[u8]) -> Result<usize, NotSent> {
    match scratch::poll_write(stream, cx, bytes) {
        Poll::Pending => Ok(0),
        Poll::Ready(Ok(written)) if written > 0 => Ok(written),
        Poll::Ready(_) => Err(NotSent::Instance),
    }
}

fn write_head(head: &mut Vec<u8>, parts: &Parts, skip: usize, body: Option<&ClientBody>) {
    head.extend_from_slice(parts.method.as_str().as_bytes());
    head.push(b' ');
    write_target(head, &parts.uri, skip);
    head.extend_from_slice(b" HTTP/1.1\r\n");
    for (name, value) in &parts.headers {
        write_field(head, name, value.as_bytes());
    }
    let has_length = || parts.headers.contains_key(header::CONTENT_LENGTH);
    match body {
        Some(ClientBody { chunked: true, .. }) => {
            head.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
        None if expects_body(&parts.method) && !has_length() => {
            head.extend_from_slice(b"content-length: 0\r\n");
        }
        None | Some(_) => {}
    }
    head.extend_from_slice(b"\r\n");
}

/// Methods that usually have a body: without one, some servers want to be told so.
fn expects_body(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD)
}

/// Path and query; what the gate let pass has no line break in it. The path begins with what is
/// skipped, because that chose the route.
fn write_target(head: &mut Vec<u8>, uri: &Uri, skip: usize) {
    let target = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let target = target.get(skip..).unwrap_or("/");
    if !target.starts_with(['/', '*']) {
        head.push(b'/');
    }
    head.extend_from_slice(target.as_bytes());
}

fn write_values(out: &mut Vec<u8>, name: &HeaderName, fields: &HeaderMap) {
    for value in fields.get_all(name) {
        write_field(out, name, value.as_bytes());
    }
}

fn write_field(out: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

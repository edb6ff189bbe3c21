//! The gate between a client's socket and hyper: lets a request head pass only when its framing is
//! beyond doubt, and only when the answer before it is over.
//!
//! A refused head never reaches the parser. In its place the gate passes a harmless one and leaves
//! the reason with the connection, so that the refusal is answered, in its turn, like any request.
//! After an upgrade request nothing passes until the instance has agreed.

use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::rt::ReadBufCursor;
use tokio::io::AsyncWrite;

use crate::chunks::Chunks;
use crate::client_side::{ClientSide, Phase};
use crate::framing::{self, BodyLength, Refusal};
use crate::scratch;
use crate::stream::Stream;
use crate::worker::Worker;

/// Stands for a refused head. What it says is never used.
const PLACEHOLDER: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

/// What comes after the bytes that may pass already.
enum Then {
    Head,
    Chunked(Chunks),
    Upgrade,
    Refused,
    Closed,
}

pub(crate) struct Gate {
    stream: Stream,
    filter: Filter,
}

/// Decides which bytes pass.
struct Filter {
    client: Rc<ClientSide>,
    worker: Rc<Worker>,
    /// Bytes that may pass unseen: the rest of a judged head and of a body of known length.
    allowance: u64,
    then: Then,
    /// Read from the socket, not passed yet: part of a head, or a request sent ahead.
    held: Vec<u8>,
    /// How much of `held` was searched for the end of a head in vain.
    searched: usize,
    broken: bool,
}

impl Gate {
    pub(crate) fn new(stream: Stream, client: Rc<ClientSide>, worker: Rc<Worker>) -> Self {
        Self { stream, filter: Filter::new(client, worker) }
    }

    /// The socket, and what was read from it and not passed.
    pub(crate) fn into_parts(self) -> (Stream, Vec<u8>) {
        (self.stream, self.filter.held)
    }

    /// Passes held bytes, then reads. Ready when something passed or the stream is over.
    fn poll_pass(
        &mut self,
        cx: &mut Context<'_>,
        cursor: &mut ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, filter } = self;
        let room = cursor.remaining();
        loop {
            filter.admit_held(cursor);
            if filter.broken {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            if cursor.remaining() < room {
                return Poll::Ready(Ok(()));
            }
            if filter.is_blocked() {
                filter.client.withhold();
                if !filter.held.is_empty() || !matches!(filter.then, Then::Head) {
                    return Poll::Pending;
                }
                // Nothing may pass, but a client that went away must be noticed.
            }
            let read = scratch::poll_read_with(stream, cx, room, |bytes| {
                filter.admit_fresh(bytes, cursor);
                bytes.is_empty()
            });
            filter.client.note_read(read.is_pending(), filter.worker.now());
            if ready!(read)? || cursor.remaining() < room {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl Filter {
    fn new(client: Rc<ClientSide>, worker: Rc<Worker>) -> Self {
        Self {
            client,
            worker,
            allowance: 0,
            then: Then::Head,
            held: Vec::new(),
            searched: 0,
            broken: false,
        }
    }

    /// Passes what may pass of `input`; returns how much of it was used up.
    fn admit(&mut self, input: &[u8], cursor: &mut ReadBufCursor<'_>) -> usize {
        let mut used = 0;
        loop {
            let rest = &input[used..];
            let room = rest.len().min(cursor.remaining());
            if self.allowance > 0 {
                let step = room.min(usize::try_from(self.allowance).unwrap_or(usize::MAX));
                cursor.put_slice(&rest[..step]);
                used += step;
                self.allowance -= step as u64;
                if self.allowance > 0 {
                    return used;
                }
                if matches!(self.then, Then::Head) {
                    self.client.close_body();
                }
                continue;
            }
            match &mut self.then {
                Then::Chunked(chunks) => {
                    let Ok(step) = chunks.follow(&rest[..room]) else {
                        self.broken = true;
                        return used;
                    };
                    cursor.put_slice(&rest[..step]);
                    used += step;
                    if !chunks.is_over() {
                        return used;
                    }
                    self.then = Then::Head;
                    self.client.close_body();
                }
                Then::Head if self.client.in_exchange() => return used,
                Then::Head => {
                    used += rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
                    if !self.judge(&input[used..]) {
                        return used;
                    }
                }
                // The rest of a body came before it: the head is held until there is room.
                Then::Refused if cursor.remaining() < PLACEHOLDER.len() => return used,
                Then::Refused => {
                    cursor.put_slice(PLACEHOLDER);
                    self.then = Then::Closed;
                }
                Then::Closed => return input.len(),
                Then::Upgrade => return used,
            }
        }
    }

    /// Decides about the head that `bytes` start with; `false` when more of it is needed.
    fn judge(&mut self, bytes: &[u8]) -> bool {
        if bytes.is_empty() {
            return false;
        }
        let limits = &self.worker.shared.limits;
        let verdict = match framing::head_end(bytes, self.searched.saturating_sub(3)) {
            None if bytes.len() < limits.head_bytes => {
                self.searched = bytes.len();
                if self.client.phase() == Phase::Idle {
                    self.client.enter(Phase::Head, self.worker.now());
                }
                return false;
            }
            Some(end) if end <= limits.head_bytes => {
                framing::judge(&bytes[..end], limits.head_lines).map(|head| (end, head))
            }
            _ => Err(Refusal::TooLarge),
        };
        self.searched = 0;
        match verdict {
            Ok((end, head)) => self.accept(end, head),
            Err(refusal) => {
                self.client.refusal.set(Some(refusal));
                self.client.begin_exchange(false);
                self.then = Then::Refused;
            }
        }
        true
    }

    fn accept(&mut self, end: usize, head: framing::Head) {
        self.client.begin_exchange(head.body != BodyLength::Exact(0));
        self.allowance = end as u64;
        self.then = match head.body {
            BodyLength::Chunked => Then::Chunked(Chunks::new()),
            BodyLength::Exact(0) if head.upgrade => Then::Upgrade,
            BodyLength::Exact(length) => {
                self.allowance += length;
                Then::Head
            }
        };
    }

    fn is_blocked(&self) -> bool {
        self.allowance == 0
            && match self.then {
                Then::Head => self.client.in_exchange(),
                Then::Upgrade => self.client.in_exchange(),
                Then::Closed => true,
                Then::Chunked(_) | Then::Refused => false,
            }
    }

    /// Passes what may pass of the held bytes.
    fn admit_held(&mut self, cursor: &mut ReadBufCursor<'_>) {
        if self.held.is_empty() {
            return;
        }
        if matches!(self.then, Then::Upgrade) && !self.client.in_exchange() {
            // The instance answered without upgrading: the next bytes are a request again.
            self.then = Then::Head;
        }
        let mut held = mem::take(&mut self.held);
        let used = self.admit(&held, cursor);
        held.drain(..used);
        if !held.is_empty() {
            self.held = held;
        }
    }

    /// Passes what may pass of fresh bytes and holds the rest: nearly always everything passes,
    /// without being stored here.
    fn admit_fresh(&mut self, bytes: &[u8], cursor: &mut ReadBufCursor<'_>) {
        if matches!(self.then, Then::Upgrade) && !self.client.in_exchange() {
            self.then = Then::Head;
        }
        let used = if self.held.is_empty() { self.admit(bytes, cursor) } else { 0 };
        self.held.extend_from_slice(&bytes[used..]);
    }
}

impl hyper::rt::Read for Gate {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.get_mut().poll_pass(cx, &mut cursor)
    }
}

impl hyper::rt::Write for Gate {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.filter.client.note_write(written.is_pending(), this.filter.worker.now());
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = scratch::poll_write_pieces(&mut this.stream, cx, pieces);
        this.filter.client.note_write(written.is_pending(), this.filter.worker.now());
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Stream::Plain(_) = this.stream {
            return Poll::Ready(Ok(()));
        }
        // A session takes more than the socket does: only this shows that nobody reads.
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        this.filter.client.note_write(flushed.is_pending(), this.filter.worker.now());
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::mem::MaybeUninit;
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use hyper::rt::ReadBuf;

    use super::*;
    use crate::access::AccessLog;
    use crate::limits::Limits;
    use crate::shared::Shared;

    fn filter() -> Filter {
        let shared = Shared::new(Limits::default(), 1, None, AccessLog::default());
        let worker = Rc::new(Worker::new(Arc::new(shared), 0));
        let client =
            Rc::new(ClientSide::new(Ipv4Addr::LOCALHOST.into(), None, false, worker.now()));
        Filter::new(client, worker)
    }

    /// What passes of the held bytes when there is so much room.
    fn passed(filter: &mut Filter, room: usize) -> String {
        let mut space = vec![MaybeUninit::uninit(); room];
        let mut buffer = ReadBuf::uninit(&mut space);
        filter.admit_held(&mut buffer.unfilled());
        String::from_utf8(buffer.filled().to_vec()).unwrap()
    }

    /// However it comes and is taken, and whenever answers end: what is right passes unchanged, what
    /// is not is replaced, and what comes behind that never passes.
    #[test]
    fn what_passes_does_not_depend_on_its_pieces() {
        let right = [
            "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\nGET / HTTP/1.1\r\nHost: evil\r\n\r\n",
            "POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
             14;x=y\r\nBAD\r\n\r\nGET / HTTP/1.\r\n0\r\nX-T: 1\r\n\r\n",
            "GET /4 HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            "DELETE /5 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        ];
        let right = right.concat();
        let all = format!("{right}BAD\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
        let expected = right + str::from_utf8(PLACEHOLDER).unwrap();
        let mut state = 1_u32;
        let mut random = |below: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as usize % below
        };
        for round in 0..500 {
            let (mut filter, mut passes, mut sent) = (filter(), String::new(), 0);
            for _ in 0..all.len() * 4 {
                let piece = random(80).min(all.len() - sent);
                filter.held.extend_from_slice(&all.as_bytes()[sent..sent + piece]);
                sent += piece;
                passes += &passed(&mut filter, 1 + random(200));
                if random(3) == 0 {
                    filter.client.end_exchange(1);
                }
            }
            assert_eq!(passes, expected, "round {round}");
        }
    }

    /// An answer may come before its request is over; what is left of that fills the room nearly.
    #[test]
    fn a_head_is_refused_however_little_room_is_left() {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n";
        let body = "b".repeat(100);
        for left in 0..=PLACEHOLDER.len() {
            let mut filter = filter();
            filter.held = format!("{head}{body}BAD\r\n\r\n").into_bytes();
            assert_eq!(passed(&mut filter, head.len()), head);
            filter.client.end_exchange(1);
            let mut all = passed(&mut filter, body.len() + left);
            assert!(filter.client.in_exchange(), "the refusal is an exchange of its own");
            all += &passed(&mut filter, 8 * 1024);
            assert_eq!(all, body.clone() + str::from_utf8(PLACEHOLDER).unwrap(), "{left} left");
            assert_eq!(filter.client.refusal.take(), Some(Refusal::RequestLine));
        }
    }
}

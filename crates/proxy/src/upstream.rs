//! One connection to an instance: a request goes out, its answer comes in.
//!
//! Nobody runs a task for it: whoever has a connection drives it, as part of its own task, and
//! while it is idle nobody does. So a request costs no switch between tasks.

use std::io;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use http::Method;
use http::request::Parts;
use hyper::body::{Bytes, Frame, SizeHint};
use tokio::net::TcpStream;

use crate::asking::{Asking, NotSent};
use crate::pool::Permit;
use crate::reading::{self, Head, NotHttp, Rest};
use crate::scratch;
use crate::upload::Upload;

/// Why a request that was sent has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The client's own body broke off.
    Client,
    /// The client's body is longer than the route takes.
    TooLong,
    /// What came isn't HTTP.
    NotHttp,
    /// The connection ended first.
    Closed,
}

/// An answer's body that ended before it was whole.
#[derive(Debug, thiserror::Error)]
#[error("the app's answer was cut")]
pub(crate) struct Cut;

/// One connection to an instance.
pub(crate) struct Upstream {
    stream: TcpStream,
    /// Read and not yet taken.
    inbox: Bytes,
    /// What is left of the request.
    asking: Asking,
    /// What is left of the answer.
    rest: Rest,
    /// It may carry another request after this one.
    keeps: bool,
    /// It doesn't take the rest of this request.
    deaf: bool,
    /// The body that it didn't ask for.
    kept_back: Option<Upload>,
    /// Carried a request before: that it ends now says nothing about the instance.
    reused: bool,
    pub(crate) idle_since: Instant,
    permit: Permit,
}

impl Upstream {
    pub(crate) fn new(stream: TcpStream, permit: Permit) -> Self {
        Self {
            stream,
            inbox: Bytes::new(),
            asking: Asking::default(),
            rest: Rest::Bytes(0),
            keeps: false,
            deaf: false,
            kept_back: None,
            reused: false,
            idle_since: Instant::now(),
            permit,
        }
    }

    /// Starts a request, its path without the first `skip` bytes, its body no longer than `most`.
    /// `false`: the connection was over, nothing was sent, the body is untouched.
    pub(crate) fn ask(
        &mut self,
        cx: &mut Context<'_>,
        parts: &Parts,
        skip: usize,
        body: &mut Option<Upload>,
        most: Option<u64>,
    ) -> bool {
        // Whatever can be read now is its end, or an answer to a question that nobody asked.
        if self.stream.poll_read_ready(cx).is_ready() && self.poll_fill(cx).is_ready() {
            return false;
        }
        (self.keeps, self.deaf) = (false, false);
        let waits = self.is_peer();
        match Asking::begin(parts, skip, body.take(), (most, waits), &mut self.stream, cx) {
            Ok(asking) => {
                self.asking = asking;
                true
            }
            // Only a request without a body is written to at once.
            Err(_) => false,
        }
    }

    /// Sends on, and reads until the head of the answer is there.
    pub(crate) fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        method: &Method,
    ) -> Poll<Result<Head, Broken>> {
        self.send_on(cx)?;
        loop {
            if !self.inbox.is_empty() {
                let mut continues = false;
                let opening = reading::opening(&mut self.inbox, method, &mut continues);
                if let Some(opening) = opening.map_err(|NotHttp| Broken::NotHttp)? {
                    self.rest = opening.rest;
                    self.keeps = opening.keeps;
                    return Poll::Ready(Ok(opening.head));
                }
                if continues {
                    self.asking.go_on();
                    self.send_on(cx)?;
                }
            }
            match ready!(self.poll_fill(cx)) {
                Ok(0) | Err(_) => return Poll::Ready(Err(Broken::Closed)),
                Ok(_) => {}
            }
        }
    }

    /// The next piece of the answer's body; `None` at its end.
    pub(crate) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if self.send_on(cx).is_err() {
            self.asking = Asking::default();
            self.deaf = true;
        }
        loop {
            if let Some(frame) = self.rest.take(&mut self.inbox).map_err(|NotHttp| Cut)? {
                return Poll::Ready(Some(Ok(frame)));
            }
            if self.rest.is_over() {
                return Poll::Ready(None);
            }
            match ready!(self.poll_fill(cx)) {
                Ok(0) if matches!(self.rest, Rest::UntilClose) => self.rest = Rest::Bytes(0),
                Ok(0) | Err(_) => return Poll::Ready(Some(Err(Cut))),
                Ok(_) => {}
            }
        }
    }

    /// Whether all of the request was sent.
    pub(crate) fn has_asked(&self) -> bool {
        self.asking.is_over() && !self.deaf
    }

    /// Whether the answer's body has nothing more to give.
    pub(crate) fn is_read(&self) -> bool {
        self.rest.is_over()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self.rest {
            Rest::Bytes(left) => SizeHint::with_exact(left),
            Rest::Chunked(_) | Rest::UntilClose => SizeHint::default(),
        }
    }

    /// An instance that stops reading may still answer: only the client's own failure is one here.
    fn send_on(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        if self.asking.is_over() {
            return Ok(());
        }
        match self.asking.poll(&mut self.stream, cx) {
            Poll::Ready(Err(NotSent::Client)) => Err(Broken::Client),
            Poll::Ready(Err(NotSent::TooLong)) => Err(Broken::TooLong),
            Poll::Ready(Err(NotSent::Instance)) => {
                self.kept_back = self.asking.take_back();
                self.asking = Asking::default();
                self.deaf = true;
                Ok(())
            }
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }

    /// Reads behind what is there already; zero bytes are the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let inbox = &mut self.inbox;
        scratch::poll_read_with(&mut self.stream, cx, usize::MAX, |bytes| {
            *inbox = if inbox.is_empty() {
                Bytes::copy_from_slice(bytes)
            } else {
                Bytes::from([&inbox[..], bytes].concat())
            };
            bytes.len()
        })
    }

    /// It ended before it took its request. True when it was new, which is as good as none.
    pub(crate) fn ended_unused(&self) -> bool {
        if !self.reused {
            self.permit.pool.pass_over();
        }
        !self.reused
    }

    /// Whether it leads to the proxy of another server.
    pub(crate) fn is_peer(&self) -> bool {
        self.permit.pool.instance.peer
    }

    /// The request's body, when the peer didn't ask for it.
    pub(crate) fn take_body_back(&mut self) -> Option<Upload> {
        self.kept_back.take().or_else(|| self.asking.take_back())
    }

    /// The peer has no instance for a request: others come first for a moment.
    pub(crate) fn pass_over(&self) {
        self.permit.pool.pass_over();
    }

    /// The socket, and what was read from it and not taken.
    pub(crate) fn into_parts(self) -> (TcpStream, Bytes) {
        (self.stream, self.inbox)
    }

    /// Gives the connection back, if it can carry another request.
    pub(crate) fn give_back(mut self: Box<Self>, now: Instant) {
        let pool = self.permit.pool.clone();
        let whole = self.has_asked() && self.rest.is_over() && self.inbox.is_empty();
        if whole && self.keeps {
            self.idle_since = now;
            self.reused = true;
            // It holds no memory while it is idle.
            self.inbox = Bytes::new();
            pool.keep(self);
        }
    }
}

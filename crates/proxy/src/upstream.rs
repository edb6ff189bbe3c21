//! Connections to one instance, kept for the next request.
//!
//! Nobody runs a task for them: whoever has a connection drives it, as part of its own task, and
//! while it is idle nobody does. So a request costs no switch between tasks.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http::Method;
use http::request::Parts;
use hyper::body::{Bytes, Frame, SizeHint};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::asking::{Asking, NotSent};
use crate::limits::Limits;
use crate::reading::{self, Head, NotHttp, Rest};
use crate::scratch;
use crate::shared::InstanceState;
use crate::sockets;
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
    idle_since: Instant,
    permit: Permit,
}

impl Upstream {
    fn new(stream: TcpStream, permit: Permit) -> Self {
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
            self.permit.pool.suspect(SUSPECT_FOR);
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
        self.permit.pool.suspect(SUSPECT_FOR);
    }

    /// The socket, and what was read from it and not taken.
    pub(crate) fn into_parts(self) -> (TcpStream, Bytes) {
        (self.stream, self.inbox)
    }

    /// Gives the connection back, if it can carry another request.
    pub(crate) fn give_back(mut self: Box<Self>, now: Instant) {
        let pool = self.permit.pool.clone();
        let whole = self.asking.is_over() && self.rest.is_over() && self.inbox.is_empty();
        if whole && self.keeps && !self.deaf && !pool.retired.get() {
            self.idle_since = now;
            self.reused = true;
            // It holds no memory while it is idle.
            self.inbox = Bytes::new();
            pool.idle.borrow_mut().push(self);
            pool.freed.notify_one();
        }
    }
}

/// The right to have one connection open to an instance.
struct Permit {
    pool: Rc<Pool>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.pool.open.set(self.pool.open.get() - 1);
        self.pool.freed.notify_one();
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum NoConnection {
    /// The instance doesn't take connections.
    Unreachable,
    /// All connections are busy and too many requests wait for one already.
    QueueFull,
    /// All stayed busy for too long.
    QueueTimeout,
    /// The table changed while this request waited: look again.
    TableChanged,
}

/// One worker's connections to one instance.
pub(crate) struct Pool {
    pub(crate) instance: Arc<InstanceState>,
    #[expect(clippy::vec_box, reason = "they move in and out with every request")]
    idle: RefCell<Vec<Box<Upstream>>>,
    open: Cell<usize>,
    freed: Notify,
    retired: Cell<bool>,
    suspect_until: Cell<Option<Instant>>,
    /// How often in a row it refused a connection.
    refusals: Cell<u32>,
}

/// How long an instance that refused a connection is passed over while there are others.
const SUSPECT_FOR: Duration = Duration::from_millis(250);
/// The longest time that a peer is: it doubles, because a dead machine costs each attempt the whole
/// time that a connection may take.
const SUSPECT_PEER_FOR: Duration = Duration::from_secs(4);

impl Pool {
    pub(crate) fn new(instance: Arc<InstanceState>) -> Self {
        Self {
            instance,
            idle: RefCell::default(),
            open: Cell::new(0),
            freed: Notify::new(),
            retired: Cell::new(false),
            suspect_until: Cell::new(None),
            refusals: Cell::new(0),
        }
    }

    pub(crate) fn is_suspect(&self) -> bool {
        self.suspect_until.get().is_some_and(|until| Instant::now() < until)
    }

    fn suspect(&self, within: Duration) {
        self.suspect_until.set(Some(Instant::now() + within));
    }

    fn refused(&self) {
        let refusals = self.refusals.get();
        self.refusals.set(refusals.saturating_add(1));
        let doubled = SUSPECT_FOR * (1 << refusals.min(8));
        let most = if self.instance.peer { SUSPECT_PEER_FOR } else { SUSPECT_FOR };
        self.suspect(doubled.min(most));
    }

    /// The instance left the table: nothing is kept for it any more.
    pub(crate) fn retire(&self) {
        self.retired.set(true);
        self.drop_idle(|_| true);
    }

    /// Closes what was idle for too long.
    pub(crate) fn sweep(&self, within: Duration) {
        self.drop_idle(|upstream| upstream.idle_since.elapsed() > within);
    }

    /// Takes them out first: dropping one gives its permit back, which looks at this pool.
    fn drop_idle(&self, which: impl Fn(&Upstream) -> bool) {
        let mut idle = self.idle.borrow_mut();
        let (gone, kept): (Vec<_>, Vec<_>) = idle.drain(..).partition(|upstream| which(upstream));
        *idle = kept;
        drop(idle);
        drop(gone);
    }

    /// The connection used last, if it was idle for no longer than `within`.
    pub(crate) fn take_idle(&self, within: Duration) -> Option<Box<Upstream>> {
        let mut idle = self.idle.borrow_mut();
        let last = idle.last()?;
        if last.idle_since.elapsed() > within { None } else { idle.pop() }
    }

    /// When none is kept: a new connection, or the first that becomes free.
    pub(crate) async fn connection(
        self: &Rc<Self>,
        limits: &Limits,
        workers: usize,
        within: Duration,
        changed: impl Future<Output = ()>,
    ) -> Result<Box<Upstream>, NoConnection> {
        if let Some(permit) = self.permit(limits, workers) {
            return self.connect(permit, limits).await;
        }
        // Clients don't spread evenly over the workers, so the queue is one for all of them.
        let place = Place::new(&self.instance.waiting);
        if place.number > limits.upstream_queue.max(1) {
            return Err(NoConnection::QueueFull);
        }
        let deadline = tokio::time::sleep(limits.upstream_queue_within);
        tokio::pin!(deadline, changed);
        loop {
            tokio::select! {
                biased;
                () = self.freed.notified() => {}
                () = &mut changed => return Err(NoConnection::TableChanged),
                () = &mut deadline => return Err(NoConnection::QueueTimeout),
            }
            if let Some(upstream) = self.take_idle(within) {
                return Ok(upstream);
            }
            if let Some(permit) = self.permit(limits, workers) {
                return self.connect(permit, limits).await;
            }
        }
    }

    fn permit(self: &Rc<Self>, limits: &Limits, workers: usize) -> Option<Permit> {
        let most = (limits.upstream_connections / workers).max(1);
        if self.open.get() >= most {
            // An old idle one is in the way of a new one.
            self.drop_oldest_idle();
        }
        if self.open.get() >= most {
            return None;
        }
        self.open.set(self.open.get() + 1);
        Some(Permit { pool: self.clone() })
    }

    fn drop_oldest_idle(&self) {
        let mut idle = self.idle.borrow_mut();
        let oldest = if idle.is_empty() { None } else { Some(idle.remove(0)) };
        drop(idle);
        drop(oldest);
    }

    async fn connect(
        &self,
        permit: Permit,
        limits: &Limits,
    ) -> Result<Box<Upstream>, NoConnection> {
        let connected = tokio::time::timeout(
            limits.connect_within,
            TcpStream::connect(self.instance.instance.addr),
        );
        let Ok(Ok(stream)) = connected.await else {
            self.refused();
            return Err(NoConnection::Unreachable);
        };
        sockets::prepare(&stream);
        self.suspect_until.set(None);
        self.refusals.set(0);
        Ok(Box::new(Upstream::new(stream, permit)))
    }
}

/// A place in the queue, counted from one.
struct Place<'a> {
    queue: &'a AtomicUsize,
    number: usize,
}

impl<'a> Place<'a> {
    fn new(queue: &'a AtomicUsize) -> Self {
        Self { queue, number: queue.fetch_add(1, Relaxed) + 1 }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.queue.fetch_sub(1, Relaxed);
    }
}

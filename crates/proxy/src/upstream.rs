//! Connections to one instance, kept for the next request.
//!
//! Nobody runs a task for them: whoever has a connection drives it, as part of its own task, and
//! while it is idle nobody does. So a request costs no switch between tasks.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{Builder, Connection, Parts, SendRequest};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::limits::Limits;
use crate::scratch::Socket;
use crate::shared::InstanceState;
use crate::sockets;

/// Most that is read ahead of one answer, and its largest head.
const READ_AHEAD: usize = 64 * 1024;

/// What is sent to an instance: the client's body or none. Only one that is empty can be sent twice.
pub(crate) enum RequestBody {
    Empty,
    Client(Incoming),
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Client(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Client(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Client(body) => body.size_hint(),
        }
    }
}

/// One connection to an instance.
pub(crate) struct Upstream {
    pub(crate) sender: SendRequest<RequestBody>,
    /// Gone once the connection is over: a request that was queued and never written comes back to
    /// its sender only then.
    link: Option<Connection<Socket, RequestBody>>,
    rest: Option<Parts<Socket>>,
    /// Carried a request before: that it ends now says nothing about the instance.
    reused: bool,
    idle_since: Instant,
    permit: Permit,
}

impl Upstream {
    /// Lets bytes flow. What comes of it shows at the request's or the body's own future.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) {
        let over = match &mut self.link {
            Some(link) => link.poll_without_shutdown(cx).is_ready(),
            None => false,
        };
        if over {
            self.rest = self.link.take().map(Connection::into_parts);
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.link.is_none()
    }

    /// It ended before it took its request. True when it was new, which is as good as none.
    pub(crate) fn ended_unused(&self) -> bool {
        if !self.reused {
            self.permit.pool.suspect();
        }
        !self.reused
    }

    /// The socket and what was read from it, once the connection is over.
    pub(crate) fn into_rest(self) -> Option<Parts<Socket>> {
        self.rest
    }

    /// Gives the connection back, if it can carry another request.
    pub(crate) fn give_back(mut self: Box<Self>, now: Instant) {
        // While it is idle nobody needs to be woken for it.
        let mut nobody = Context::from_waker(Waker::noop());
        self.drive(&mut nobody);
        let ready =
            !self.is_over() && matches!(self.sender.poll_ready(&mut nobody), Poll::Ready(Ok(())));
        let pool = self.permit.pool.clone();
        if ready && !pool.retired.get() {
            self.idle_since = now;
            self.reused = true;
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
    waiting: Cell<usize>,
    freed: Notify,
    retired: Cell<bool>,
    suspect_until: Cell<Option<Instant>>,
}

/// How long an instance that refused a connection is passed over while there are others.
const SUSPECT_FOR: Duration = Duration::from_millis(250);

impl Pool {
    pub(crate) fn new(instance: Arc<InstanceState>) -> Self {
        Self {
            instance,
            idle: RefCell::default(),
            open: Cell::new(0),
            waiting: Cell::new(0),
            freed: Notify::new(),
            retired: Cell::new(false),
            suspect_until: Cell::new(None),
        }
    }

    pub(crate) fn is_suspect(&self) -> bool {
        self.suspect_until.get().is_some_and(|until| Instant::now() < until)
    }

    fn suspect(&self) {
        self.suspect_until.set(Some(Instant::now() + SUSPECT_FOR));
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
        if self.waiting.get() >= (limits.upstream_queue / workers).max(1) {
            return Err(NoConnection::QueueFull);
        }
        let _place = Place::new(&self.waiting);
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
            self.suspect();
            return Err(NoConnection::Unreachable);
        };
        sockets::prepare(&stream);
        let shaken = Builder::new().max_buf_size(READ_AHEAD).handshake(Socket(stream)).await;
        let Ok((sender, link)) = shaken else {
            return Err(NoConnection::Unreachable);
        };
        self.suspect_until.set(None);
        let idle_since = Instant::now();
        Ok(Box::new(Upstream {
            sender,
            link: Some(link),
            rest: None,
            reused: false,
            idle_since,
            permit,
        }))
    }
}

/// A place in the queue.
struct Place<'a>(&'a Cell<usize>);

impl<'a> Place<'a> {
    fn new(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

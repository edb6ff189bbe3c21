//! Connections to one instance, kept for the next request; what finds none free waits its turn.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::limits::Limits;
use crate::shared::InstanceState;
use crate::sockets;
use crate::upstream::Upstream;

/// How long an instance that refused a connection is passed over while there are others.
const SUSPECT_FOR: Duration = Duration::from_millis(250);
/// The longest time that a peer is: it doubles, because a dead machine costs each attempt the whole
/// time that a connection may take.
const SUSPECT_PEER_FOR: Duration = Duration::from_secs(4);

/// The right to have one connection open to an instance.
pub(crate) struct Permit {
    pub(crate) pool: Rc<Pool>,
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

    /// Others come first for a moment.
    pub(crate) fn pass_over(&self) {
        self.suspect(SUSPECT_FOR);
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

    /// Keeps a connection for the next request.
    pub(crate) fn keep(&self, upstream: Box<Upstream>) {
        if !self.retired.get() {
            self.idle.borrow_mut().push(upstream);
            self.freed.notify_one();
        }
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

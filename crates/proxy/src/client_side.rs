//! One client connection, as all its parts see it.
//!
//! The gate, the exchange, the watchdog and the control socket's `cut` look at the same connection
//! from different sides. They all run on one thread, so plain cells are enough.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use http::HeaderValue;

use crate::crowd::Seat;
use crate::framing::Refusal;
use crate::limits::Limits;
use crate::shared::InstanceState;
use crate::tunnel::FarEnd;

/// What a connection is doing; each phase has its own limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Between requests.
    Idle,
    /// Some bytes of a request head are there.
    Head,
    /// The request waits for an instance, under the hold's or the queue's own limit.
    Seeking,
    /// An instance has the request; its answer hasn't begun.
    Waiting,
    /// The answer is being passed on.
    Answering,
    /// Upgraded: bytes go both ways.
    Tunnel,
    /// A connection whose streams each have a phase of their own.
    Streams,
}

/// Why a connection must stop what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The client was too slow, or idle for too long.
    Close,
    /// The instance didn't answer in time.
    AnswerOverdue,
    /// The instance was cut off.
    Cut,
}

/// Milliseconds on the worker's coarse clock; zero means "not".
pub(crate) type Millis = u64;

pub(crate) struct ClientSide {
    /// Where the worker's list holds this connection.
    pub(crate) slot: Cell<usize>,
    /// The client's address, as it goes into `X-Forwarded-For`.
    pub(crate) forwarded_for: HeaderValue,
    /// It came with TLS.
    pub(crate) secure: bool,
    /// It is one of several in a connection.
    pub(crate) is_stream: bool,
    /// The refusal that the next request is answered with.
    pub(crate) refusal: Cell<Option<Refusal>>,
    /// The instance's half of an upgraded connection, between its 101 and ours.
    pub(crate) far_end: RefCell<Option<FarEnd>>,
    phase: Cell<Phase>,
    since: Cell<Millis>,
    read_waits_since: Cell<Millis>,
    write_waits_since: Cell<Millis>,
    in_exchange: Cell<bool>,
    body_open: Cell<bool>,
    stop: Cell<Option<Stop>>,
    instance: RefCell<Option<Arc<InstanceState>>>,
    task: RefCell<Option<Waker>>,
    withheld: Cell<bool>,
    /// While its client is one of those whose connections are counted.
    seat: Cell<Option<Seat>>,
}

impl ClientSide {
    pub(crate) fn new(peer: IpAddr, seat: Option<Seat>, secure: bool, now: Millis) -> Self {
        let address = HeaderValue::from_str(&peer.to_canonical().to_string());
        let address = address.unwrap_or(HeaderValue::from_static("unknown"));
        let client = Self::of(address, secure, false, now);
        client.seat.set(seat);
        client
    }

    /// One of the streams of a connection.
    pub(crate) fn of_stream(connection: &Self, now: Millis) -> Self {
        Self::of(connection.forwarded_for.clone(), connection.secure, true, now)
    }

    fn of(forwarded_for: HeaderValue, secure: bool, is_stream: bool, now: Millis) -> Self {
        Self {
            slot: Cell::new(usize::MAX),
            forwarded_for,
            secure,
            is_stream,
            refusal: Cell::new(None),
            far_end: RefCell::new(None),
            phase: Cell::new(Phase::Idle),
            since: Cell::new(now),
            read_waits_since: Cell::new(0),
            write_waits_since: Cell::new(0),
            in_exchange: Cell::new(false),
            body_open: Cell::new(false),
            stop: Cell::new(None),
            instance: RefCell::new(None),
            task: RefCell::new(None),
            withheld: Cell::new(false),
            seat: Cell::new(None),
        }
    }

    /// It has said the key of a fleet: its connections are not counted.
    pub(crate) fn is_of_fleet(&self) {
        drop(self.seat.take());
    }

    /// The scheme of the addresses that the client asks for.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    pub(crate) fn enter(&self, phase: Phase, now: Millis) {
        self.phase.set(phase);
        self.since.set(now);
    }

    /// A head has passed the gate: no other may until this exchange is over.
    pub(crate) fn begin_exchange(&self, has_body: bool) {
        self.in_exchange.set(true);
        self.body_open.set(has_body);
    }

    pub(crate) fn end_exchange(&self, now: Millis) {
        self.in_exchange.set(false);
        self.instance.take();
        self.enter(Phase::Idle, now);
        if self.withheld.take() {
            self.wake();
        }
    }

    pub(crate) fn in_exchange(&self) -> bool {
        self.in_exchange.get()
    }

    pub(crate) fn close_body(&self) {
        self.body_open.set(false);
    }

    /// The gate keeps bytes back until the exchange is over; the task must be woken then.
    pub(crate) fn withhold(&self) {
        self.withheld.set(true);
    }

    pub(crate) fn given_to(&self, instance: &Arc<InstanceState>) {
        *self.instance.borrow_mut() = Some(instance.clone());
    }

    pub(crate) fn is_given_to(&self, instance: &Arc<InstanceState>) -> bool {
        self.instance.borrow().as_ref().is_some_and(|own| Arc::ptr_eq(own, instance))
    }

    pub(crate) fn note_read(&self, waits: bool, now: Millis) {
        note(&self.read_waits_since, waits, now);
        if !waits && self.phase.get() == Phase::Waiting {
            // An upload that moves isn't an instance that doesn't answer.
            self.since.set(now);
        }
    }

    pub(crate) fn note_write(&self, waits: bool, now: Millis) {
        note(&self.write_waits_since, waits, now);
    }

    pub(crate) fn stop(&self, why: Stop) {
        self.stop.set(Some(why));
        self.wake();
    }

    pub(crate) fn stopped(&self) -> Option<Stop> {
        self.stop.get()
    }

    /// For a connection with streams: takes what stops it.
    pub(crate) fn take_stop(&self) -> Option<Stop> {
        self.stop.take()
    }

    /// For the exchange: takes a stop that it can still turn into an answer.
    pub(crate) fn take_answerable_stop(&self) -> Option<Stop> {
        match self.stop.get() {
            Some(Stop::AnswerOverdue | Stop::Cut) => self.stop.take(),
            _ => None,
        }
    }

    /// Whether the whole connection must go: what the exchange can't answer any more.
    pub(crate) fn must_drop(&self) -> bool {
        match self.stop.get() {
            None => false,
            Some(Stop::Close) => true,
            Some(Stop::AnswerOverdue | Stop::Cut) => {
                !matches!(self.phase(), Phase::Seeking | Phase::Waiting)
            }
        }
    }

    /// Remembers the connection's task, so that others can wake it.
    pub(crate) fn remember(&self, cx: &Context<'_>) {
        let mut task = self.task.borrow_mut();
        if !task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            *task = Some(cx.waker().clone());
        }
    }

    /// Lets the connection's task look again.
    pub(crate) fn wake(&self) {
        if let Some(task) = self.task.borrow().as_ref() {
            task.wake_by_ref();
        }
    }

    /// Ends when somebody stops this connection.
    pub(crate) async fn until_stopped(&self) {
        std::future::poll_fn(|cx| {
            self.remember(cx);
            if self.stop.get().is_some() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// What the watchdog finds overdue, if anything.
    pub(crate) fn overdue(&self, now: Millis, limits: &Limits, draining: bool) -> Option<Stop> {
        if self.stop.get().is_some() {
            return None;
        }
        let past = |since: Millis, limit: std::time::Duration| {
            since != 0 && u128::from(now.saturating_sub(since)) > limit.as_millis()
        };
        let since = self.since.get();
        let idle = if draining { limits.shutdown_idle_within } else { limits.idle_within };
        let body_stalls =
            self.body_open.get() && past(self.read_waits_since.get(), limits.stall_within);
        let overdue = match self.phase.get() {
            Phase::Idle => past(since, idle),
            Phase::Head => past(since, limits.head_within),
            Phase::Seeking | Phase::Tunnel | Phase::Streams => false,
            Phase::Waiting if body_stalls => true,
            Phase::Waiting if past(since, limits.answer_within) => {
                return Some(Stop::AnswerOverdue);
            }
            Phase::Waiting => false,
            Phase::Answering => {
                body_stalls || past(self.write_waits_since.get(), limits.stall_within)
            }
        };
        overdue.then_some(Stop::Close)
    }
}

fn note(since: &Cell<Millis>, waits: bool, now: Millis) {
    if !waits {
        since.set(0);
    } else if since.get() == 0 {
        since.set(now);
    }
}

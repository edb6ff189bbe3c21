//! The body of an answer, and the account that is closed when it ends.

use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use http::{HeaderValue, Response, StatusCode, header};
use hyper::body::{Body, Bytes, Frame, SizeHint};

use crate::access::Access;
use crate::client_side::{ClientSide, Stop};
use crate::counters::{Outcome, ReleaseCounters};
use crate::files::FileBody;
use crate::fleet::Way;
use crate::reception::Place;
use crate::shared::InstanceState;
use crate::upstream::{Cut, Upstream};
use crate::worker::Worker;

/// Counts as one request in flight of an instance while it exists.
pub(crate) struct InFlight(pub(crate) Arc<InstanceState>);

impl InFlight {
    pub(crate) fn new(instance: &Arc<InstanceState>) -> Self {
        instance.in_flight.fetch_add(1, SeqCst);
        Self(instance.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, SeqCst);
    }
}

/// The account of one request: closed exactly once, at the latest when it is dropped.
pub(crate) struct Tally {
    client: Rc<ClientSide>,
    counters: Option<Arc<ReleaseCounters>>,
    started: Instant,
    /// Of the app's answer; 0 before there is one.
    status: u16,
    of_peer: bool,
    in_flight: Option<InFlight>,
    access: Option<Box<Access>>,
    _place: Option<Place>,
}

impl Tally {
    pub(crate) fn new(
        client: &Rc<ClientSide>,
        counters: &Arc<ReleaseCounters>,
        started: Instant,
        of_peer: bool,
    ) -> Self {
        Self {
            client: client.clone(),
            counters: Some(counters.clone()),
            started,
            status: 0,
            of_peer,
            in_flight: None,
            access: None,
            _place: None,
        }
    }

    /// What goes with the request besides: a line in the log, one of the route's places.
    pub(crate) fn note(&mut self, access: Option<Box<Access>>, place: Option<Place>) {
        self.access = access;
        self._place = place;
    }

    /// Bytes of the answer's body that went on to the client.
    fn passed(&mut self, bytes: usize) {
        if let Some(access) = &mut self.access {
            access.bytes += bytes as u64;
        }
    }

    /// The request goes on behind another release: a switch happened while it waited.
    pub(crate) fn move_to(&mut self, counters: &Arc<ReleaseCounters>) {
        self.counters = Some(counters.clone());
    }

    pub(crate) fn give(&mut self, in_flight: Option<InFlight>) {
        if let Some(in_flight) = &in_flight {
            self.client.given_to(&in_flight.0);
            if let (Some(access), Some(counters)) = (&mut self.access, &self.counters) {
                access.given_to(&in_flight.0.instance.id, counters.release);
            }
        }
        self.in_flight = in_flight;
    }

    /// The instance that has the request.
    pub(crate) fn instance(&self) -> Option<Arc<InstanceState>> {
        self.in_flight.as_ref().map(|in_flight| in_flight.0.clone())
    }

    pub(crate) fn answered_with(&mut self, status: StatusCode) {
        self.status = status.as_u16();
    }

    /// The answer was passed on whole.
    pub(crate) fn finish(&mut self, now: Instant) {
        self.close(Outcome::Answered { status: self.status }, now);
    }

    pub(crate) fn lost(&mut self) {
        self.close(Outcome::Lost, Instant::now());
    }

    /// The proxy answered instead of the app: the log says with what.
    pub(crate) fn lost_with(&mut self, status: StatusCode, bytes: u64) {
        if let Some(access) = &mut self.access {
            (access.status, access.bytes) = (status.as_u16(), bytes);
        }
        self.lost();
    }

    pub(crate) fn aborted(&mut self) {
        self.close(Outcome::AbortedByClient, Instant::now());
    }

    fn close(&mut self, outcome: Outcome, now: Instant) {
        let took = now.saturating_duration_since(self.started);
        if let Some(counters) = self.counters.take() {
            let to_peer = self.in_flight.as_ref().is_some_and(|in_flight| in_flight.0.peer);
            let way = match (self.of_peer, to_peer) {
                (true, _) => Way::FromPeer,
                (false, true) => Way::ToPeer,
                (false, false) => Way::Own,
            };
            counters.count(outcome, way, took);
        }
        if let Some(mut access) = self.access.take() {
            let by = match outcome {
                Outcome::Answered { status } => {
                    access.status = status;
                    "app"
                }
                Outcome::Lost => "proxy",
                Outcome::AbortedByClient => "client",
            };
            access.end(by, took);
        }
        self.in_flight = None;
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        if self.counters.is_some() {
            match self.client.stopped() {
                Some(Stop::Cut) => self.lost(),
                _ => self.aborted(),
            }
        }
    }
}

/// An answer of the instance on its way to the client.
struct Passing {
    upstream: Box<Upstream>,
    tally: Tally,
}

/// Where the bytes of an answer come from.
enum Source {
    Nothing,
    Text(Bytes),
    Passing(Passing),
    File(FileBody, Tally),
}

/// The body of any answer. While it exists its exchange isn't over.
pub(crate) struct AnswerBody {
    source: Source,
    client: Rc<ClientSide>,
    worker: Rc<Worker>,
}

impl AnswerBody {
    fn new(worker: &Rc<Worker>, client: &Rc<ClientSide>, source: Source) -> Self {
        Self { source, client: client.clone(), worker: worker.clone() }
    }

    pub(crate) fn text(worker: &Rc<Worker>, client: &Rc<ClientSide>, text: Bytes) -> Self {
        Self::new(worker, client, Source::Text(text))
    }

    /// What lies in a file. Closes the account at its end.
    pub(crate) fn file(
        worker: &Rc<Worker>,
        client: &Rc<ClientSide>,
        body: FileBody,
        mut tally: Tally,
    ) -> Self {
        let source = if body.is_end_stream() {
            tally.finish(Instant::now());
            Source::Nothing
        } else {
            Source::File(body, tally)
        };
        Self::new(worker, client, source)
    }

    /// The instance's body, passed on as it comes. Closes the account at its end.
    pub(crate) fn passing(
        worker: &Rc<Worker>,
        client: &Rc<ClientSide>,
        upstream: Box<Upstream>,
        tally: Tally,
    ) -> Self {
        let passing = Passing { upstream, tally };
        let source = if passing.upstream.is_read() {
            passing.end();
            Source::Nothing
        } else {
            Source::Passing(passing)
        };
        Self::new(worker, client, source)
    }

    pub(crate) fn empty(worker: &Rc<Worker>, client: &Rc<ClientSide>) -> Self {
        Self::new(worker, client, Source::Nothing)
    }

    fn poll_passing(&mut self, cx: &mut Context<'_>) -> Next {
        let Source::Passing(passing) = &mut self.source else { return Poll::Ready(None) };
        let frame = passing.upstream.poll_body(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            passing.tally.passed(frame.data_ref().map_or(0, Bytes::len));
        }
        if let Poll::Ready(Some(Err(Cut))) = frame {
            passing.tally.lost();
        } else if frame.is_ready()
            && passing.upstream.is_read()
            && let Source::Passing(whole) = mem::replace(&mut self.source, Source::Nothing)
        {
            whole.end();
        }
        frame
    }

    fn poll_file(&mut self, cx: &mut Context<'_>) -> Next {
        let Source::File(body, tally) = &mut self.source else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
        let frame = frame.map(|frame| frame.map_err(|_| Cut));
        match &frame {
            Some(Ok(frame)) => tally.passed(frame.data_ref().map_or(0, Bytes::len)),
            Some(Err(Cut)) => tally.lost(),
            None => {}
        }
        if body.is_end_stream() {
            tally.finish(Instant::now());
            self.source = Source::Nothing;
        }
        Poll::Ready(frame)
    }
}

type Next = Poll<Option<Result<Frame<Bytes>, Cut>>>;

impl Passing {
    fn end(mut self) {
        let now = Instant::now();
        self.tally.finish(now);
        self.upstream.give_back(now);
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = self.get_mut();
        match &mut this.source {
            Source::Passing(_) => this.poll_passing(cx),
            Source::File(..) => this.poll_file(cx),
            Source::Nothing => Poll::Ready(None),
            Source::Text(text) => {
                let text = mem::take(text);
                this.source = Source::Nothing;
                Poll::Ready(Some(Ok(Frame::data(text))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Passing(passing) => passing.upstream.is_read(),
            Source::File(body, _) => body.is_end_stream(),
            Source::Text(_) => false,
            Source::Nothing => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Passing(passing) => passing.upstream.size_hint(),
            Source::File(body, _) => body.size_hint(),
            Source::Text(text) => SizeHint::with_exact(text.len() as u64),
            Source::Nothing => SizeHint::with_exact(0),
        }
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.client.end_exchange(self.worker.now());
    }
}

/// An answer that the proxy makes itself: plain text that says who speaks.
pub(crate) fn own(
    worker: &Rc<Worker>,
    client: &Rc<ClientSide>,
    status: StatusCode,
    text: &str,
) -> Response<AnswerBody> {
    let reason = status.canonical_reason().unwrap_or("error");
    let text = format!("onward: {} {reason}: {text}.\n", status.as_u16());
    let mut answer = Response::new(AnswerBody::text(worker, client, Bytes::from(text)));
    *answer.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, plain);
    answer
}

/// Like [`own`], and the connection is closed after it.
pub(crate) fn last(
    worker: &Rc<Worker>,
    client: &Rc<ClientSide>,
    status: StatusCode,
    text: &str,
) -> Response<AnswerBody> {
    let mut answer = own(worker, client, status, text);
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer
}

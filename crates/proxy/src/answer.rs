//! The body of an answer, and the account that is closed when it ends.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll};
use std::time::Instant;

use http::{HeaderValue, Response, StatusCode, header};
use hyper::body::{Body, Bytes, Frame, SizeHint};

use crate::client_side::{ClientSide, Stop};
use crate::counters::{Outcome, ReleaseCounters};
use crate::fleet::Way;
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
    server_error: bool,
    of_peer: bool,
    in_flight: Option<InFlight>,
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
            server_error: false,
            of_peer,
            in_flight: None,
        }
    }

    /// The request goes on behind another release: a switch happened while it waited.
    pub(crate) fn move_to(&mut self, counters: &Arc<ReleaseCounters>) {
        self.counters = Some(counters.clone());
    }

    pub(crate) fn give(&mut self, in_flight: Option<InFlight>) {
        if let Some(in_flight) = &in_flight {
            self.client.given_to(&in_flight.0);
        }
        self.in_flight = in_flight;
    }

    /// The instance that has the request.
    pub(crate) fn instance(&self) -> Option<Arc<InstanceState>> {
        self.in_flight.as_ref().map(|in_flight| in_flight.0.clone())
    }

    pub(crate) fn answered_with(&mut self, status: StatusCode) {
        self.server_error = status.is_server_error();
    }

    /// The answer was passed on whole.
    pub(crate) fn finish(&mut self, now: Instant) {
        let server_error = self.server_error;
        self.close(Outcome::Answered { server_error }, now);
    }

    pub(crate) fn lost(&mut self) {
        self.close(Outcome::Lost, Instant::now());
    }

    pub(crate) fn aborted(&mut self) {
        self.close(Outcome::AbortedByClient, Instant::now());
    }

    fn close(&mut self, outcome: Outcome, now: Instant) {
        if let Some(counters) = self.counters.take() {
            let to_peer = self.in_flight.as_ref().is_some_and(|in_flight| in_flight.0.peer);
            let way = match (self.of_peer, to_peer) {
                (true, _) => Way::FromPeer,
                (false, true) => Way::ToPeer,
                (false, false) => Way::Own,
            };
            counters.count(outcome, way, now.saturating_duration_since(self.started));
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

/// The body of any answer. While it exists its exchange isn't over.
pub(crate) struct AnswerBody {
    passing: Option<Passing>,
    text: Option<Bytes>,
    client: Rc<ClientSide>,
    worker: Rc<Worker>,
}

impl AnswerBody {
    fn own(worker: &Rc<Worker>, client: &Rc<ClientSide>, text: Option<Bytes>) -> Self {
        Self { passing: None, text, client: client.clone(), worker: worker.clone() }
    }

    /// The instance's body, passed on as it comes. Closes the account at its end.
    pub(crate) fn passing(
        worker: &Rc<Worker>,
        client: &Rc<ClientSide>,
        upstream: Box<Upstream>,
        tally: Tally,
    ) -> Self {
        let passing = Passing { upstream, tally };
        let mut body = Self::own(worker, client, None);
        if passing.upstream.is_read() {
            passing.end();
        } else {
            body.passing = Some(passing);
        }
        body
    }

    pub(crate) fn empty(worker: &Rc<Worker>, client: &Rc<ClientSide>) -> Self {
        Self::own(worker, client, None)
    }
}

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
        let Some(passing) = &mut this.passing else {
            return Poll::Ready(this.text.take().map(|text| Ok(Frame::data(text))));
        };
        let frame = passing.upstream.poll_body(cx);
        if let Poll::Ready(Some(Err(Cut))) = frame {
            passing.tally.lost();
        } else if frame.is_ready()
            && let Some(whole) = this.passing.take_if(|passing| passing.upstream.is_read())
        {
            whole.end();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.passing {
            Some(passing) => passing.upstream.is_read(),
            None => self.text.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.passing {
            Some(passing) => passing.upstream.size_hint(),
            None => SizeHint::with_exact(self.text.as_ref().map_or(0, |text| text.len() as u64)),
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
    let mut answer = Response::new(AnswerBody::own(worker, client, Some(Bytes::from(text))));
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

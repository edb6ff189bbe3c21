//! The body of a request, whichever protocol the client speaks.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use h2::RecvStream;
use hyper::body::{Body, Bytes, Frame, Incoming};

use crate::client_side::ClientSide;
use crate::worker::Worker;

/// What the client sends after a head.
pub(crate) enum Upload {
    /// The gate watches how it comes.
    Http1(Incoming),
    Http2(Box<Streamed>),
}

/// A body in one stream of a connection.
pub(crate) struct Streamed {
    body: RecvStream,
    length: Option<u64>,
    client: Rc<ClientSide>,
    worker: Rc<Worker>,
    wanted: Rc<Cell<bool>>,
}

/// The body broke off.
#[derive(Debug)]
pub(crate) struct BrokeOff;

impl Upload {
    /// `length`: as the head announces it. `wanted` is set as soon as somebody asks for it.
    pub(crate) fn streamed(
        body: RecvStream,
        length: Option<u64>,
        client: &Rc<ClientSide>,
        worker: &Rc<Worker>,
        wanted: Rc<Cell<bool>>,
    ) -> Self {
        let (client, worker) = (client.clone(), worker.clone());
        Self::Http2(Box::new(Streamed { body, length, client, worker, wanted }))
    }

    /// Whether there is nothing (more) of it.
    pub(crate) fn is_over(&self) -> bool {
        match self {
            Self::Http1(incoming) => incoming.is_end_stream(),
            Self::Http2(streamed) => streamed.body.is_end_stream(),
        }
    }

    /// How long it is at least.
    pub(crate) fn least(&self) -> u64 {
        match self {
            Self::Http1(incoming) => incoming.size_hint().lower(),
            Self::Http2(streamed) => streamed.length.unwrap_or(0),
        }
    }

    /// The next piece; `None` at its end.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokeOff>>> {
        match self {
            Self::Http1(incoming) => {
                let frame = ready!(Pin::new(incoming).poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(|_| BrokeOff)))
            }
            Self::Http2(streamed) => streamed.poll_frame(cx),
        }
    }
}

impl Streamed {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokeOff>>> {
        self.wanted.set(true);
        let frame = self.poll_next(cx);
        self.client.note_read(frame.is_pending(), self.worker.now());
        if matches!(frame, Poll::Ready(None | Some(Err(BrokeOff)))) {
            self.client.close_body();
        }
        frame
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokeOff>>> {
        match ready!(self.body.poll_data(cx)) {
            Some(Ok(data)) => {
                // Nothing is kept here: what was taken makes room for more.
                let freed = self.body.flow_control().release_capacity(data.len());
                Poll::Ready(Some(freed.map(|()| Frame::data(data)).map_err(|_| BrokeOff)))
            }
            Some(Err(_)) => Poll::Ready(Some(Err(BrokeOff))),
            None => {
                let trailers = ready!(self.body.poll_trailers(cx)).map_err(|_| BrokeOff);
                Poll::Ready(trailers.map(|fields| fields.map(Frame::trailers)).transpose())
            }
        }
    }
}

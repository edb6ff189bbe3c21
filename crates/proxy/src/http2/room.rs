//! How much of a connection's answers waits here for a client that reads slowly, or not at all.
//!
//! A window is the client's own word: it may promise to take anything and then read nothing. What
//! it was promised is kept by h2 until the socket takes it, so that is counted. Each connection has
//! a little room of its own; what is more comes from a store for all connections, so that whoever
//! reads slowly keeps no instance waiting while there is memory, and nobody takes all of it.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Buf;
use hyper::body::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{SEND_BUFFER, Streams};

/// What a connection always has: enough to keep one fast reader busy.
const OWN_BYTES: usize = 2 * SEND_BUFFER;

/// The room of one connection.
pub(super) struct Room {
    own: Arc<Semaphore>,
    of_all: Arc<Semaphore>,
    taken: Cell<usize>,
}

impl Room {
    /// `of_all`: what all connections have together, besides.
    pub(super) fn new(of_all: &Arc<Semaphore>) -> Self {
        let own = Arc::new(Semaphore::new(OWN_BYTES));
        Self { own, of_all: of_all.clone(), taken: Cell::new(0) }
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.taken.get() == 0
    }

    /// Room for so many bytes, no more than a stream may have; for one after the other in the order
    /// of their asking, when there is none.
    pub(super) async fn take(&self, bytes: usize) -> OwnedSemaphorePermit {
        let bytes = u32::try_from(bytes.min(SEND_BUFFER)).expect("that is a small number");
        let own = self.own.clone().try_acquire_many_owned(bytes);
        match own.or_else(|_| self.of_all.clone().try_acquire_many_owned(bytes)) {
            Ok(taken) => taken,
            Err(_) => {
                let own = self.own.clone().acquire_many_owned(bytes).await;
                own.expect("the semaphore is never closed")
            }
        }
    }
}

/// A piece of an answer, with the room that it takes until the socket has it, or its stream ends.
pub(super) struct Piece {
    bytes: Bytes,
    room: Option<OwnedSemaphorePermit>,
    streams: Rc<Streams>,
}

impl Piece {
    /// `room` is for all of `bytes`.
    pub(super) fn new(bytes: Bytes, room: OwnedSemaphorePermit, streams: &Rc<Streams>) -> Self {
        let taken = &streams.room.taken;
        taken.set(taken.get() + bytes.len());
        Self { bytes, room: Some(room), streams: streams.clone() }
    }

    /// Nothing, which needs no room: the end of an answer.
    pub(super) fn end(streams: &Rc<Streams>) -> Self {
        Self { bytes: Bytes::new(), room: None, streams: streams.clone() }
    }

    fn left(&self, count: usize) {
        let taken = &self.streams.room.taken;
        taken.set(taken.get() - count);
        self.streams.moved();
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        drop(self.room.as_mut().and_then(|room| room.split(count)));
        self.left(count);
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.left(self.bytes.len());
    }
}

//! One client connection that speaks HTTP/2: a task for the connection, one for each stream.
//!
//! ```text
//!  TLS ─► connection ─► stream ─► judge ─► exchange ─► instance, in HTTP/1.1
//!                   └─► stream ─► …
//! ```
//! Each stream has a [`ClientSide`] of its own, so that whatever watches, cuts and counts requests
//! sees no difference. The connection's own is only for its idle time and its end.

mod judge;
mod lent;
mod stream;

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use hyper::body::Bytes;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use self::lent::Lent;
use crate::client_side::{ClientSide, Phase};
use crate::connection::linger;
use crate::stream::Stream;
use crate::worker::Worker;

/// How much of one request's body, and of all of a connection, may come before an instance takes it.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 512 * 1024;
/// How much of one answer waits here for a client that reads slowly.
const SEND_BUFFER: usize = 128 * 1024;
/// Streams that a client may take back before their answers, beyond as many as it let be answered.
/// A browser takes back what a page asked for that was left; a flood does nothing else.
const RESETS_FREE: u64 = 100;

type Socket = Lent<Box<TlsStream<TcpStream>>>;

/// What the streams of one connection have in common.
struct Streams {
    connection: Rc<ClientSide>,
    worker: Rc<Worker>,
    open: Cell<usize>,
    answered: Cell<u64>,
    resets: Cell<u64>,
}

impl Streams {
    fn began(&self) {
        self.open.set(self.open.get() + 1);
        self.connection.enter(Phase::Streams, self.worker.now());
    }

    fn ended(&self) {
        self.open.set(self.open.get() - 1);
        if self.open.get() == 0 {
            self.connection.enter(Phase::Idle, self.worker.now());
        }
    }

    fn was_answered(&self) {
        self.answered.set(self.answered.get() + 1);
    }

    fn was_taken_back(&self) {
        self.resets.set(self.resets.get() + 1);
        if self.is_flood() {
            self.connection.wake();
        }
    }

    fn is_flood(&self) -> bool {
        self.resets.get() > RESETS_FREE + self.answered.get()
    }
}

/// How far a connection is from its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    NotYet,
    /// The client was told that no new stream is taken; those that are open go on.
    Told,
    /// It was told that it is shut out.
    ShutOut,
}

/// Serves one connection.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    client: Rc<ClientSide>,
    socket: Box<TlsStream<TcpStream>>,
) {
    client.enter(Phase::Head, worker.now());
    let lent = Lent::new(socket);
    let limits = &worker.shared.limits;
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER);
    let connection = tokio::select! {
        opened = builder.handshake(lent.clone()) => opened,
        () = client.until_stopped() => return,
    };
    let Ok(mut connection) = connection else { return };
    client.enter(Phase::Idle, worker.now());
    let streams = Rc::new(Streams {
        connection: client,
        worker,
        open: Cell::new(0),
        answered: Cell::new(0),
        resets: Cell::new(0),
    });
    let mut ending = Ending::NotYet;
    while let Some((request, respond)) = next(&mut connection, &streams, &mut ending).await {
        streams.began();
        tokio::task::spawn_local(stream::serve(streams.clone(), request, respond));
    }
    drop(connection);
    if let Some(socket) = lent.take_back() {
        linger(Stream::Tls(socket)).await;
    }
}

type Accepted = (Request<RecvStream>, SendResponse<Bytes>);

/// The next request; `None` when the connection is over.
async fn next(
    connection: &mut Connection<Socket, Bytes>,
    streams: &Streams,
    ending: &mut Ending,
) -> Option<Accepted> {
    let client = &streams.connection;
    poll_fn(|cx| {
        client.remember(cx);
        if client.take_stop().is_some() {
            if *ending != Ending::NotYet {
                return Poll::Ready(None);
            }
            // What the client has sent by now is still taken; then it has the time of a head.
            client.enter(Phase::Head, streams.worker.now());
            connection.graceful_shutdown();
            *ending = Ending::Told;
        }
        if *ending == Ending::NotYet && streams.worker.shared.stage().is_closing() {
            connection.graceful_shutdown();
            *ending = Ending::Told;
        }
        if *ending != Ending::ShutOut && streams.is_flood() {
            connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            *ending = Ending::ShutOut;
        }
        match connection.poll_accept(cx) {
            Poll::Ready(Some(Ok(accepted))) => Poll::Ready(Some(accepted)),
            Poll::Ready(Some(Err(_)) | None) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

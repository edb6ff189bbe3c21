//! One client connection that speaks HTTP/2: a task for the connection, one for each stream.
//!
//! ```text
//!  TLS ─► connection ─► stream ─► judge ─► exchange ─► instance, in HTTP/1.1
//!                   └─► stream ─► …
//! ```
//! Each stream has a [`ClientSide`] of its own, so that whatever watches, cuts and counts requests
//! sees no difference. The connection's own is only for its idle time and its end.
//!
//! What one client can take, by RFC 9113 section 10.5 and what has been done to others; each bound
//! has its test in `tests/proxy/hostile.rs`, with somebody who stays within it:
//!
//! | it | is bounded by |
//! |---|---|
//! | takes requests back, again and again (CVE-2023-44487) | [`patience`], and h2 before they are seen ([`RESETS_UNSEEN`]) |
//! | makes the proxy take them back (CVE-2025-8671) | [`patience`], and h2 before they are requests ([`STREAM_ERRORS`]) |
//! | sends a head in ever more pieces (CVE-2024-27316) | h2: a quarter more frames than a head needs, five at least |
//! | packs a large head into a small one | h2: `head_bytes` unpacked is 431, four times that the end |
//! | sends more fields than anybody needs | `head_lines`, as over HTTP/1.1 |
//! | sends a body of nothing, or in crumbs | h2: a hundred empty frames, crumbs up to half of [`CONNECTION_WINDOW`] |
//! | makes the proxy answer pings and settings | h2: one answer at a time, and it reads no further until that is out |
//! | promises room and reads nothing | [`room`], [`SEND_BUFFER`], `stall_within` |
//! | opens everything at once | `streams` |
//! | says nothing, or half of a head | `idle_within`, then `head_within` |

mod judge;
mod lent;
mod patience;
mod room;
mod stream;

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use self::lent::Lent;
use self::patience::Patience;
use self::room::{Piece, Room};
use crate::client_side::{ClientSide, Phase};
use crate::connection::linger;
use crate::stream::Stream;
use crate::worker::Worker;

/// How much of one request's body, and of all of a connection, may come before an instance takes it.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 512 * 1024;
/// How much of one answer waits here for a client that reads slowly; [`room`] bounds them together.
const SEND_BUFFER: usize = 128 * 1024;
/// Streams that are taken back in the same breath as they are opened, before anything of them is
/// looked at: a client changes its mind that fast about a few.
const RESETS_UNSEEN: usize = 20;
/// Streams that the client makes h2 end by breaking the rules, in the life of a connection. Those
/// that are a request by then are counted as taken back, too.
const STREAM_ERRORS: usize = 1_024;

type Socket = Lent<Box<TlsStream<TcpStream>>>;

/// What the streams of one connection have in common.
struct Streams {
    connection: Rc<ClientSide>,
    worker: Rc<Worker>,
    open: Cell<usize>,
    room: Room,
    patience: Patience,
}

impl Streams {
    fn began(&self) {
        self.open.set(self.open.get() + 1);
        self.connection.enter(Phase::Streams, self.worker.now());
    }

    fn ended(&self) {
        self.open.set(self.open.get() - 1);
        if self.open.get() == 0 {
            // What h2 has of the last answers isn't idle, but nobody else watches over it.
            self.connection.enter(Phase::Answering, self.worker.now());
            self.moved();
        }
    }

    /// Something of an answer left h2, or is left of no stream any more.
    fn moved(&self) {
        if self.connection.phase() != Phase::Answering {
            return;
        }
        let now = self.worker.now();
        self.connection.note_write(false, now);
        if self.room.is_empty() {
            self.connection.enter(Phase::Idle, now);
        } else {
            self.connection.note_write(true, now);
        }
    }

    fn was_answered(&self) {
        self.patience.restore();
    }

    fn was_taken_back(&self) {
        self.patience.wear(self.worker.now());
        if self.patience.is_over() {
            self.connection.wake();
        }
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
        .max_send_buffer_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(RESETS_UNSEEN)
        .max_local_error_reset_streams(Some(STREAM_ERRORS));
    let connection = tokio::select! {
        opened = builder.handshake(lent.clone()) => opened,
        () = client.until_stopped() => return,
    };
    let Ok(mut connection) = connection else { return };
    client.enter(Phase::Idle, worker.now());
    let streams = Rc::new(Streams {
        room: Room::new(&worker.shared.answers_room),
        connection: client,
        worker,
        open: Cell::new(0),
        patience: Patience::default(),
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

type Accepted = (Request<RecvStream>, SendResponse<Piece>);

/// The next request; `None` when the connection is over.
async fn next(
    connection: &mut Connection<Socket, Piece>,
    streams: &Streams,
    ending: &mut Ending,
) -> Option<Accepted> {
    let client = &streams.connection;
    poll_fn(|cx| {
        client.remember(cx);
        if client.take_stop().is_some() {
            // A client that doesn't take what it asked for takes no word either.
            if *ending != Ending::NotYet || client.phase() == Phase::Answering {
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
        if *ending != Ending::ShutOut && streams.patience.is_over() {
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

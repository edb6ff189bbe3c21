//! One request and its answer, in one stream.

use std::cell::Cell;
use std::future::poll_fn;
use std::mem;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::SystemTime;

use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::{Body, Bytes};
use tokio::sync::OwnedSemaphorePermit;

use super::Streams;
use super::judge::judge;
use super::room::Piece;
use crate::answer::{self, AnswerBody};
use crate::client_side::ClientSide;
use crate::connection::Enlisted;
use crate::forward;
use crate::reception;
use crate::upload::Upload;

/// Why an answer doesn't go out whole.
enum Failed {
    /// The client took the request back, or the connection is over.
    TakenBack,
    /// It has to be broken off: the client sees that it isn't whole.
    Broken(Reason),
}

/// Counts as an open stream while it exists.
struct Open(Rc<Streams>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.ended();
    }
}

/// Answers one request.
pub(super) async fn serve(
    streams: Rc<Streams>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Piece>,
) {
    let open = Open(streams.clone());
    let worker = &streams.worker;
    let client = Rc::new(ClientSide::of_stream(&streams.connection, worker.now()));
    worker.enlist(&client);
    let enlisted = Enlisted { worker: worker.clone(), client: client.clone() };
    let wants_body = *request.method() != Method::HEAD;
    let answered = {
        let wanted = Rc::new(Cell::new(false));
        let mut waits = waits_for_a_word(&request);
        let mut answering = pin!(answer(&streams, &client, request, wanted.clone()));
        watched(&client, |cx| match answering.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Ok(answer)),
            Poll::Pending => {
                if wanted.get() && mem::take(&mut waits) {
                    // Whoever took it back meanwhile is found out below.
                    let _ = respond.send_informational(go_on());
                }
                respond.poll_reset(cx).map(|_| Err(Failed::TakenBack))
            }
        })
        .await
    };
    let ended = match answered {
        Ok(answer) => send(&client, &mut respond, answer, wants_body, &streams).await,
        Err(failed) => Err(failed),
    };
    drop((enlisted, open));
    match ended {
        Ok(()) => streams.was_answered(),
        Err(Failed::TakenBack) => streams.was_taken_back(),
        Err(Failed::Broken(reason)) => respond.send_reset(reason),
    }
}

/// Whether the client sends its body only when it is told to.
fn waits_for_a_word(request: &Request<RecvStream>) -> bool {
    !request.body().is_end_stream() && request.headers().contains_key(header::EXPECT)
}

fn go_on() -> Response<()> {
    let mut word = Response::new(());
    *word.status_mut() = StatusCode::CONTINUE;
    word
}

async fn answer(
    streams: &Streams,
    client: &Rc<ClientSide>,
    request: Request<RecvStream>,
    wanted: Rc<Cell<bool>>,
) -> Response<AnswerBody> {
    let worker = &streams.worker;
    let (mut parts, body) = request.into_parts();
    client.begin_exchange(!body.is_end_stream());
    match judge(&mut parts, worker.shared.limits.head_lines) {
        Ok(length) => {
            let upload = Upload::streamed(body, length, client, worker, wanted);
            reception::receive(worker, client, Request::from_parts(parts, upload)).await
        }
        Err(refusal) => {
            worker.shared.refused.fetch_add(1, Relaxed);
            answer::own(worker, client, refusal.status(), refusal.text())
        }
    }
}

/// Waits for something, unless the stream has to go before.
async fn watched<T>(
    client: &ClientSide,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<Result<T, Failed>>,
) -> Result<T, Failed> {
    poll_fn(|cx| {
        client.remember(cx);
        if client.must_drop() {
            return Poll::Ready(Err(Failed::Broken(Reason::CANCEL)));
        }
        poll(cx)
    })
    .await
}

async fn send(
    client: &ClientSide,
    respond: &mut SendResponse<Piece>,
    answer: Response<AnswerBody>,
    wants_body: bool,
    streams: &Rc<Streams>,
) -> Result<(), Failed> {
    let (mut head, mut body) = answer.into_parts();
    forward::answer(&mut head.headers);
    if !head.headers.contains_key(header::DATE)
        && let Ok(now) = HeaderValue::from_str(&httpdate::fmt_http_date(SystemTime::now()))
    {
        head.headers.insert(header::DATE, now);
    }
    let mut over = !wants_body || body.is_end_stream();
    let sent = respond.send_response(Response::from_parts(head, ()), over);
    let mut sending = sent.map_err(|_| Failed::TakenBack)?;
    while !over {
        // Nothing more is fetched for a client that doesn't take what there is.
        drop(take_room(client, &mut sending, 1, streams).await?);
        let frame = watched(client, |cx| match Pin::new(&mut body).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(Ok(frame)),
            Poll::Pending => sending.poll_reset(cx).map(|_| Err(Failed::TakenBack)),
        })
        .await?;
        let Some(frame) = frame else {
            return sending.send_data(Piece::end(streams), true).map_err(|_| Failed::TakenBack);
        };
        let frame = frame.map_err(|_| Failed::Broken(Reason::INTERNAL_ERROR))?;
        match frame.into_data() {
            Ok(data) => {
                over = body.is_end_stream();
                send_data(client, &mut sending, data, over, streams).await?;
            }
            Err(frame) => {
                if let Ok(fields) = frame.into_trailers() {
                    return sending.send_trailers(fields).map_err(|_| Failed::TakenBack);
                }
            }
        }
    }
    Ok(())
}

/// Sends a piece as the client makes room for it.
async fn send_data(
    client: &ClientSide,
    sending: &mut SendStream<Piece>,
    mut data: Bytes,
    over: bool,
    streams: &Rc<Streams>,
) -> Result<(), Failed> {
    while !data.is_empty() {
        sending.reserve_capacity(data.len());
        let room = watched(client, |cx| {
            let room = sending.poll_capacity(cx);
            client.note_write(room.is_pending(), streams.worker.now());
            match room {
                Poll::Ready(Some(Ok(room))) => Poll::Ready(Ok(room)),
                Poll::Ready(_) => Poll::Ready(Err(Failed::TakenBack)),
                Poll::Pending => sending.poll_reset(cx).map(|_| Err(Failed::TakenBack)),
            }
        })
        .await?;
        let room = take_room(client, sending, room.min(data.len()), streams).await?;
        let piece = data.split_to(room.num_permits());
        let last = over && data.is_empty();
        let piece = Piece::new(piece, room, streams);
        sending.send_data(piece, last).map_err(|_| Failed::TakenBack)?;
    }
    Ok(())
}

/// Waits until less of all answers waits for this client.
async fn take_room(
    client: &ClientSide,
    sending: &mut SendStream<Piece>,
    bytes: usize,
    streams: &Streams,
) -> Result<OwnedSemaphorePermit, Failed> {
    let mut taken = pin!(streams.room.take(bytes));
    watched(client, |cx| {
        let room = taken.as_mut().poll(cx);
        client.note_write(room.is_pending(), streams.worker.now());
        match room {
            Poll::Ready(room) => Poll::Ready(Ok(room)),
            Poll::Pending => sending.poll_reset(cx).map(|_| Err(Failed::TakenBack)),
        }
    })
    .await
}

//! One client connection from its first byte to its close.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::client_side::{ClientSide, Phase};
use crate::exchange;
use crate::gate::Gate;
use crate::http2;
use crate::scratch;
use crate::sockets;
use crate::stream::Stream;
use crate::tls::H2;
use crate::tunnel;
use crate::worker::Worker;

/// Most that is read ahead of a request body that the instance doesn't take yet.
const READ_AHEAD: usize = 64 * 1024;
/// How long and how much of what a refused client still sends is read and thrown away, so that the
/// refusal arrives: a socket closed over unread bytes takes back what it sent.
const LINGER_WITHIN: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1024 * 1024;

/// Removes the connection from the worker's list, however its task ends.
pub(crate) struct Enlisted {
    pub(crate) worker: Rc<Worker>,
    pub(crate) client: Rc<ClientSide>,
}

impl Drop for Enlisted {
    fn drop(&mut self) {
        self.worker.dismiss(&self.client);
    }
}

/// Serves one connection.
pub(crate) async fn serve(worker: Rc<Worker>, client: Rc<ClientSide>, stream: TcpStream) {
    let _enlisted = Enlisted { worker: worker.clone(), client: client.clone() };
    sockets::prepare(&stream);
    if !client.secure {
        return serve_http1(worker, client, Stream::Plain(stream)).await;
    }
    let Some(stream) = Box::pin(shake_hands(&worker, &client, stream)).await else { return };
    if stream.get_ref().1.alpn_protocol() == Some(H2) {
        Box::pin(http2::serve(worker, client, stream)).await;
    } else {
        Box::pin(serve_http1(worker, client, Stream::Tls(stream))).await;
    }
}

/// Begins a session, in the time that a request head has.
async fn shake_hands(
    worker: &Rc<Worker>,
    client: &Rc<ClientSide>,
    stream: TcpStream,
) -> Option<Box<TlsStream<TcpStream>>> {
    client.enter(Phase::Head, worker.now());
    let shaken = tokio::select! {
        shaken = worker.acceptor().accept(stream) => shaken,
        () = client.until_stopped() => return None,
    };
    let Ok(stream) = shaken else {
        worker.shared.handshakes_failed.fetch_add(1, Relaxed);
        return None;
    };
    client.enter(Phase::Idle, worker.now());
    Some(Box::new(stream))
}

async fn serve_http1(worker: Rc<Worker>, client: Rc<ClientSide>, stream: Stream) {
    let gate = Gate::new(stream, client.clone(), worker.clone());
    let service = {
        let (worker, client) = (worker.clone(), client.clone());
        service_fn(move |request| exchange::answer(worker.clone(), client.clone(), request))
    };
    let mut builder = Builder::new();
    builder.max_buf_size(READ_AHEAD.max(worker.shared.limits.head_bytes)).header_read_timeout(None);
    let mut http = pin!(builder.serve_connection(gate, service).without_shutdown());
    let ended = poll_fn(|cx| {
        client.remember(cx);
        if client.must_drop() { Poll::Ready(None) } else { http.as_mut().poll(cx).map(Some) }
    });
    match ended.await {
        Some(Err(error)) if error.is_parse() => {
            // What passed the gate and hyper refused all the same.
            worker.shared.refused.fetch_add(1, Relaxed);
        }
        None | Some(Err(_)) => {}
        Some(Ok(parts)) => {
            let (stream, held) = parts.io.into_parts();
            let far_end = client.far_end.borrow_mut().take();
            match far_end {
                Some(far) => {
                    let ahead: [&[u8]; 2] = [&parts.read_buf, &held];
                    Box::pin(tunnel::run(&worker, &client, stream, &ahead, far)).await;
                }
                None => Box::pin(linger(stream)).await,
            }
        }
    }
}

/// Ends the sending half, and reads what still comes, for a moment. A session says goodbye, and
/// waits until somebody takes that: this too has no longer.
pub(crate) async fn linger(stream: Stream) {
    let _ = tokio::time::timeout(LINGER_WITHIN, pin!(part(stream))).await;
}

async fn part(mut stream: Stream) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut left = LINGER_BYTES;
    poll_fn(|cx: &mut Context<'_>| {
        while left > 0 {
            match scratch::poll_read_with(&mut stream, cx, left, <[u8]>::len) {
                Poll::Ready(Ok(read)) if read > 0 => left -= read.min(left),
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    })
    .await;
}
